"""How files become 8-bit pixels: depth, orientation and transparency, decided once for a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.data import Data, load, load_test
from search.evaluation.trained_folder import describe_images
from search.reporting.card import preprocessing
from spaces.errors import InputError
from tests.search.data.make import make_folder, pixels


def save_frames(root: Path, frames: Sequence[np.ndarray], ending: str = "tif") -> dict[str, Any]:
    """Each frame four times over two classes, a constant image; gives the settings."""
    for kind in "ab":
        (root / kind).mkdir(parents=True)
        for i in range(4):
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(root / kind / f"{number}-{i}.{ending}")
    return {"source": "folder", "path": str(root)}


def constant(value: float, kind: str) -> np.ndarray:
    return np.full((6, 6), value, kind)


def levels(data: Data) -> list[int]:
    return sorted(set(np.unique(np.concatenate([pixels(data, split) for split in data.splits])).tolist()))


@pytest.mark.parametrize(
    ("values", "kind", "ending", "expected", "range_in_words"),
    [
        ((250, 50_000), "<u2", "tif", [1, 195], "0..65535"),  # a dark frame stays dark beside a bright one
        ((250, 50_000), "<u2", "png", [1, 195], "0..65535"),
        ((100, 250), "<u2", "png", [100, 250], "0..255"),  # 8 bits in a file of 16
        ((250, 1_000), "<u2", "png", [62, 249], "0..1023"),
        ((0, 4_095), "<u2", "tif", [0, 255], "0..4095"),
        ((250, 50_000), ">u2", "tif", [1, 195], "0..65535"),  # big-endian
        ((300, 4_000), "<i4", "tif", [19, 249], "0..4095"),  # 32 bits
        ((0.25, 1.0), "<f4", "tif", [64, 255], "0..1"),
        ((0.0, 200.0), "<f4", "tif", [0, 200], "0..255"),
        ((-1.0, 0.0, 1.0), "<f4", "tif", [0, 128, 255], "-1..1"),
        ((0.0, 250_000.0), "<f4", "tif", [0, 255], "0..250000"),
    ],
)
@pytest.mark.parametrize("in_memory_mb", [1024, 0])
def test_one_range_of_values_for_all_images(
    tmp_path: Path,
    values: Sequence[float],
    kind: str,
    ending: str,
    expected: list[int],
    range_in_words: str,
    in_memory_mb: int,
) -> None:
    settings = save_frames(tmp_path, [constant(value, kind) for value in values], ending)
    data = load_test(settings, load(settings))
    assert data.in_channels == 1
    assert levels(data) == expected
    assert any(f"; {range_in_words} becomes 0..255" in note for note in data.notes)
    held, streamed = (load({**settings, "in_memory_mb": size}) for size in (1024, 0))
    assert (streamed.fingerprint, streamed.depth, streamed.notes) == (held.fingerprint, held.depth, held.notes)


def test_images_of_8_bits_keep_their_range_beside_deeper_ones(tmp_path: Path) -> None:
    settings = save_frames(tmp_path, [constant(200, "u1"), constant(50_000, "<u2")], "png")
    assert levels(load(settings)) == [195, 200]


def test_images_opened_elsewhere_have_the_same_range(tmp_path: Path) -> None:
    settings = {**save_frames(tmp_path / "images", [constant(v, "<u2") for v in (250, 50_000)]), "in_memory_mb": 0}
    data = load(settings)
    data.save(tmp_path / "saved")
    opened = Data.open(tmp_path / "saved")
    assert (opened.depth, opened.backdrop, opened.notes) == (data.depth, data.backdrop, data.notes)
    for (x, _), (again, _) in zip(data.batches("train", 8), opened.batches("train", 8), strict=True):
        assert (x == again).all()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            [constant(70_000, "<i4"), constant(1, "<i4")],
            "0-0.tif is among images whose pixels are integers from 1 to 70000",
        ),
        ([constant(-5, "<i4"), constant(1, "<i4")], "0-0.tif is among images whose pixels are integers from -5 to 1"),
        ([constant(np.nan, "<f4"), constant(1, "<f4")], "0-0.tif: it has pixels that are not finite"),
        ([constant(0.5, "<f4"), constant(1_000, "<u2")], "images of floats and images of integers"),
    ],
)
def test_values_that_no_rule_covers_are_refused(tmp_path: Path, frames: Sequence[np.ndarray], message: str) -> None:
    with pytest.raises(InputError) as error:
        load(save_frames(tmp_path, frames))
    assert message in str(error.value)


def test_test_images_are_not_deeper_than_training_images(tmp_path: Path) -> None:
    settings = save_frames(tmp_path / "train", [constant(9, "u1"), constant(200, "u1")])
    save_frames(tmp_path / "test", [constant(1_000, "<u2")])
    settings["path"] = str(tmp_path)
    with pytest.raises(InputError, match=r"0-0\.tif: it has more than 8 bits a pixel, and no training image has"):
        load_test(settings, load(settings))


def oriented(path: Path, orientation: int, **options: Any) -> None:
    """A picture whose left half is black, stored 8 pixels high and 16 wide."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    half = np.repeat([[0] * 8 + [255] * 8], 8, 0).astype(np.uint8)
    Image.fromarray(np.stack([half] * 3, -1)).save(path, exif=exif, **options)


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("jpg", {}),
        ("webp", {"lossless": True}),
        ("png", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("avif", {"quality": 100}),
    ],
)
def test_images_of_any_format_are_set_upright(
    tmp_path: Path, ending: str, options: dict[str, Any], in_memory_mb: int
) -> None:
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(4):
            oriented(tmp_path / kind / f"{i}.{ending}", 6, **options)  # to be turned clockwise by a quarter
    data = load({"source": "folder", "path": str(tmp_path), "in_memory_mb": in_memory_mb})
    assert data.resolution == (16, 8)
    (images,) = data.splits["train"].sample(1)
    assert images[0, 0, :6].max() < 30
    assert images[0, 0, 10:].min() > 220


def test_an_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(4):
            path = tmp_path / kind / f"{i}.png"
            oriented(path, 6)
            content = path.read_bytes()
            start = content.index(b"eXIf") - 4
            end = start + 12 + int.from_bytes(content[start : start + 4], "big")
            path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    assert load({"source": "folder", "path": str(tmp_path)}).resolution == (16, 8)


def drawing(level: int, mode: str, place: int) -> Image.Image:
    """A square of one grey level, opaque, on a ground that is transparent and of the same level."""
    opacity = np.zeros((12, 12), np.uint8)
    opacity[place : place + 4, place : place + 4] = 255
    picture = Image.merge("LA", [Image.new("L", (12, 12), level), Image.fromarray(opacity)])
    if mode == "P":
        indexed = Image.fromarray((opacity > 0).astype(np.uint8), "P")
        indexed.putpalette([level] * 6)
        indexed.info["transparency"] = 0
        return indexed
    return picture.convert(mode)


@pytest.mark.parametrize("in_memory_mb", [1024, 0])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("level", "ground", "word"), [(0, 255, "white"), (255, 0, "black")])
def test_drawings_in_the_alpha_channel_are_seen(
    tmp_path: Path, mode: str, level: int, ground: int, word: str, in_memory_mb: int
) -> None:
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(6):
            drawing(level, mode, i).save(tmp_path / kind / f"{i}.png")
    data = load({"source": "folder", "path": str(tmp_path), "in_memory_mb": in_memory_mb})
    for images in data.splits["train"].sample(100):
        assert ((images == level).sum((2, 3)) == 16).all(), "the square"
        assert ((images == ground).sum((2, 3)) == 144 - 16).all()
    assert len([note for note in data.notes if f"all are laid over {word}" in note]) == 1


def test_opaque_images_with_an_alpha_channel_stay_as_they_are(tmp_path: Path) -> None:
    plain = load({"source": "folder", "path": str(make_folder(tmp_path / "plain", {"cat": 40, "dog": 200}))})
    alpha = load(
        {"source": "folder", "path": str(make_folder(tmp_path / "alpha", {"cat": 40, "dog": 200}, mode="RGBA"))}
    )
    assert plain.fingerprint == alpha.fingerprint
    assert not any("transparent" in note for note in alpha.notes)


def test_colour_of_16_bits_is_mentioned_and_refused_where_it_would_be_black(tmp_path: Path) -> None:
    import struct
    import zlib

    def png(path: Path, value: int) -> None:
        """An RGB image of 16 bits a channel, which Pillow does not write."""

        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        line = b"\0" + struct.pack(">H", value) * 3 * 6
        header = struct.pack(">IIBBBBB", 6, 6, 16, 2, 0, 0, 0)
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(line * 6)), chunk(b"IEND", b""))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))

    for name, level in (("bright", 40_000), ("dark", 3_000)):
        for kind in "ab":
            (tmp_path / name / kind).mkdir(parents=True)
            for i in range(4):
                png(tmp_path / name / kind / f"{i}.png", level)
    data = load({"source": "folder", "path": str(tmp_path / "bright")})
    assert any("16 bits in each of several channels in 6 images" in note for note in data.notes)
    with pytest.raises(InputError, match="12 or less are used"):
        load({"source": "folder", "path": str(tmp_path / "dark")})


def test_a_model_card_states_range_and_ground(tmp_path: Path) -> None:
    settings = save_frames(tmp_path, [constant(v, "<u2") for v in (250, 4_000)])
    for kind in "ab":
        for i in range(3):
            drawing(255, "LA", i).save(tmp_path / kind / f"drawing-{i}.png")
    first, second, *_ = preprocessing(describe_images(load_test(settings, load(settings))), (6, 6))
    assert first.startswith("Map integers of more than 8 bits from 0..4095 to 0..255")
    assert second == "Decode to grey (one channel), 8 bits a channel, upright (EXIF), transparent pixels over black."


def test_cut_images_are_named_among_transparent_ones(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 40, "dog": 200}, mode="RGBA")
    for file in (tmp_path / "cat").iterdir():
        file.write_bytes(file.read_bytes()[:-80])
    with pytest.raises(InputError, match=r"cat/\d\.png: .*repair or remove them"):
        load({"source": "folder", "path": str(tmp_path)})
