"""Data sets: what is loaded, how it is split and handed out, and what a user is told when it cannot be used."""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import conf
from search.data import Data, check_settings, join_training, load, load_test
from search.data.images import Held, Streamed, augment, resize
from spaces.errors import InputError
from tests.search.data.make import epoch, make_folder, make_parquet, picture, pixels, rows

CIFAR10 = os.environ.get("CIFAR10_DIR")
DIGITS = {"source": "digits"}


# --- what is loaded ---------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = load_test(DIGITS, load(DIGITS))
    assert (data.in_channels, data.num_classes, data.resolution) == (1, 10, (8, 8))
    assert sum(data.sizes.values()) == 1797
    ours = np.concatenate([pixels(data, split) for split in data.splits]).astype(float).sum((1, 2, 3)) * 16 / 255
    theirs = load_digits().images.sum((1, 2))
    assert np.allclose(np.sort(ours), np.sort(theirs), atol=64 * 0.5 * 16 / 255)
    counts = np.bincount(np.concatenate([images.labels for images in data.splits.values()]))
    assert counts.tolist() == np.bincount(load_digits().target).tolist()


def test_digits_do_not_wait_for_slow_imports() -> None:
    import subprocess

    code = "import sys; from search.data import load; load({}); print([m for m in ('sklearn', 'datasets') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(conf.__path__[0]).parent
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder", "parquet"])
def test_published_settings_are_valid(name: str) -> None:
    settings = OmegaConf.to_container(OmegaConf.load(Path(conf.__path__[0]) / "data" / f"{name}.yaml"))
    assert check_settings(settings)["name"] == name  # type: ignore[arg-type]


def test_folder_of_classes(folder: dict[str, Any], no_network: None) -> None:
    (Path(folder["path"]) / "cat" / "notes.txt").write_text("not an image")
    data = load_test(folder, load(folder))
    assert data.class_names == ("cat", "dog")
    assert data.sizes == {"train": 12, "validation": 4, "test": 4}
    assert (data.in_channels, data.resolution) == (3, (12, 12))
    for split, images in data.splits.items():  # the level tells the class
        assert ((pixels(data, split).mean((1, 2, 3)) > 120) == (images.labels == 1)).all()


def test_folder_with_its_own_test_images(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"cat": 40, "dog": 200})
    make_folder(tmp_path / "test", {"dog": 200}, count=3)
    settings = {"source": "folder", "path": str(tmp_path)}
    data = load(settings)
    assert data.sizes == {"train": 16, "validation": 4}
    test = load_test(settings, data)
    assert test.sizes["test"] == 3
    assert test.splits["test"].labels.tolist() == [1, 1, 1], "classes are numbered as in training"


def test_test_images_are_not_opened_by_the_search(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"cat": 40, "dog": 200})
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "test" / "cat" / "broken.png").write_bytes(b"broken")
    settings = {"source": "folder", "path": str(tmp_path)}
    data = load(settings)
    with pytest.raises(InputError, match=r"broken\.png"):
        load_test(settings, data)


def test_parquet_finds_its_columns_and_sorts_names(parquet: Callable[..., dict[str, Any]], no_network: None) -> None:
    columns = rows()
    settings = parquet(
        {"id": list(range(20)), "photo": columns["image"], "label": [["b", "a"][i] for i in columns["label"]]}
    )
    settings["label"] = "label"
    data = load(settings)
    assert data.class_names == ("a", "b")
    bright = pixels(data, "train").mean((1, 2, 3)) > 70
    assert (bright == (data.splits["train"].labels == 0)).all()


def test_parquet_folder_with_test_part(tmp_path: Path) -> None:
    make_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows(10))
    make_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows(10))
    make_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows(6))
    settings = {"source": "parquet", "path": str(tmp_path / "data"), "cache_dir": str(tmp_path / "cache")}
    assert load_test(settings, load(settings)).sizes == {"train": 16, "validation": 4, "test": 6}


def test_nothing_is_printed(parquet: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    settings = parquet(rows())
    datasets.enable_progress_bars()
    capfd.readouterr()
    load(settings)
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled(), "left as it was"


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("I;16", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_channels_follow_the_images(tmp_path: Path, mode: str, channels: int) -> None:
    for name, level in (("a", 40), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(4):
            image = (
                Image.fromarray(np.full((8, 8), level * 257, np.uint16))
                if mode == "I;16"
                else picture(level, mode=mode)
            )
            image.save(tmp_path / name / f"{i}.png")
    data = load({"source": "folder", "path": str(tmp_path)})
    assert data.in_channels == channels
    means = pixels(data, "train")[np.argsort(data.splits["train"].labels, kind="stable")].mean((1, 2, 3))
    assert means[0] < 90 < 160 < means[-1]
    if mode == "I;16":
        assert set(np.unique(pixels(data, "train"))) == {40, 200}, "16 bits are scaled to 8, not cut off"


def test_a_late_colour_image_counts(folder: dict[str, Any]) -> None:
    for i in range(10):
        picture(40, mode="L", seed=i).save(Path(folder["path"]) / "cat" / f"{i}.png")
    assert load(folder).in_channels == 3


def test_turned_photographs_are_set_upright(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(4):
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned clockwise by a quarter
            lying = Image.fromarray(np.repeat([[0] * 8 + [255] * 8], 8, 0).astype(np.uint8))
            lying.save(tmp_path / name / f"{i}.jpg", exif=exif)
    data = load({"source": "folder", "path": str(tmp_path)})
    assert data.resolution == (16, 8)
    assert pixels(data, "train")[0, 0, :6].max() < 30
    assert pixels(data, "train")[0, 0, 10:].min() > 220


def test_mixed_sizes_become_a_square_unless_stated(folder: dict[str, Any]) -> None:
    root = Path(folder["path"])
    for i in range(10):
        picture(40, size=(20, 30)).save(root / "cat" / f"{i}.png")
        picture(200, size=(50, 16)).save(root / "dog" / f"{i}.png")
    assert load(folder).resolution == (18, 18), "median of the shorter sides, 20 and 16"
    assert load({**folder, "resolution": [10, 14]}).resolution == (10, 14)
    assert pixels(load({**folder, "resolution": 6}), "train").shape[2:] == (6, 6)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_splits_are_disjoint_stratified_and_fixed() -> None:
    data = load_test(DIGITS, load(DIGITS))
    again = load_test(DIGITS, load(DIGITS))
    for split in data.splits:
        assert np.array_equal(pixels(data, split), pixels(again, split))
        shares = np.bincount(data.splits[split].labels) / data.sizes[split]
        assert np.all(np.abs(shares - 0.1) < 0.01)
    assert data.sizes["test"] == pytest.approx(0.2 * 1797, abs=5)
    assert data.sizes["validation"] == pytest.approx(0.2 * 0.8 * 1797, abs=5)


def test_limit_takes_nested_parts_and_leaves_validation_alone() -> None:
    full, large, small = (load({**DIGITS, "limit": limit}) for limit in (None, 400, 25))
    assert [d.sizes["train"] for d in (full, large, small)] == [1151, 400, 25]
    images = [{image.tobytes() for image in pixels(d, "train")} for d in (full, large, small)]
    assert images[2] <= images[1] <= images[0]
    assert np.bincount(small.splits["train"].labels).min() >= 2
    assert np.bincount(load({**DIGITS, "limit": 10}).splits["train"].labels).tolist() == [1] * 10
    assert np.array_equal(pixels(full, "validation"), pixels(small, "validation"))


def test_fingerprint_says_what_the_data_is_not_where(folder: dict[str, Any], tmp_path: Path) -> None:
    first = load(folder).fingerprint
    moved = make_folder(tmp_path / "elsewhere", {"cat": 40, "dog": 200})
    assert load({**folder, "path": str(moved)}).fingerprint == first
    assert load({**folder, "in_memory_mb": 0}).fingerprint == first
    assert load({**folder, "validation": 0.4}).fingerprint != first
    for i in range(10):
        picture(60, seed=i).save(moved / "cat" / f"{i}.png")
    assert load({**folder, "path": str(moved)}).fingerprint != first


# --- batches ----------------------------------------------------------------------------------------------------------


def test_training_batches_are_normalised_shuffled_and_repeatable() -> None:
    data = load(DIGITS)
    x, labels = epoch(data, batch_size=64)
    assert x.shape == (1151, 1, 8, 8)
    assert x.dtype == torch.float32
    assert abs(float(x.mean())) < 1e-4
    assert float(x.std()) == pytest.approx(1, abs=1e-3)
    assert torch.equal(labels.bincount(), torch.from_numpy(np.bincount(data.splits["train"].labels)))
    assert torch.equal(x, epoch(data, batch_size=64)[0])
    assert not torch.equal(labels, epoch(data, seed=1, batch_size=64)[1])


def test_validation_batches_keep_order_and_are_never_augmented(folder: dict[str, Any]) -> None:
    data = load({**folder, "augment": True})
    x, labels = next(iter(data.batches("validation", 100)))
    assert labels.tolist() == data.splits["validation"].labels.tolist()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (data.mean, data.std))
    assert torch.allclose((x * std + mean) * 255, torch.from_numpy(pixels(data, "validation")).float(), atol=1e-2)


@pytest.mark.parametrize(("batch_size", "expected"), [(50, [50, 50, 50]), (75, [75, 75]), (149, [149]), (200, [151])])
def test_a_last_batch_of_one_is_dropped_in_training_only(batch_size: int, expected: list[int]) -> None:
    data = load({**DIGITS, "limit": 151})
    batches = data.batches("train", batch_size, generator=torch.Generator(), train=True)
    assert [len(x) for x, _ in batches] == (expected if batch_size != 149 else [149, 2])
    assert sum(len(x) for x, _ in data.batches("train", batch_size)) == 151


def test_augmented_images_are_windows_of_the_padded_ones() -> None:
    images = torch.randint(1, 256, (40, 2, 8, 16), dtype=torch.uint8)
    out = augment(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    padded = torch.zeros(40, 2, 10, 20, dtype=torch.uint8)
    padded[:, :, 1:-1, 2:-2] = images
    seen = set()
    for before, after in zip(padded, out):
        windows = {
            (top, left, mirrored): before[:, top : top + 8, left : left + 16].flip(2 if mirrored else ())
            for top in range(3)
            for left in range(5)
            for mirrored in (False, True)
        }
        matches = [key for key, window in windows.items() if torch.equal(window, after)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 10
    assert torch.equal(out, augment(images, torch.Generator().manual_seed(0)))


def test_batches_come_at_the_resolution_asked_for() -> None:
    data = load(DIGITS)
    x, _ = next(iter(data.batches("validation", 8, resolution=(4, 6))))
    assert x.shape == (8, 1, 4, 6)
    full, _ = next(iter(data.batches("validation", 8)))
    assert torch.allclose(x.mean((1, 2, 3)), full.mean((1, 2, 3)), atol=0.15)


def test_resize_keeps_constants_and_does_not_alias() -> None:
    flat = torch.full((1, 1, 9, 9), 77, dtype=torch.uint8)
    assert resize(flat, (4, 13)).unique().tolist() == [77]
    board = ((torch.arange(16).view(1, -1) + torch.arange(16).view(-1, 1)) % 2 * 255).to(torch.uint8).view(1, 1, 16, 16)
    small = resize(board, (4, 4))  # without antialiasing a checkerboard turns black or white
    assert small.min() > 100
    assert small.max() < 155


# --- streaming, and other processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("size", [None, (7, 9)])
def test_streaming_gives_the_same_batches(folder: dict[str, Any], workers: int, size: tuple[int, int] | None) -> None:
    settings = {**folder, "augment": True, "decode_workers": workers}
    held, streamed = load(settings), load({**settings, "in_memory_mb": 0})
    assert isinstance(streamed.splits["train"], Streamed)
    assert (held.mean, held.std, held.sizes) == (streamed.mean, streamed.std, streamed.sizes)
    for ours, theirs in zip(epoch(held, resolution=size), epoch(streamed, resolution=size)):
        assert torch.equal(ours, theirs)


def test_streaming_leaves_the_global_generator_alone(folder: dict[str, Any]) -> None:
    data = load({**folder, "in_memory_mb": 0})
    before = torch.random.get_rng_state()
    epoch(data)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_joined_for_training_are_all_images_but_the_test_images(folder: dict[str, Any], in_memory_mb: int) -> None:
    settings = {**folder, "in_memory_mb": in_memory_mb}
    data = load_test(settings, load(settings))
    joined = join_training(data)
    assert joined.sizes == {"train": data.sizes["train"] + data.sizes["validation"], "test": data.sizes["test"]}
    assert (joined.mean, joined.std, joined.fingerprint) == (data.mean, data.std, data.fingerprint), "seen as before"

    def images(of: Data, *splits: str) -> list[bytes]:
        return [x.numpy().tobytes() + bytes([y]) for s in splits for x, y in zip(*next(iter(of.batches(s, 1000))))]

    assert images(joined, "train") == images(data, "train", "validation")
    assert images(joined, "test") == images(data, "test")


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_saved_data_opens_as_it_was(folder: dict[str, Any], tmp_path: Path, in_memory_mb: int) -> None:
    settings = {**folder, "in_memory_mb": in_memory_mb}
    data = load_test(settings, load(settings))
    data.save(tmp_path / "saved")
    opened = Data.open(tmp_path / "saved")
    for field in ("name", "class_names", "in_channels", "resolution", "mean", "std", "augment", "fingerprint", "sizes"):
        assert getattr(opened, field) == getattr(data, field)
    assert torch.equal(epoch(opened)[0], epoch(data)[0])
    if in_memory_mb:
        assert isinstance(pixels_of(opened), np.memmap), "shared by all processes, not copied"


def pixels_of(data: Data) -> np.ndarray:
    images = data.splits["train"]
    assert isinstance(images, Held)
    return images.pixels


def test_streamed_data_that_changed_meanwhile_is_refused(folder: dict[str, Any], tmp_path: Path) -> None:
    load({**folder, "in_memory_mb": 0}).save(tmp_path / "saved")
    for i in range(8):
        (Path(folder["path"]) / "cat" / f"{i}.png").unlink()
    with pytest.raises(InputError, match="changed since"):
        Data.open(tmp_path / "saved")


def test_streamed_data_travels_as_the_place_of_its_files(folder: dict[str, Any]) -> None:
    data = load({**folder, "in_memory_mb": 0})
    sent = pickle.dumps(data)
    assert len(sent) < 20_000
    for (x, labels), (again, again_labels) in zip(data.batches("train", 8), pickle.loads(sent).batches("train", 8)):
        assert torch.equal(x, again)
        assert torch.equal(labels, again_labels)


def test_scaled_copies_are_not_sent_along() -> None:
    data = load(DIGITS)
    before = len(pickle.dumps(data))
    list(data.batches("train", 500, resolution=(64, 64)))
    assert len(pickle.dumps(data)) == before


# --- what a user can get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolutoin": 8}, "data.resolutoin is unknown; did you mean 'resolution'"),
        ({"source": "digit"}, "data.source is 'digit'; did you mean 'digits'"),
        ({"validation": 0}, "data.validation is 0; "),
        ({"validation": 1.0}, "data.validation is 1.0; "),
        ({"validation": "half"}, "data.validation is 'half'; "),
        ({"validation": 0.999}, "data.validation is 0.999, which leaves class '0'"),
        ({"test": 1.5}, "data.test is 1.5; "),
        ({"limit": 0}, "data.limit is 0; "),
        ({"limit": 9}, "data.limit is 9, fewer than the 10 classes"),
        ({"limit": 20.5}, "data.limit is 20.5; "),
        ({"augment": "yes"}, "data.augment is 'yes'; "),
        ({"resolution": 0}, "data.resolution is 0; "),
        ({"resolution": [8, 8, 8]}, "data.resolution is "),
        ({"in_memory_mb": -1}, "data.in_memory_mb is -1; "),
        ({"decode_workers": None}, "data.decode_workers is None; "),
        ({"source": "folder"}, "needs data.path="),
        ({"source": "folder", "path": "/nowhere/at/all"}, "'/nowhere/at/all' does not exist"),
        ({"source": "parquet", "path": "/nowhere.parquet"}, "'/nowhere.parquet' does not exist"),
        ({"source": "hub"}, "data.hub is empty"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load(settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: None, "holds no class folders"),
        (lambda root: make_folder(root, {"cat": 40}), "has 1 class;"),
        (lambda root: (make_folder(root, {"cat": 40}) / "dog").mkdir(), "dog' holds no images"),
        (lambda root: make_folder(root, {"cat": 40, "dog": 200}, count=1), "leaves class 'cat'"),
        (lambda root: spoil(make_folder(root, {"a": 1, "b": 2}), lambda content: b"?"), ".png: not an image"),
        (lambda root: spoil(make_folder(root, {"a": 1, "b": 2}), lambda content: b""), ".png: not an image"),
        (lambda root: spoil(make_folder(root, {"a": 1, "b": 2}), lambda content: content[:-60]), ".png: "),
    ],
)
def test_unusable_folders_are_named(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    change(tmp_path)
    with pytest.raises(InputError) as error:
        load({"source": "folder", "path": str(tmp_path)})
    assert message in str(error.value)


def spoil(root: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes the content of every file below `root`: which ones the search looks at is not the user's to know."""
    for file in root.rglob("*.png"):
        file.write_bytes(change(file.read_bytes()))


def test_any_image_that_is_none_is_named_whatever_split_it_falls_into(folder: dict[str, Any]) -> None:
    for file in sorted(Path(folder["path"]).rglob("*.png")):
        content = file.read_bytes()
        file.write_bytes(b"words")
        with pytest.raises(InputError, match=rf"{file.parent.name}.{file.name}: not an image"):
            load(folder)
        file.write_bytes(content)


def test_a_cut_streamed_image_is_named_when_reached(folder: dict[str, Any]) -> None:
    data = load({**folder, "in_memory_mb": 0})
    spoil(Path(folder["path"]) / "cat", lambda content: content[:-60])
    with pytest.raises(InputError, match=r"cat.\d\.png"):
        epoch(data)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"label": [0, 1]}, {}, "no image column"),
        ({"image": rows(4)["image"]}, {}, "no label column"),
        ({**rows(4), "photo": rows(4)["image"]}, {"image": "phto"}, "did you mean 'photo'"),
        (
            {"a": rows(4)["image"], "b": rows(4)["image"], "label": [0, 1] * 2},
            {},
            "several columns that could be meant (a, b)",
        ),
        (
            {"image": rows(4)["image"], "x": [0, 1] * 2, "y": [0, 1] * 2},
            {},
            "several columns that could be meant (x, y)",
        ),
        ({**rows(4), "x": [0.5] * 4}, {"label": "x"}, "holds float64, not whole numbers"),
        ({**rows(4), "x": [0.5] * 4}, {"image": "x"}, "holds float64, not images"),
        ({**rows(4), "label": [0, 1, None, 1]}, {}, "is empty in row 2"),
        ({**rows(4), "label": [0, 1, -1, 1]}, {}, "is -1 in row 2"),
        ({**rows(4), "label": [0, 1, 10**12, 1]}, {}, "is 1000000000000 in row 2"),
        (
            {**rows(20), "image": [{"bytes": b"?", "path": None}, *rows(20)["image"][1:]]},
            {},
            "image 0 (counted from 0)",
        ),
        ({"image": [], "label": []}, {"image": "image", "label": "label"}, "images.parquet"),
    ],
)
def test_unusable_tables_are_named(
    parquet: Callable[..., dict[str, Any]], columns: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        load(parquet(columns, **settings))
    assert message in str(error.value)


def test_labels_beyond_the_published_names(parquet: Callable[..., dict[str, Any]]) -> None:
    columns = rows(20)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    settings = parquet(columns, features)
    named = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    make_parquet(Path(settings["path"]), {**columns, "label": [-1, *columns["label"][1:]]}, named)
    with pytest.raises(InputError, match=r"is -1 in row 0 .*classes are 0 to 1"):
        load(settings)


def test_files_that_are_not_parquet(tmp_path: Path) -> None:
    settings = {"source": "parquet", "path": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(InputError, match=r"holds no \.parquet files"):
        load(settings)
    (tmp_path / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"cannot read .*train\.parquet' as parquet"):
        load(settings)
    (tmp_path / "train.parquet").rename(tmp_path / "test.parquet")
    with pytest.raises(InputError, match="no training images"):
        load(settings)


def test_a_hub_out_of_reach_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as error:
        load({"source": "hub", "hub": "nobody/nothing", "cache_dir": str(tmp_path)})
    assert "'nobody/nothing' on the Hugging Face hub" in str(error.value)
    assert "data.path=" in str(error.value)


@pytest.mark.skipif(CIFAR10 is None, reason="CIFAR10_DIR names no folder with train.parquet and test.parquet")
def test_cifar10(tmp_path: Path, no_network: None) -> None:
    settings = OmegaConf.to_container(OmegaConf.load(Path(conf.__path__[0]) / "data" / "cifar10.yaml"))
    assert isinstance(settings, dict)
    settings = {**settings, "path": CIFAR10, "cache_dir": str(tmp_path), "limit": 1000}
    data = load_test(settings, load(settings))  # type: ignore[arg-type]
    assert data.sizes == {"train": 1000, "validation": 5000, "test": 10_000}
    assert data.class_names[:2] == ("airplane", "automobile")
    assert (data.in_channels, data.resolution) == (3, (32, 32))
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.01)  # as published with many CIFAR-10 networks
    assert epoch(data, batch_size=128)[0].shape == (1000, 3, 32, 32)
