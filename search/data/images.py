"""The images of one split behind one interface: held in memory as uint8, or streamed from their files."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from search.data.decoding import Form
from search.data.sources import open_source
from search.data.table import Known, Table, mark
from spaces.errors import InputError
from spaces.sizes import Size

CHUNK = 256
"""Images decoded or scaled at a time."""

RESIZED_BYTES = 512 * 2**20
"""Bound on the scaled copies a process keeps of one split; the one in use is kept whatever its size."""


class Images(Protocol):
    """The images of one split, with labels; pixels are uint8."""

    labels: np.ndarray
    """(n,) int64."""

    def __len__(self) -> int: ...

    def batches(
        self, order: Tensor, batch_size: int, size: Size, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `order` ((n,) int64) scaled to `size`: (N, C, *size) uint8 and (N,) int64 labels on `device`."""

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """At most `count` images spread evenly over the split, as pieces of (N, C, H, W) uint8."""

    def join(self, other: Any) -> Images:
        """These images and those of another split of the same data set, as one."""

    def save(self, folder: Path, name: str) -> dict[str, Any]:
        """Writes what another process needs; returns the note (plain data) that `open` takes."""


class Held:
    """Images held in memory.

    Args:
        pixels: (n, C, H, W) uint8, possibly mapped from a file.
        labels: (n,) int64.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels = pixels
        self.labels = labels
        self._copies: OrderedDict[tuple[Size, torch.device], Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        # scaled copies are made anew where they are needed rather than sent along
        return {"pixels": self.pixels, "labels": self.labels, "_copies": OrderedDict()}

    def batches(
        self, order: Tensor, batch_size: int, size: Size, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Images.batches`."""
        pixels = self._scaled(size, device)
        labels = _tensor(self.labels).to(device)
        for rows in order.to(device).split(batch_size):
            yield pixels.index_select(0, rows), labels.index_select(0, rows)

    def _scaled(self, size: Size, device: torch.device) -> Tensor:
        """All images at one size; every epoch of every candidate of that size asks for them again."""
        key = (size, device)
        if key not in self._copies:
            pixels = _tensor(self.pixels)
            if tuple(pixels.shape[2:]) != size:
                pixels = torch.cat([resize(chunk, size) for chunk in pixels.split(CHUNK)])
            pixels = pixels.to(device)
            room = RESIZED_BYTES - pixels.nbytes
            while self._copies and sum(copy.nbytes for copy in self._copies.values()) > room:
                self._copies.popitem(last=False)
            self._copies[key] = pixels
        self._copies.move_to_end(key)
        return self._copies[key]

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """See `Images.sample`."""
        for rows in spread(len(self), count):
            yield self.pixels[rows]

    def join(self, other: Held) -> Held:
        """See `Images.join`."""
        return Held(np.concatenate([self.pixels, other.pixels]), np.concatenate([self.labels, other.labels]))

    def save(self, folder: Path, name: str) -> dict[str, Any]:
        """See `Images.save`."""
        np.save(folder / f"{name}_pixels.npy", self.pixels)
        np.save(folder / f"{name}_labels.npy", self.labels)
        return {}

    @classmethod
    def open(cls, folder: Path, name: str) -> Held:
        """The split `name` that was saved in `folder`, mapped rather than read."""
        pixels = np.load(folder / f"{name}_pixels.npy", mmap_mode="r")
        return cls(pixels, np.load(folder / f"{name}_labels.npy"))


class Section(NamedTuple):
    """Rows of one table that belong to a streamed split."""

    part: str
    """The table's name in its source: "train", "validation" or "test"."""
    table: Table
    rows: np.ndarray
    """(n,) int64."""


class Streamed:
    """Images decoded each time they are needed, because all together they would not fit.

    Args:
        sections: where they come from, in order.
        form: what every image is brought to when it is decoded.
        settings: how to open the tables again, in another process.
    """

    def __init__(self, sections: Sequence[Section], form: Form, settings: Mapping[str, Any]) -> None:
        self.sections = tuple(sections)
        self.form = form
        self.settings = dict(settings)
        self.labels = np.concatenate([section.table.labels[section.rows] for section in self.sections])

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, places: np.ndarray) -> np.ndarray:
        """(N, C, H, W) uint8 of the images at `places` in this split."""
        decoded = np.empty((len(places), self.form.channels, *self.form.size), np.uint8)
        start = 0
        for _, table, rows in self.sections:
            inside = np.flatnonzero((places >= start) & (places < start + len(rows)))
            if len(inside):
                decoded[inside] = table.decode(rows[places[inside] - start], self.form)
            start += len(rows)
        return decoded

    def file_marks(self) -> np.ndarray:
        """(n,) uint64, a digest of every encoded image; those that have not been read are read now."""
        for _, table, rows in self.sections:
            for _ in table.pictures(rows[table.marks[rows] == 0]):
                pass
        return np.concatenate([table.marks[rows] for _, table, rows in self.sections])

    def batches(
        self, order: Tensor, batch_size: int, size: Size, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Images.batches`; decoding runs in `data.decode_workers` processes beside training (0: in this one)."""
        chosen = [chunk.tolist() for chunk in order.split(batch_size)]
        workers = int(self.settings["decode_workers"])
        loader = torch.utils.data.DataLoader(
            _Decoded(self, size),
            batch_sampler=chosen,
            num_workers=workers,
            collate_fn=_first,
            pin_memory=device.type == "cuda",
            # without a generator of its own the loader would draw its seed from the global one
            generator=torch.Generator(),
        )
        for pixels, labels in loader:
            yield pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """See `Images.sample`."""
        for places in spread(len(self), count):
            yield self.decode(places)

    def join(self, other: Streamed) -> Streamed:
        """See `Images.join`."""
        return Streamed([*self.sections, *other.sections], self.form, self.settings)

    def save(self, folder: Path, name: str) -> dict[str, Any]:
        """See `Images.save`."""
        np.save(folder / f"{name}_rows.npy", np.concatenate([section.rows for section in self.sections]))
        np.save(folder / f"{name}_labels.npy", self.labels)
        return self._note()

    def _note(self) -> dict[str, Any]:
        sections = [[s.part, len(s.rows), s.table.class_names, s.table.version] for s in self.sections]
        return {"settings": self.settings, "form": self.form.to_json(), "sections": sections}

    def __reduce__(self) -> tuple[Any, ...]:
        # another process, perhaps of another machine, opens the files itself
        return _reopen, (np.concatenate([section.rows for section in self.sections]), self.labels, self._note())

    @classmethod
    def open(cls, folder: Path, name: str, note: Mapping[str, Any]) -> Streamed:
        """The split `name` that was saved in `folder`, from its source.

        Raises:
            InputError: the source has other labels than when it was saved.
        """
        return _reopen(np.load(folder / f"{name}_rows.npy"), np.load(folder / f"{name}_labels.npy"), note)


def _reopen(rows: np.ndarray, labels: np.ndarray, note: Mapping[str, Any]) -> Streamed:
    """A streamed split from its source, as it was noted."""
    source = open_source(note["settings"])
    sections: list[Section] = []
    tables: dict[str, Table] = {}
    for part, count, class_names, version in note["sections"]:
        if part not in tables:
            tables[part] = source.parts[part](Known(tuple(class_names) if part != "train" else (), version))
        sections.append(Section(part, tables[part], rows[:count]))
        own, rows, labels = labels[:count], rows[count:], labels[count:]
        table = tables[part]
        if len(table.labels) <= sections[-1].rows.max() or not np.array_equal(table.labels[sections[-1].rows], own):
            raise InputError(f"{table.origin} has changed since the search began; start a new study for the new images")
    return Streamed(sections, Form.from_json(note["form"]), note["settings"])


def pixel_marks(images: Images) -> np.ndarray:
    """(n,) uint64, a digest of the pixels of every image of a split."""
    return np.array([mark(image.tobytes()) for piece in images.sample(len(images)) for image in piece], np.uint64)


class _Decoded(torch.utils.data.Dataset[Any]):
    """Whole batches of a streamed split, as the loader asks for them."""

    def __init__(self, images: Streamed, size: Size) -> None:
        self.images = images
        self.size = size

    def __getitems__(self, rows: list[int]) -> list[tuple[Tensor, Tensor]]:
        pixels = torch.from_numpy(self.images.decode(np.array(rows)))
        return [(resize(pixels, self.size), torch.from_numpy(self.images.labels[rows]))]


def _first(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return batches[0]


def resize(pixels: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) uint8 images scaled to (N, C, *size), bilinear; antialiased where they shrink."""
    if tuple(pixels.shape[2:]) == size:
        return pixels
    scaled = F.interpolate(pixels.float(), size=size, mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def augment(pixels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Shifts every image by up to an eighth of its sides (black comes in) and mirrors half of them.

    He et al., Deep residual learning for image recognition (2015), https://arxiv.org/abs/1512.03385, section 4.2: pad 4 on 32.

    Args:
        pixels: (N, C, H, W) uint8.
        generator: on the CPU.
    """
    n, channels, height, width = pixels.shape
    pad_h, pad_w = max(1, round(height / 8)), max(1, round(width / 8))
    top = torch.randint(2 * pad_h + 1, (n, 1), generator=generator)
    left = torch.randint(2 * pad_w + 1, (n, 1), generator=generator)
    mirrored = torch.randint(2, (n, 1), generator=generator).bool()
    x = torch.arange(width)
    columns = left + torch.where(mirrored, width - 1 - x, x)  # (N, W) in the padded image
    rows = top + torch.arange(height)  # (N, H)
    padded_h, padded_w = height + 2 * pad_h, width + 2 * pad_w
    first = torch.arange(n * channels).view(n, channels, 1, 1) * (padded_h * padded_w)
    places = first + (rows * padded_w).view(n, 1, height, 1) + columns.view(n, 1, 1, width)
    return F.pad(pixels, (pad_w, pad_w, pad_h, pad_h)).take(places.to(pixels.device))


def spread(n: int, count: int) -> Iterator[np.ndarray]:
    """At most `count` of `n` indices, evenly spread, in pieces."""
    rows = np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64))
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor on the array's memory; a mapped file cannot be written to, and nothing here does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
