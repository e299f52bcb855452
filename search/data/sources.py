"""Where images come from: digits, the Hugging Face hub, class folders, parquet files; each a table of images with labels.

Nothing is decoded here before it is asked for, and a table that is not asked for (the test images) is never opened.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from search.data.columns import find_columns, read_labels
from spaces.errors import InputError, did_you_mean
from spaces.sizes import Size

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
"""Files in a class folder that count as images; others (notes, thumbnails' indexes) are passed over."""

TEST_NAMES = ("test", "validation", "valid", "val")
"""Names of a ready-made test part, best first: where only a validation part is published, it serves as the test split."""

GRAY_MODES = {"1", "L", "LA", "I", "I;16", "F"}

CHUNK = 512
"""Rows fetched at a time."""


@dataclass(frozen=True)
class Table:
    """Images with labels, in a fixed order."""

    origin: str
    """What to call it in an error: a path, a name on the hub."""
    class_names: tuple[str, ...]
    labels: np.ndarray
    """(n,) int64, every value an index into `class_names`."""
    images: np.ndarray | Dataset
    """(n, H, W) uint8, or a data set whose only column holds encoded images."""

    def where(self, row: int) -> str:
        """Names the image in `row` for a person."""
        path = None if isinstance(self.images, np.ndarray) else self.images[row]["image"]["path"]
        named = path is not None and Path(path).is_absolute()
        return str(path) if named else f"image {row} (counted from 0) of {self.origin}"

    def pictures(self, rows: Sequence[int] | np.ndarray) -> Iterator[Image.Image]:
        """The images of `rows`, opened but not decoded.

        Raises:
            InputError: an image that cannot be opened, by name.
        """
        for start in range(0, len(rows), CHUNK):
            chunk = [int(row) for row in rows[start : start + CHUNK]]
            if isinstance(self.images, np.ndarray):
                yield from map(Image.fromarray, self.images[chunk])
            else:
                for row, encoded in zip(chunk, self.images[chunk]["image"], strict=True):
                    with self._naming(row):
                        picture = _open(encoded)
                    yield picture

    def scan(self, rows: Sequence[int] | np.ndarray) -> tuple[set[Size], list[int], bool]:
        """Looks at the headers of `rows`: their sizes, their shorter sides in order, and whether any has colour."""
        sizes, shorter, colour = set(), [], False
        for picture in self.pictures(rows):
            height, width = _upright_size(picture)
            sizes.add((height, width))
            shorter.append(min(height, width))
            colour = colour or picture.mode not in GRAY_MODES
        return sizes, shorter, colour

    def decode(self, rows: Sequence[int] | np.ndarray, channels: int, size: Size) -> np.ndarray:
        """Decodes `rows` to (n, channels, *size) uint8; an image of another shape is scaled to cover it and cut centrally.

        Raises:
            InputError: an image that cannot be decoded, by name.
        """
        decoded = np.empty((len(rows), channels, *size), np.uint8)
        for i, picture in enumerate(self.pictures(rows)):
            with self._naming(int(rows[i])):
                decoded[i] = _pixels(picture, channels, size)
        return decoded

    def decode_alike(self, rows: Sequence[int] | np.ndarray, size: Size | None, max_bytes: float) -> np.ndarray | None:
        """Decodes `rows` like the first of them, at `size` or its own: one pass over the files instead of `scan` and `decode`.

        Returns:
            (n, C, H, W) uint8; None where a later image has another size or brings in colour, or all exceed `max_bytes`.
        """
        first = next(self.pictures(rows[:1]))
        channels, shape = 1 if first.mode in GRAY_MODES else 3, size or _upright_size(first)
        if len(rows) * channels * shape[0] * shape[1] > max_bytes:
            return None
        decoded = np.empty((len(rows), channels, *shape), np.uint8)
        for i, picture in enumerate(self.pictures(rows)):
            if channels == 1 and picture.mode not in GRAY_MODES:
                return None
            if size is None and _upright_size(picture) != shape:
                return None
            with self._naming(int(rows[i])):
                decoded[i] = _pixels(picture, channels, shape)
        return decoded

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        try:
            yield
        # what Pillow raises for broken files differs by format
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
            reason = str(error) if "BytesIO" not in str(error) else "not an image, or cut off"
            raise InputError(f"cannot read {self.where(row)}: {reason}; repair or remove it") from error


def _open(encoded: Mapping[str, Any] | None) -> Image.Image:
    if encoded is None or (encoded["bytes"] is None and encoded["path"] is None):
        raise ValueError("the row holds no image")
    if encoded["bytes"] is None:
        with open(encoded["path"], "rb") as file:
            return Image.open(io.BytesIO(file.read()))
    return Image.open(io.BytesIO(encoded["bytes"]))


def _is_turned(picture: Image.Image) -> bool:
    """Whether a camera stored the image lying on its side (asked of JPEG alone: others would have to be decoded for it)."""
    return _orientation(picture) >= 5


def _orientation(picture: Image.Image) -> int:
    return picture.getexif().get(0x0112, 1) if picture.format in ("JPEG", "MPO") and "exif" in picture.info else 1


def _upright_size(picture: Image.Image) -> Size:
    width, height = picture.size
    return (width, height) if _is_turned(picture) else (height, width)


def _pixels(picture: Image.Image, channels: int, size: Size) -> np.ndarray:
    """(channels, *size) uint8 of one image."""
    if _orientation(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        wide = np.asarray(picture)
        picture = Image.fromarray((wide >> 8 if wide.max() > 255 else wide).astype(np.uint8))
    mode = "L" if channels == 1 else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if picture.size != size[::-1]:
        picture = ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(*size, channels).transpose(2, 0, 1)


Opener = Callable[[tuple[str, ...]], Table]
"""Opens a table; takes the classes known from training (empty: this is training)."""


def open_source(settings: Mapping[str, Any]) -> dict[str, Opener]:
    """What a data set consists of: how to open its "train" table and, where one was published, its "test" table.

    Raises:
        InputError: nothing there, or not a data set.
    """
    source = settings["source"]
    if not isinstance(source, str) or source not in SOURCES:
        raise InputError(f"data.source is '{source}'{did_you_mean(source, SOURCES)}")
    if source == "hub" and settings.get("path"):
        source = "parquet"  # a local copy
    try:
        return SOURCES[source](settings)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> InputError:
    return InputError(f"data: cannot read '{error.filename}': {error.strerror}")


def _digits(settings: Mapping[str, Any]) -> dict[str, Opener]:
    return {"train": lambda expected: _open_digits()}


def _open_digits() -> Table:
    """scikit-learn's bundled part of the UCI set "Optical recognition of handwritten digits": 1,797 scans, values 0 to 16."""
    values = _digits_table()
    pixels = np.round(values[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return Table("scikit-learn's digits", tuple("0123456789"), values[:, -1].astype(np.int64), pixels)


def _digits_table() -> np.ndarray:
    """(1797, 65): 64 pixels and the digit."""
    # importing sklearn.datasets takes two seconds, reading its file a twentieth of one
    package = importlib.util.find_spec("sklearn")
    if package and package.origin:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            with gzip.open(file, "rt") as lines:
                return np.loadtxt(lines, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _folder(settings: Mapping[str, Any]) -> dict[str, Opener]:
    root = _existing_path(settings)
    if not root.is_dir():
        raise InputError(f"data.path '{root}' is a file; data=folder needs a folder with one folder per class")
    train = root / "train"
    if not train.is_dir():
        return {"train": lambda expected: _open_folder(root, expected)}
    openers: dict[str, Opener] = {"train": lambda expected: _open_folder(train, expected)}
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
    if test is not None:
        openers["test"] = lambda expected: _open_folder(test, expected)
    return openers


def _class_folders(root: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _open_folder(root: Path, expected: tuple[str, ...]) -> Table:
    """One class per folder, in the order of their names."""
    class_names = _class_folders(root)
    for name in class_names:
        if expected and name not in expected:
            raise InputError(f"'{root / name}' is a class that training does not have{did_you_mean(name, expected)}")
    paths: list[str] = []
    labels: list[int] = []
    for name in class_names:
        found = sorted(file for file in _files(root / name) if Path(file).suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"'{root / name}' holds no images ({', '.join(sorted(SUFFIXES))})")
        paths += found
        labels += [(expected or class_names).index(name)] * len(found)
    if not paths:
        raise InputError(f"'{root}' holds no class folders; data=folder needs one folder of images per class")
    with quiet():
        from datasets import Dataset, Features
        from datasets import Image as ImageFeature

        images = Dataset.from_dict(
            {"image": [str(Path(path).resolve()) for path in paths]},
            features=Features({"image": ImageFeature(decode=False)}),
        )
    return Table(f"'{root}'", expected or class_names, np.array(labels, np.int64), images)


def _files(root: Path) -> Iterator[str]:
    """Every file below a folder; unlike `rglob`, a folder that cannot be read is not passed over."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from error

    for folder, _, names in os.walk(root, onerror=refuse):
        yield from (os.path.join(folder, name) for name in names)


def _parquet(settings: Mapping[str, Any]) -> dict[str, Opener]:
    path = _existing_path(settings)
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise InputError(f"data.path '{path}' holds no .parquet files")
    held_out = {name: [f for f in files if path.is_dir() and _is_part(f, name)] for name in TEST_NAMES}
    train = [f for f in files if not any(f in part for part in held_out.values())]
    if not train:
        raise InputError(f"data.path '{path}' holds no training images, only {', '.join(f.name for f in files)}")
    test = next((part for part in held_out.values() if part), None)
    openers: dict[str, Opener] = {"train": lambda expected: _open_parquet(train, settings, expected)}
    if test is not None:
        openers["test"] = lambda expected: _open_parquet(test, settings, expected)
    return openers


def _is_part(file: Path, name: str) -> bool:
    """Whether a file is named after a part, as in test.parquet, test-00000-of-00001.parquet, test/0000.parquet."""
    stem = file.stem.replace("_", "-").replace(".", "-").split("-")[0]
    return stem == name or file.parent.name == name


def _open_parquet(files: Sequence[Path], settings: Mapping[str, Any], expected: tuple[str, ...]) -> Table:
    origin = f"'{files[0]}'" if len(files) == 1 else f"'{files[0].parent}'"
    with quiet():
        from datasets import Dataset
        from datasets.exceptions import DatasetGenerationError

        try:
            dataset = Dataset.from_parquet([str(file) for file in files], cache_dir=settings.get("cache_dir"))
        except (DatasetGenerationError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(f"cannot read {origin} as parquet: {reason}") from error
    return _from_dataset(dataset, origin, settings, expected)


def _hub(settings: Mapping[str, Any]) -> dict[str, Opener]:
    name = settings.get("hub")
    if not name:
        raise InputError("data.hub is empty; it needs the name of a data set on the Hugging Face hub")
    origin = f"'{name}' on the Hugging Face hub"
    with quiet():
        import datasets

        try:
            parts = datasets.load_dataset(str(name), cache_dir=settings.get("cache_dir"))
        except Exception as error:  # a network has too many ways to fail to list; all have the same remedy
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"cannot load {origin} ({reason}); data.path= takes a local folder of its parquet files"
            ) from error
    if "train" not in parts:
        raise InputError(f"{origin} has no part 'train', only {', '.join(parts)}")
    openers: dict[str, Opener] = {"train": lambda expected: _from_dataset(parts["train"], origin, settings, expected)}
    test = next((part for part in TEST_NAMES if part in parts), None)
    if test is not None:
        openers["test"] = lambda expected: _from_dataset(parts[test], f"part '{test}' of {origin}", settings, expected)
    return openers


def _from_dataset(dataset: Dataset, origin: str, settings: Mapping[str, Any], expected: tuple[str, ...]) -> Table:
    """A table of the data set's image and label column, as settings name them or as they can be told from the others."""
    image, label = find_columns(dataset, origin, settings.get("image"), settings.get("label"))
    class_names, labels = read_labels(dataset, label, origin, expected)
    from datasets import Image as ImageFeature

    images = dataset.select_columns(image).cast_column(image, ImageFeature(decode=False))
    if image != "image":
        images = images.rename_column(image, "image")
    return Table(origin, class_names, labels, images)


def _existing_path(settings: Mapping[str, Any]) -> Path:
    path = settings.get("path")
    if not path:
        raise InputError(f"data={settings['source']} needs data.path=, the place of the images")
    path = Path(str(path)).expanduser()
    if not path.exists():
        raise InputError(f"data.path '{path}' does not exist")
    return path


SOURCES: dict[str, Callable[[Mapping[str, Any]], dict[str, Opener]]] = {
    "digits": _digits,
    "hub": _hub,
    "folder": _folder,
    "parquet": _parquet,
}
"""Sources by name."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Hugging Face's progress bars and notices out of ours, and leaves its settings as they were."""
    import datasets

    verbosity, bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
