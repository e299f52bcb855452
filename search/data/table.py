"""Tables of images with labels: nothing is decoded before it is asked for, and a broken image is named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from search.data.decoding import GRAY_MODES, Form, is_deep, is_plain, loses_depth, open_picture, pixels, upright_size
from search.data.files import read_file, shown
from spaces.errors import InputError
from spaces.sizes import Size

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 512
"""Rows fetched at a time."""

Rows = Sequence[int] | np.ndarray

REMEDY = "; repair or remove it"
"""The end of the error at a broken image."""


class BrokenImageError(InputError):
    """One image that cannot be read, named with the reason."""


@dataclass(frozen=True)
class Files:
    """Image files.

    Args:
        root: the folder that names in sentences are relative to.
        paths: of the files.
    """

    root: Path
    paths: Sequence[str]

    def __getitem__(self, rows: Sequence[int]) -> list[str]:
        return [self.paths[row] for row in rows]

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return read_file(path)


@dataclass(frozen=True)
class Encoded:
    """Encoded images in a column of a table.

    Args:
        dataset: with the only column "image", of bytes or of what `datasets.Image(decode=False)` gives.
        roots: folders that an image given by its path must lie in; relative paths start at the first.
    """

    dataset: Dataset
    roots: tuple[Path, ...]

    def __getitem__(self, rows: Sequence[int]) -> list[Mapping[str, Any] | bytes | None]:
        return list(self.dataset[rows]["image"])

    def read(self, image: Mapping[str, Any] | bytes | None) -> bytes:
        """The content of an image.

        Raises:
            ValueError: an empty row, or a path that leads out of the roots.
        """
        if isinstance(image, bytes):
            return image
        if image is None or (image["bytes"] is None and not image["path"]):
            raise ValueError("the row holds no image")
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        path = os.path.realpath(self.roots[0] / image["path"])
        if not any(Path(path).is_relative_to(os.path.realpath(root)) for root in self.roots):
            raise ValueError(f"its path '{shown(image['path'])}' leads out of '{shown(self.roots[0])}'")
        return read_file(path)


class Scan(NamedTuple):
    """Facts from the headers of images."""

    sizes: set[Size]
    shorter: list[int]
    """The shorter side of every image, in order."""
    colour: bool
    """Whether any image has colour."""
    deep: list[int]
    """Rows with one channel of more than 8 bits."""
    transparent: list[int]
    """Rows that can have transparent pixels."""
    reduced: list[int]
    """Rows with several channels of 16 bits, which are read with 8."""


@dataclass(frozen=True)
class Table:
    """Images with labels, in a fixed order."""

    origin: str
    """The name of the table in a sentence: a path, a name on the hub."""
    class_names: tuple[str, ...]
    labels: np.ndarray
    """(n,) int64, every value an index into `class_names`."""
    images: np.ndarray | Files | Encoded
    """(n, H, W) uint8, or encoded images."""
    notes: tuple[str, ...] = ()
    """Sentences on what was taken, and what was not."""
    version: str = ""
    """Identifies the content of the files, where a cache depends on it."""
    marks: np.ndarray = field(init=False)
    """(n,) uint64, a digest of every encoded image that has been read; 0 for the others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", np.zeros(len(self.labels), np.uint64))

    def where(self, row: int) -> str:
        """Names the image in `row` for a person."""
        if isinstance(self.images, Files):
            return shown(self.images.paths[row])
        return f"image {row} (counted from 0) of {self.origin}"

    def short_name(self, row: int) -> str:
        """Names the image in `row` for a person who knows the table."""
        if isinstance(self.images, Files):
            return shown(os.path.relpath(self.images.paths[row], self.images.root))
        return f"image {row}"

    def pictures(self, rows: Rows) -> Iterator[Image.Image]:
        """The images of `rows`, opened but not decoded.

        Raises:
            BrokenImageError: an image cannot be opened.
        """
        for start in range(0, len(rows), CHUNK):
            chunk = [int(row) for row in rows[start : start + CHUNK]]
            for row, image in zip(chunk, self.images[chunk], strict=True):
                with self._naming(row):
                    picture = self._open(row, image)
                yield picture

    def _open(self, row: int, image: Any) -> Image.Image:
        if isinstance(self.images, np.ndarray):
            self.marks[row] = mark(image.tobytes())
            return Image.fromarray(image)
        content = self.images.read(image)
        self.marks[row] = mark(content)
        return open_picture(content)

    def scan(self, rows: Rows) -> Scan:
        """Looks at the headers of `rows`.

        Raises:
            BrokenImageError: an image cannot be opened.
        """
        found = Scan(set(), [], False, [], [], [])
        colour = False
        for row, picture in zip(rows, self.pictures(rows), strict=True):
            with self._naming(int(row)):
                height, width = upright_size(picture)
            found.sizes.add((height, width))
            found.shorter.append(min(height, width))
            colour = colour or picture.mode not in GRAY_MODES
            for noticed, have in (
                (is_deep(picture), found.deep),
                (picture.has_transparency_data, found.transparent),
                (loses_depth(picture), found.reduced),
            ):
                if noticed:
                    have.append(int(row))
        return found._replace(colour=colour)

    def decode(self, rows: Rows, form: Form) -> np.ndarray:
        """Decodes `rows` to (n, channels, *size) uint8.

        Raises:
            BrokenImageError: an image cannot be decoded.
        """
        decoded = np.empty((len(rows), form.channels, *form.size), np.uint8)
        for i, picture in enumerate(self.pictures(rows)):
            with self._naming(int(rows[i])):
                decoded[i] = pixels(picture, form)
        return decoded

    def decode_alike(self, rows: Rows, size: Size | None, max_bytes: float) -> tuple[Form, np.ndarray] | None:
        """Decodes `rows` like the first of them, at `size` or its own: one pass over the files instead of `scan` and `decode`.

        Returns:
            The form and (n, C, H, W) uint8; None where a later image has another size or brings in colour, one has more than 8
            bits or transparency, or all exceed `max_bytes`.
        """
        first = next(self.pictures(rows[:1]))
        with self._naming(int(rows[0])):
            form = Form(1 if first.mode in GRAY_MODES else 3, size or upright_size(first))
        if len(rows) * form.channels * form.size[0] * form.size[1] > max_bytes:
            return None
        decoded = np.empty((len(rows), form.channels, *form.size), np.uint8)
        for i, picture in enumerate(self.pictures(rows)):
            if not is_plain(picture) or loses_depth(picture) or (form.channels == 1 and picture.mode not in GRAY_MODES):
                return None
            with self._naming(int(rows[i])):
                if size is None and upright_size(picture) != form.size:
                    return None
                decoded[i] = pixels(picture, form)
        return form, decoded

    def examine(self, rows: Rows, look: Callable[[Image.Image], Any]) -> Iterator[Any]:
        """The result of `look` at each image of `rows`.

        Raises:
            BrokenImageError: an image cannot be decoded.
        """
        for row, picture in zip(rows, self.pictures(rows), strict=True):
            with self._naming(int(row)):
                found = look(picture)
            yield found

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:  # what Pillow raises at broken files differs by format and has no common base
            raise BrokenImageError(f"{self.where(row)}: {_reason(error)}{REMEDY}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not an image, or cut off" if "BytesIO" in str(error) or not str(error) else str(error)


def mark(content: bytes) -> int:
    """A digest of 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Known:
    """Facts about a data set that are known when one of its tables is opened."""

    class_names: tuple[str, ...] = ()
    """The classes of the training images; empty: these are the training images."""
    version: str = ""
    """Identifies the content of the table's files, as `Table.version`; empty: it is found."""


Opener = Callable[[Known], Table]
"""Opens a table."""


@dataclass(frozen=True)
class Source:
    """The tables of a data set; one that is not asked for is never opened."""

    parts: Mapping[str, Opener]
    """Openers of the tables "train" and, where they are ready-made, "validation" and "test"."""
    notes: tuple[str, ...] = ()
    """Sentences on what was taken for what."""
