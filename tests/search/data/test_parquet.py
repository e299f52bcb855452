"""Parquet files and data sets of the hub: whose column is the label, what labels say, paths, parts, and the cache."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data import Data, load, load_test
from search.data.images import Held
from spaces.errors import InputError
from tests.search.data.make import encoded, make_folder, make_parquet, picture, pixels, rows

Parquet = Callable[..., dict[str, Any]]

NAMES = ["cat", "dog"] * 10
FOLDS = [0, 1, 2, 3] * 5


def said(data: Data, *words: str) -> bool:
    """Whether one note has all the words."""
    return any(all(word in note for word in words) for note in data.notes)


def write_arrow(root: Path, columns: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A file as other programs than Hugging Face's write it; gives the settings."""
    pq.write_table(pa.table(dict(columns)), root / "images.parquet")
    return {"source": "parquet", "path": str(root / "images.parquet"), "cache_dir": str(root / "cache"), **settings}


def images(count: int = 20) -> pa.Array:
    return pa.array([image["bytes"] for image in rows(count)["image"]])


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "settings", "classes"),
    [
        ({"label": NAMES, "fold": FOLDS}, {}, ("cat", "dog")),  # the name wins over the type
        ({"fold": FOLDS, "Label": NAMES}, {}, ("cat", "dog")),
        ({"label": [True, False] * 10, "fold": FOLDS}, {}, ("false", "true")),
        ({"label": [0.0, 1.0] * 10, "fold": FOLDS}, {}, ("0", "1")),
        ({"kind": NAMES, "fold": FOLDS}, {"label": "kind"}, ("cat", "dog")),
        ({"kind": NAMES, "id": list(range(20))}, {}, ("cat", "dog")),  # 20 different values in 20 rows are no classes
        ({"kind": NAMES, "split": ["train"] * 20}, {}, ("cat", "dog")),  # neither is a single one
        ({"kind": FOLDS, "score": [0.1, 0.2] * 10}, {}, ("0", "1", "2", "3")),  # nor are fractions
    ],
)
def test_the_label_column_is_found(
    parquet: Parquet, columns: dict[str, Any], settings: dict[str, Any], classes: tuple[str, ...]
) -> None:
    assert load(parquet({"image": rows()["image"], **columns}, **settings)).class_names == classes


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": NAMES, "fold": FOLDS}, "several columns that could be meant (kind, fold); data.label="),
        ({"kind": [True, False] * 10, "fold": FOLDS}, "several columns that could be meant (kind, fold); data.label="),
        ({"kind": NAMES, "grade": [1.0, 2.0] * 10}, "several columns that could be meant (kind, grade); data.label="),
        ({"label": [0.5, 1.5] * 10, "kind": NAMES}, "holds float64, not whole numbers: 0.5 in row 0"),
        ({"label": [[0], [1]] * 10, "kind": NAMES}, "'label' of "),
        ({"label": [1.0, float("nan")] * 10}, "is empty in row 1"),
    ],
)
def test_the_label_column_is_not_guessed(parquet: Parquet, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load(parquet({"image": rows()["image"], **columns}))
    assert message in str(error.value)


def test_a_column_told_by_its_type_is_mentioned(parquet: Parquet) -> None:
    data = load(parquet({"photo": rows()["image"], "kind": NAMES}))
    assert said(data, "Column 'photo' of ", " is taken for the images")
    assert said(data, "Column 'kind' of ", " is taken for the labels")
    assert not said(load(parquet(rows())), "is taken for")


def test_the_image_column_is_the_one_of_that_name(parquet: Parquet) -> None:
    masks = [{"bytes": encoded(picture(200, seed=i)), "path": None} for i in range(20)]
    columns = {"mask": masks, "image": rows()["image"], "label": NAMES}
    assert pixels(load(parquet(columns)), "train").mean() < 120
    assert pixels(load(parquet(columns, image="mask")), "train").mean() > 150
    with pytest.raises(InputError, match=r"\(mask, photo\); data\.image="):
        load(parquet({"mask": masks, "photo": masks, "label": NAMES}))
    with pytest.raises(InputError, match=r"column 'image' of .* holds string, not images; data\.image="):
        load(parquet({"image": NAMES, "photo": masks, "label": NAMES}))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array(NAMES, pa.string_view()), ("cat", "dog")),
        (pa.array(NAMES, pa.large_string()), ("cat", "dog")),
        (pa.array(NAMES).dictionary_encode(), ("cat", "dog")),
        (pa.array([True, False] * 10), ("false", "true")),
        (pa.array(np.array([1, 0] * 10, np.float16)), ("0", "1")),
        (pa.array([3, 5] * 10, pa.uint8()), ("3", "5")),
    ],
)
def test_labels_of_any_usual_type(tmp_path: Path, labels: pa.Array, classes: tuple[str, ...]) -> None:
    fold = pa.array(FOLDS)
    for columns in ({"image": images(), "label": labels, "fold": fold}, {"image": images(), "kind": labels}):
        data = load(write_arrow(tmp_path, columns))
        assert data.class_names == classes
        bright = pixels(data, "train").mean((1, 2, 3)) > 70  # rows of odd numbers are bright
        assert (
            bright == (data.splits["train"].labels == classes.index(str(labels[1]).lower().removesuffix(".0")))
        ).all()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_images_of_any_binary_type(tmp_path: Path, kind: pa.DataType) -> None:
    assert load(write_arrow(tmp_path, {"image": images().cast(kind), "label": pa.array(NAMES)})).num_classes == 2


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "classes", "note"),
    [
        ([0, 1], ("0", "1"), None),
        ([1, 2], ("1", "2"), ": 1, 2."),
        ([0, 2], ("0", "2"), ": 0, 2."),
        ([20, 10], ("10", "20"), ": 10, 20."),
    ],
)
def test_numbers_that_occur_are_classes(
    parquet: Parquet, numbers: list[int], classes: tuple[str, ...], note: str | None
) -> None:
    data = load(parquet({**rows(), "label": numbers * 10}))
    assert data.class_names == classes
    assert note is None or said(data, "Classes are the numbers that occur in ", note)
    assert note is not None or not said(data, "numbers that occur")


def test_names_are_printed_without_what_controls_a_terminal(parquet: Parquet) -> None:
    data = load(parquet({**rows(), "label": ["cat\x1b[2J", "dog\n"] * 10}))
    assert data.class_names == ("cat\x1b[2J", "dog\n")
    assert all(note.isprintable() for note in data.notes)
    assert said(data, r"cat\x1b[2J: 8, dog\n: 8")


def test_published_names_without_images_are_left_out(parquet: Parquet) -> None:
    names = datasets.ClassLabel(names=["ant", "cat", "bee", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    settings = parquet({**rows(), "label": [3, 1] * 10}, features)
    data = load(settings)
    assert data.class_names == ("cat", "dog")
    bright = pixels(data, "train").mean((1, 2, 3)) > 70
    assert (bright == (data.splits["train"].labels == 0)).all()
    assert said(data, "Left out in ", "class names without images (ant, bee)")


@pytest.mark.parametrize(
    ("training", "test", "classes"),
    [
        ((["ant", "cat", "dog"], [1, 2]), (["dog", "cat"], [1, 0]), ("cat", "dog")),  # by their names
        ((["ant", "cat", "dog"], [1, 2]), (None, [1, 2]), ("cat", "dog")),  # numbered as in training
        ((None, [1, 2]), (["ant", "cat", "dog"], [1, 2]), ("1", "2")),
        ((None, [1, 2]), (None, [1, 2]), ("1", "2")),
    ],
)
def test_test_labels_are_matched_to_those_of_training(
    tmp_path: Path,
    training: tuple[list[str] | None, list[int]],
    test: tuple[list[str] | None, list[int]],
    classes: tuple[str, ...],
) -> None:
    for part, (published, labels) in (("train", training), ("test", test)):
        kind = datasets.Value("int64") if published is None else datasets.ClassLabel(names=published)
        features = datasets.Features({"image": datasets.Image(), "label": kind})
        make_parquet(tmp_path / "pets" / f"{part}.parquet", {**rows(), "label": labels * 10}, features)
    settings = {"source": "parquet", "path": str(tmp_path / "pets"), "cache_dir": str(tmp_path / "cache")}
    data = load_test(settings, load(settings))
    assert data.class_names == classes
    assert data.splits["test"].labels.tolist() == [0, 1] * 10


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, {"bytes": None, "path": None}, {"bytes": b"", "path": None}])
def test_missing_images_are_named(parquet: Parquet, missing: Any) -> None:
    columns = rows()
    for row in (3, 4, 11):
        columns["image"][row] = missing
    with pytest.raises(InputError) as error:
        load(parquet(columns))
    assert all(f"image {row} (counted from 0) of " in str(error.value) for row in (3, 4, 11))
    if missing is None or missing["bytes"] is None:
        assert "the row holds no image" in str(error.value)


def by_path(paths: list[str]) -> dict[str, Any]:
    return {"image": [{"bytes": None, "path": path} for path in paths], "label": [0, 1] * (len(paths) // 2)}


def test_images_given_by_paths_lie_below_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "set", {"cat": 40, "dog": 200})
    paths = [f"{kind}/{i}.png" for i in range(10) for kind in ("cat", "dog")]
    settings = {"source": "parquet", "cache_dir": str(tmp_path / "cache"), "path": str(tmp_path / "set" / "a.parquet")}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for prefix in ("", f"{tmp_path}/set/"):
        make_parquet(Path(settings["path"]), by_path([prefix + path for path in paths]))
        data = load(settings)
        assert ((pixels(data, "train").mean((1, 2, 3)) > 120) == (data.splits["train"].labels == 1)).all()


@pytest.mark.parametrize("how", ["absolute", "upwards", "link"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, how: str) -> None:
    root = make_folder(tmp_path / "set", {"cat": 40, "dog": 200})
    picture(40).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    path = {"absolute": str(tmp_path / "secret.png"), "upwards": "../secret.png", "link": "link.png"}[how]
    paths = [f"{kind}/{i}.png" for i in range(10) for kind in ("cat", "dog")]
    make_parquet(root / "a.parquet", by_path([path, *paths[1:]]))
    settings = {"source": "parquet", "cache_dir": str(tmp_path / "cache"), "path": str(root)}
    with pytest.raises(InputError, match=r"image 0 \(counted from 0\) of .*: its path '.*' leads out of '"):
        load(settings)


# --- files and parts --------------------------------------------------------------------------------------------------


def parquet_folder(root: Path, files: list[str]) -> dict[str, Any]:
    for seed, file in enumerate(files):
        columns = {
            "image": [{"bytes": encoded(picture(100, seed=100 * seed + i)), "path": None} for i in range(20)],
            "label": [0, 1] * 10,
        }
        make_parquet(root / file, columns)
    return {"source": "parquet", "path": str(root), "cache_dir": str(root.parent / "cache")}


@pytest.mark.parametrize(
    ("files", "sizes"),
    [
        (["Train.parquet", "TEST.parquet"], {"train": 16, "validation": 4, "test": 20}),
        (["train.parquet", "val.parquet", "test.parquet"], {"train": 20, "validation": 20, "test": 20}),
        (["train/0.parquet", "validation/0.parquet"], {"train": 16, "validation": 20, "test": 4}),
        (["a.parquet", "b.PARQUET", "testing-0.parquet"], {"train": 32, "validation": 8, "test": 20}),
        (["default/train/0.parquet", "default/test/0.parquet"], {"train": 16, "validation": 4, "test": 20}),
    ],
)
@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_parts_of_parquet_files(tmp_path: Path, files: list[str], sizes: dict[str, int], in_memory_mb: int) -> None:
    # the name of the folder that is given does not count
    settings = {**parquet_folder(tmp_path / "test", files), "in_memory_mb": in_memory_mb}
    data = load(settings)
    assert load_test(settings, data).sizes == sizes
    assert said(data, "comes in parts", "as training images")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train.parquet", "extra.parquet"], "extra.parquet is neither training, validation nor test"),
        (["val.parquet", "valid.parquet", "train.parquet"], "holds both 'val' and 'valid'"),
        (["mnist/train.parquet", "cifar/train.parquet"], "several data sets; data.path= names one"),
        (["mnist/a.parquet", "cifar/a.parquet"], "several data sets; data.path= names one"),
        (["test.parquet"], "no training images"),
    ],
)
def test_parquet_files_whose_part_cannot_be_told_are_refused(tmp_path: Path, files: list[str], words: str) -> None:
    with pytest.raises(InputError) as error:
        load(parquet_folder(tmp_path / "set", files))
    assert words in str(error.value)


def test_hidden_and_odd_parquet_files_are_passed_over(tmp_path: Path) -> None:
    settings = parquet_folder(tmp_path / "set", ["a.parquet"])
    before = load(settings)
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "__MACOSX" / "._a.parquet").write_bytes(b"?")
    (tmp_path / "set" / ".ipynb_checkpoints").mkdir()
    shutil.copy(tmp_path / "set" / "a.parquet", tmp_path / "set" / ".ipynb_checkpoints" / "a.parquet")
    os.mkfifo(tmp_path / "set" / "b.parquet")
    data = load(settings)
    assert data.fingerprint == before.fingerprint
    assert said(data, "Passed over in ", ": 2 hidden or system files")


@pytest.mark.parametrize("odd", ["sparse", "not UTF-8", "device"])
def test_odd_parquet_files_are_refused_at_once(tmp_path: Path, odd: str) -> None:
    settings = parquet_folder(tmp_path / "set", ["a.parquet"])
    file = tmp_path / "set" / "a.parquet"
    if odd == "sparse":
        os.truncate(file, 2**40)
    elif odd == "device":
        settings["path"] = "/dev/zero"
    else:
        os.rename(file, os.fsencode(tmp_path) + b"/set/caf\xe9.parquet")
    message = {"sparse": "cannot read .*a.parquet' as parquet", "device": "neither a folder nor a file"}
    with pytest.raises(InputError, match=message.get(odd, r"caf\\udce9\.parquet' has characters")):
        load(settings)


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_a_file_rewritten_with_its_time_kept_is_read_anew(tmp_path: Path, in_memory_mb: int) -> None:
    columns = rows()
    file = make_parquet(tmp_path / "set" / "a.parquet", {**columns, "label": [0, 1] * 10})
    settings = {
        "source": "parquet",
        "path": str(file),
        "cache_dir": str(tmp_path / "cache"),
        "in_memory_mb": in_memory_mb,
    }
    before, times = load(settings), os.stat(file)
    make_parquet(file, {**columns, "label": [1, 0] * 10})
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(file).st_size == times.st_size
    after = load(settings)
    assert after.fingerprint != before.fingerprint
    assert (after.splits["train"].labels.sum(), len(after.splits["train"])) == (6, 12)
    for pieces, labels in [(np.concatenate(list(after.splits["train"].sample(100))), after.splits["train"].labels)]:
        assert ((pieces.mean((1, 2, 3)) > 70) == (labels == 0)).all()


def test_other_processes_take_the_same_content_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**parquet_folder(tmp_path / "set", ["train.parquet", "val.parquet"]), "in_memory_mb": 0}
    data = load(settings)
    data.save(tmp_path / "saved")

    def refuse(*_: Any) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr("search.data.parquet._content_digest", refuse)
    opened = Data.open(tmp_path / "saved")
    for split in data.splits:
        for (x, labels), (again, again_labels) in zip(data.batches(split, 8), opened.batches(split, 8), strict=True):
            assert (x == again).all()
            assert (labels == again_labels).all()


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_parts_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(seed: int) -> datasets.Dataset:
        made = [{"bytes": encoded(picture(100, seed=seed + i)), "path": None} for i in range(10)]
        return datasets.Dataset.from_dict({"image": made, "label": [0, 1] * 5})

    found = datasets.DatasetDict({name: part(100 * i) for i, name in enumerate(("train", "valid", "test", "extra"))})
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: found)
    settings = {"source": "hub", "hub": "some/pets", "cache_dir": str(tmp_path)}
    data = load_test(settings, load(settings))
    assert data.sizes == {"train": 10, "validation": 10, "test": 10}
    assert isinstance(data.splits["validation"], Held)
    assert said(data, "valid as validation images")
    assert said(data, "Left out in ", "other parts (extra)")
