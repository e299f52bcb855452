"""Folders of images as people keep them: parts, hidden files, endings, odd files."""

import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from search.data import Data, join_training, load, load_test
from spaces.errors import InputError
from tests.search.data.make import encoded, make_folder, picture, pixels

PETS = {"cat": 40, "dog": 200}


def load_folder(root: Path, **settings: Any) -> Data:
    return load({"source": "folder", "path": str(root), **settings})


def make_parts(root: Path, names: Mapping[str, int]) -> Path:
    """Folders of parts with so many different images of each class."""
    for seed, (name, count) in enumerate(names.items()):
        for kind, level in PETS.items():
            (root / name / kind).mkdir(parents=True)
            for i in range(count):
                picture(level, seed=100 * seed + i).save(root / name / kind / f"{i}.png")
    return root


def said(data: Data, *words: str) -> bool:
    """Whether one note has all the words."""
    return any(all(word in note for word in words) for note in data.notes)


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (("train", "test"), {"train": 16, "validation": 4, "test": 6}),
        (("Train", "Test"), {"train": 16, "validation": 4, "test": 6}),
        (("Training", "Testing"), {"train": 16, "validation": 4, "test": 6}),
        (("training_set", "test_set"), {"train": 16, "validation": 4, "test": 6}),
        (
            ("TRAIN", "VAL"),
            {"train": 16, "validation": 6, "test": 4},
        ),  # test images are held out of the training images
        (("train", "test", "val"), {"train": 20, "validation": 6, "test": 6}),
        (("train", "test", "Validation"), {"train": 20, "validation": 6, "test": 6}),
        (("train", "test", "valid"), {"train": 20, "validation": 6, "test": 6}),
    ],
)
@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_ready_made_parts_are_known_by_their_names(
    tmp_path: Path, names: tuple[str, ...], sizes: dict[str, int], in_memory_mb: int
) -> None:
    make_parts(tmp_path, dict(zip(names, (10, 3, 3), strict=False)))
    settings = {"source": "folder", "path": str(tmp_path), "in_memory_mb": in_memory_mb}
    data = load(settings)
    assert data.class_names == ("cat", "dog")
    assert load_test(settings, data).sizes == sizes
    assert said(data, *(f"{name} as " for name in names))


def test_the_ready_made_validation_images_are_those_of_its_folder(tmp_path: Path) -> None:
    make_parts(tmp_path, {"train": 10, "val": 3})
    shutil.rmtree(tmp_path / "val" / "cat")
    data = load_folder(tmp_path)
    assert data.splits["validation"].labels.tolist() == [1, 1, 1], "classes are numbered as in training"
    files = sorted((tmp_path / "val" / "dog").iterdir())
    expected = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    assert np.array_equal(pixels(data, "validation"), expected)


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_ready_made_validation_images_join_the_training_images(tmp_path: Path, in_memory_mb: int) -> None:
    make_parts(tmp_path, {"train": 10, "val": 3})
    data = load_folder(tmp_path, in_memory_mb=in_memory_mb)
    joined = pickle.loads(pickle.dumps(join_training(data)))
    assert joined.sizes == {"train": data.sizes["train"] + 6}
    parts = [np.concatenate(list(data.splits[part].sample(100))) for part in ("train", "validation")]
    order = torch.randperm(joined.sizes["train"], generator=torch.Generator().manual_seed(0))
    (batch,) = joined.splits["train"].batches(order, 100, (12, 12), torch.device("cpu"))
    assert np.array_equal(batch[0].numpy(), np.concatenate(parts)[order])
    labels = np.concatenate([data.splits[part].labels for part in ("train", "validation")])
    assert np.array_equal(batch[1].numpy(), labels[order])


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (
            ("train/cat", "train/dog", "extra/cat"),
            ("'extra' ", "neither training, validation nor test"),
        ),  # unknown part
        (("trian/cat", "trian/dog", "test/cat"), ("'trian' ",)),  # misspelled
        (("test/cat", "test/dog"), ("no training images",)),
        (("train/cat", "train/dog", "Training/cat"), ("both", "'train'", "'Training'")),
        (("train", "test"), ("no class folders",)),  # images without class folders
        (("train/cat", "train/dog", "test"), ("'test' ", "without class folders")),
        (("pets/cat", "pets/dog", "cars/bus"), ("one level too deep", "cars")),  # two collections
        (("pets/cat", "pets/dog"), ("one level too deep", "data.path=")),
        (("cat", "dog", "dog/puppies"), ("dog/puppies",)),
        (("train/cat", "train/dog", "train/dog/small"), ("dog/small",)),
        (("train/cat/a", "train/dog/a", "test/cat"), ("cat/a",)),
    ],
)
def test_folders_whose_meaning_cannot_be_told_are_refused(
    tmp_path: Path, folders: tuple[str, ...], words: tuple[str, ...]
) -> None:
    for seed, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            picture(40, seed=20 * seed + i).save(tmp_path / folder / f"{i}.png")
    with pytest.raises(InputError) as error:
        load_folder(tmp_path)
    message = str(error.value).replace(f"{tmp_path}/", "'")
    assert all(word in message for word in words), message


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make_folder(tmp_path, {"bus": 40, "car": 100, "train": 200})
    assert load_folder(tmp_path).class_names == ("bus", "car", "train")


def test_an_image_beside_the_class_folders_of_a_part_is_left_out(tmp_path: Path) -> None:
    make_parts(tmp_path, {"train": 10, "test": 3})
    before = load_folder(tmp_path).fingerprint
    picture(40).save(tmp_path / "train" / "cover.png")
    data = load_folder(tmp_path)
    assert data.fingerprint == before
    assert said(data, "Left out in ", ": 1 image beside the class folders (cover.png)")


def test_folders_without_images_beside_the_parts_are_named(tmp_path: Path) -> None:
    make_parts(tmp_path, {"train": 10})
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.csv").write_text("")
    assert said(load_folder(tmp_path), "Left out in ", "folders without images (annotations)")


# --- what is passed over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        "cat/.ipynb_checkpoints/0-checkpoint.png",
        "cat/._0.png",
        "__MACOSX/cat/._0.png",
        "cat/@eaDir/0.png",
        "cat/.thumbnails/0.png",
        "cat/Thumbs/0.png",
        ".Trash/cat/0.png",
        "cat/__MACOSX/0.png",
    ],
)
def test_hidden_images_are_passed_over_and_counted(tmp_path: Path, copy: str) -> None:
    make_folder(tmp_path, PETS)
    before = load_folder(tmp_path)
    (tmp_path / copy).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / copy)
    data = load_folder(tmp_path)
    assert (data.fingerprint, data.sizes) == (before.fingerprint, before.sizes)
    assert said(data, "Passed over in ", ": 1 hidden or system file (")
    assert not said(before, "hidden")


@pytest.mark.parametrize(
    ("ending", "form"),
    [("jfif", "JPEG"), ("JPE", "JPEG"), ("avif", "AVIF"), ("jp2", "JPEG2000"), ("tga", "TGA"), ("Png", "PNG")],
)
def test_images_of_any_common_ending_are_read(tmp_path: Path, ending: str, form: str) -> None:
    make_folder(tmp_path, PETS, count=5)
    for i in range(5, 10):
        picture(40, seed=i).save(tmp_path / "cat" / f"{i}.{ending}", form)
    data = load_test({"source": "folder", "path": str(tmp_path)}, load_folder(tmp_path))
    assert sum(data.sizes.values()) == 15
    assert not said(data, "Left out")


def test_other_files_are_counted_by_their_endings(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    for name in ("cat/a.heic", "dog/b.HEIC", "cat/list.txt", "dog/readme"):
        (tmp_path / name).write_bytes(b"?")
    picture(40).save(tmp_path / "cover.png")
    data = load_folder(tmp_path)
    assert said(data, "Left out in ", ": 4 files without an image's ending (.heic: 2, ", ".txt: 1", "no ending: 1")
    assert said(data, "Left out in ", ": 1 image beside the class folders (cover.png)")


# --- odd files --------------------------------------------------------------------------------------------------------


def make_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(encoded(picture(40)))
        file.truncate(2**40)


ODD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "loop": (lambda path: path.symlink_to(path), "symbolic links"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "fifo": (os.mkfifo, "a FIFO, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "sparse": (make_sparse, "1,048,576 MiB"),
    "postscript": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_image_file_is_named(tmp_path: Path, name: str) -> None:
    make_folder(tmp_path, PETS)
    make, reason = ODD[name]
    make(tmp_path / "cat" / "odd.png")
    with pytest.raises(InputError) as error:
        load_folder(tmp_path)
    assert f"{tmp_path}/cat/odd.png: " in str(error.value)
    assert reason in str(error.value)


def test_postscript_does_not_start_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, PETS)
    ran = tmp_path / "ran"
    (tmp_path / ".bin").mkdir()
    program = tmp_path / ".bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    ODD["postscript"][0](tmp_path / "dog" / "odd.png")
    with pytest.raises(InputError, match=r"odd\.png: not an image"):
        load_folder(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("target", ["..", ".", "../dog", "loop"])
def test_links_to_folders_inside_classes_are_not_followed(tmp_path: Path, target: str) -> None:
    make_folder(tmp_path, PETS)
    before = load_folder(tmp_path).fingerprint
    (tmp_path / "cat" / "loop").symlink_to(target)
    assert load_folder(tmp_path).fingerprint == before


def test_a_class_folder_that_is_the_whole_folder_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(InputError, match="one level too deep"):
        load_folder(tmp_path)


def test_linked_class_folders_and_images_count(tmp_path: Path) -> None:
    make_folder(tmp_path / "store", PETS)
    (tmp_path / "pets" / "dog").mkdir(parents=True)
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "store" / "cat")
    for i in range(10):
        (tmp_path / "pets" / "dog" / f"{i}.png").symlink_to(tmp_path / "store" / "dog" / f"{i}.png")
    assert load_folder(tmp_path / "pets").fingerprint == load_folder(tmp_path / "store").fingerprint


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_file_names_that_are_not_utf8(tmp_path: Path, in_memory_mb: int) -> None:
    make_folder(tmp_path, PETS)
    odd = os.fsencode(tmp_path) + b"/cat/caf\xe9.png"
    shutil.copy(tmp_path / "cat" / "0.png", odd)
    data = load_folder(tmp_path, in_memory_mb=in_memory_mb)
    assert all(note.isprintable() for note in data.notes)
    with open(odd, "wb") as file:
        file.write(b"broken")
    with pytest.raises(InputError, match=r"cat/caf\\udce9\.png: not an image"):
        load_folder(tmp_path, in_memory_mb=in_memory_mb)


def test_a_class_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, PETS)
    os.rename(tmp_path / "cat", os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(InputError, match=r"caf\\udce9' is no name of a class"):
        load_folder(tmp_path)


@pytest.mark.parametrize("parts", [("pets",), ("train", "val")])
def test_several_broken_files_are_named_at_once(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        make_folder(tmp_path / part, PETS, count=20)
    root = tmp_path if len(parts) > 1 else tmp_path / "pets"
    broken = [
        tmp_path / parts[0] / "cat" / "3.png",
        tmp_path / parts[-1] / "dog" / "5.png",
        tmp_path / parts[0] / "dog" / "17.png",
    ]
    broken[0].write_bytes(b"words")
    broken[1].write_bytes(broken[1].read_bytes()[:-60])
    broken[2].write_bytes(b"")
    with pytest.raises(InputError) as error:
        load_folder(root)
    assert all(f"{file}: " in str(error.value) for file in broken)
    assert str(error.value).endswith("repair or remove them")
