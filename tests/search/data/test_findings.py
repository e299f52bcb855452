"""What a loaded data set says of itself: equal images, classes and their counts."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.data import Data, load, load_test
from tests.search.data.make import make_folder, picture

PETS = {"cat": 40, "dog": 200}


def settings_of(root: Path, in_memory_mb: int = 1024) -> dict[str, Any]:
    return {"source": "folder", "path": str(root), "in_memory_mb": in_memory_mb}


def warnings(data: Data) -> list[str]:
    return [note for note in data.notes if note.startswith("Warning")]


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_different_images_are_no_reason_to_warn(tmp_path: Path, in_memory_mb: int) -> None:
    settings = settings_of(make_folder(tmp_path, PETS), in_memory_mb)
    assert warnings(load_test(settings, load(settings))) == []


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_equal_images_across_held_out_splits(tmp_path: Path, in_memory_mb: int) -> None:
    make_folder(tmp_path, PETS)
    for file in list((tmp_path / "cat").iterdir()):  # every image twice: the copies fall into all splits
        shutil.copy(file, file.with_stem(f"copy-{file.stem}"))
    data = load(settings_of(tmp_path, in_memory_mb))
    assert any("equal to training images: " in note and " validation image" in note for note in warnings(data))
    assert any("equal to training images: " in note and " test images (cat/" in note for note in warnings(data))


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_equal_images_of_two_classes(tmp_path: Path, in_memory_mb: int) -> None:
    make_folder(tmp_path, PETS)
    shutil.copy(tmp_path / "cat" / "3.png", tmp_path / "dog" / "x.png")
    found = [note for note in warnings(load(settings_of(tmp_path, in_memory_mb))) if "of another class" in note]
    assert len(found) == 1
    assert found[0].startswith("Warning: equal to images of another class: 2 images (")
    assert "cat/3.png of class cat" in found[0]
    assert "dog/x.png of class dog" in found[0]


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
@pytest.mark.parametrize("part", ["val", "test"])
def test_equal_images_of_ready_made_parts(tmp_path: Path, part: str, in_memory_mb: int) -> None:
    make_folder(tmp_path / "train", PETS)
    for seed, name in ((50, "val"), (60, "test")):
        for kind, level in PETS.items():
            (tmp_path / name / kind).mkdir(parents=True)
            picture(level, seed=seed).save(tmp_path / name / kind / "new.png")
    for kind in PETS:
        shutil.copy(tmp_path / "train" / kind / "3.png", tmp_path / part / kind / "old.png")
    settings = settings_of(tmp_path, in_memory_mb)
    data = load(settings)
    if part == "val":
        assert warnings(data) == ["Warning: equal to training images: 2 validation images (cat/old.png, dog/old.png)."]
        return
    assert warnings(data) == [], "the search does not open test images"
    equal = "Warning: equal to training or validation images: 2 test images (cat/old.png, dog/old.png)."
    assert warnings(load_test(settings, data)) == [equal]


def test_copies_in_another_format_are_equal_where_pixels_are_known(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    for file in list((tmp_path / "cat").iterdir()):
        Image.open(file).save(tmp_path / "dog" / f"{file.stem}-copy.bmp")
    assert any("equal to images of another class: " in warning for warning in warnings(load(settings_of(tmp_path))))


def test_copies_of_held_out_test_images_in_another_format_are_found_with_them(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    for file in list((tmp_path / "cat").iterdir()):
        Image.open(file).save(file.with_suffix(".bmp"))
    settings = settings_of(tmp_path)
    data = load(settings)
    assert not any(" test image" in warning for warning in warnings(data))
    assert any(
        "equal to training or validation images: " in warning and " test image" in warning
        for warning in warnings(load_test(settings, data))
    )


def test_classes_are_counted(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    assert "2 classes, with their training and validation images: cat: 8, dog: 8." in load(settings_of(tmp_path)).notes
    make_folder(tmp_path / "many", {f"c{i:02}": 8 * i for i in range(25)}, count=4)
    assert any(
        "25 classes" in note and "from 3 to 3 images each" in note
        for note in load(settings_of(tmp_path / "many")).notes
    )


@pytest.mark.parametrize(("count", "warned"), [(60, False), (100, True)])
def test_a_small_class_is_warned_of(tmp_path: Path, count: int, warned: bool) -> None:
    # 3 images to train and validate with, beside 48 or 80
    make_folder(tmp_path, {"rare": 200}, count=4)
    make_folder(tmp_path, {"common": 40}, count=count)
    found = [warning for warning in warnings(load(settings_of(tmp_path))) if "class rare has 3 images" in warning]
    assert len(found) == warned


def test_fingerprints_do_not_depend_on_notes(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    before = load(settings_of(tmp_path))
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"?")
    after = load(settings_of(tmp_path))
    assert after.notes != before.notes
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.splits["train"].labels, before.splits["train"].labels)
