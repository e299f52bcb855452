"""Looks at a whole data set: finds the form that its images are brought to, equal images, and small classes.

Bounds: headers of all images are read once, as before; at most `SAMPLE` images with more than 8 bits a pixel, and as many with
transparency, are decoded one at a time for the range and the backdrop; equal images are told by 8 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from PIL import Image

from search.data.decoding import BLACK, WHITE, Depth, Form, deep_values
from search.data.files import listed, number_of, shown
from search.data.images import spread
from search.data.parts import WORDS
from search.data.table import Rows, Scan, Table
from spaces.errors import InputError
from spaces.sizes import Size

SAMPLE = 4096
"""Images, spread evenly, that stand for a split in its statistics, in the fingerprint, and in its range of values."""

MAX_SIDE = 224
"""Images of mixed sizes are not brought to more than this many pixels unless the user says so."""

INTEGER_RANGES = (255, 1023, 4095, 65535)
"""The greatest values of 8, 10, 12 and 16 bits."""

MAX_LISTED_CLASSES = 20
"""Classes whose counts are listed one by one."""

IMBALANCE = 20
"""The largest class may have this many times the images of the smallest before it is worth a warning."""


def find_form(table: Table, rows: Rows, stated: Size | None) -> tuple[Form, list[str]]:
    """The form of all images, from the training images in `rows`, with sentences on what was found.

    The size is the stated one, else the one that all images have, else a square whose side is the median of the images' shorter
    sides, at most `MAX_SIDE`.

    Raises:
        InputError: a broken image, or values that no rule covers.
    """
    scan = table.scan(rows)
    size = stated
    if size is None and len(scan.sizes) == 1:
        (size,) = scan.sizes
    elif size is None:
        side = min(MAX_SIDE, int(np.median(scan.shorter)))
        size = (side, side)
    depth, depth_notes = _find_depth(table, scan)
    backdrop, backdrop_notes = _find_backdrop(table, scan.transparent)
    form = Form(3 if scan.colour else 1, size, depth, backdrop)
    return form, depth_notes + _check_reduced(table, scan.reduced) + backdrop_notes


def _sampled(rows: Sequence[int]) -> np.ndarray:
    """At most `SAMPLE` of `rows`, spread evenly."""
    return np.concatenate([np.array(rows)[places] for places in spread(len(rows), SAMPLE)])


def _find_depth(table: Table, scan: Scan) -> tuple[Depth | None, list[str]]:
    """The range of the images with more than 8 bits.

    Integers run from 0 to the least of `INTEGER_RANGES` that covers them. Floats run from 0 to 1 or to the least of these; with
    values below 0 or beyond 65535, from the least to the greatest that were found.
    """
    if not scan.deep:
        return None, []
    rows = _sampled(scan.deep)
    found = list(table.examine(rows, _extremes))
    is_float = {extremes.is_float for extremes in found}
    if len(is_float) > 1:
        raise InputError(f"{table.origin} holds images of floats and images of integers above 8 bits; save them alike")
    low, high = min(extremes.low for extremes in found), max(extremes.high for extremes in found)
    (floats,) = is_float
    upper = next((top for top in (*((1,) if floats else ()), *INTEGER_RANGES) if high <= top), None)
    if not floats and (low < 0 or upper is None):
        wrong = next(row for row, (least, most, _) in zip(rows, found) if least < 0 or most > INTEGER_RANGES[-1])
        raise InputError(
            f"{table.where(int(wrong))} is among images whose pixels are integers from {low:g} to {high:g}; they "
            "must lie between 0 and 65535: save the images with 16 bits, or as floats"
        )
    depth = Depth(floats, 0, upper) if low >= 0 and upper is not None else Depth(floats, low, high)
    if depth.low == depth.high:
        raise InputError(f"{table.origin} holds floats of the one value {high:g} only")
    kind = "floats" if floats else "integers of more than 8 bits"
    some = "" if len(rows) == len(scan.deep) else f"{len(rows):,} of "
    said = f"{table.origin} has {kind} from {low:g} to {high:g} in {some}{number_of(len(scan.deep), 'image')}"
    return depth, [f"{said}; {depth} becomes 0..255 in all of them."]


class _Extremes(NamedTuple):
    low: float
    high: float
    is_float: bool


def _extremes(picture: Image.Image) -> _Extremes:
    values = deep_values(picture)
    return _Extremes(float(values.min()), float(values.max()), values.dtype.kind == "f")


def _check_reduced(table: Table, rows: Sequence[int]) -> list[str]:
    """The sentence on images with several channels of 16 bits.

    Raises:
        InputError: the upper 8 bits, all that Pillow reads, hold 4 bits or less.
    """
    if not rows:
        return []
    upper = max(table.examine(_sampled(rows), lambda picture: int(np.asarray(picture.convert("RGB")).max())))
    if upper < 16:
        raise InputError(
            f"{table.where(rows[0])} has 16 bits a channel, of which 12 or less are used; the upper 8, which are read, leave the "
            "images black: save them with 8 bits a channel"
        )
    return [
        f"{table.origin} has 16 bits in each of several channels in {number_of(len(rows), 'image')}; the upper 8 are read."
    ]


def _find_backdrop(table: Table, rows: Sequence[int]) -> tuple[int, list[str]]:
    """White behind transparent images whose visible parts are, on average, darker than mid-grey; else black."""
    if not rows:
        return WHITE, []
    found = np.array(list(table.examine(_sampled(rows), _visible)))  # (n, 3)
    transparent = int(found[:, 2].sum())
    if not transparent:
        return WHITE, []
    light, weight = found[found[:, 2] == 1, :2].sum(0)
    is_dark = light < 127.5 * weight
    found_in = f"{table.origin} has transparent pixels in {number_of(transparent, 'image')}"
    said = f"{found_in}; all are laid over {'white' if is_dark else 'black'}"
    return WHITE if is_dark else BLACK, [
        f"{said}, since what they show is {'dark' if is_dark else 'light'} on average."
    ]


def _visible(picture: Image.Image) -> tuple[float, float, bool]:
    """(sum of grey levels weighted by opacity, sum of opacities, whether any pixel is transparent)."""
    coloured = picture.convert("RGBA")
    opacity = np.asarray(coloured.getchannel("A")) / 255
    grey = np.asarray(coloured.convert("RGB").convert("L"), np.float64)
    return float((grey * opacity).sum()), float(opacity.sum()), bool(opacity.min() < 1)


class Marked(NamedTuple):
    """The images of one split as they are compared."""

    marks: np.ndarray
    """(n,) uint64; equal images have equal marks."""
    labels: np.ndarray
    name: Callable[[int], str]
    """Names the image at a place in the split."""


def equal_images(splits: Mapping[str, Marked], class_names: Sequence[str]) -> list[str]:
    """Sentences on images that are equal across splits or across classes."""
    said = []
    for (first, ours), (second, theirs) in combinations(splits.items(), 2):
        places = np.flatnonzero(np.isin(theirs.marks, ours.marks))
        if len(places):
            names = listed(theirs.name(int(place)) for place in places)
            said.append(
                f"Warning: equal to {WORDS.get(first, first)} images: {number_of(len(places), f'{WORDS[second]} image')} ({names})."
            )
    return said + _across_classes(list(splits.values()), class_names)


def _across_classes(splits: Sequence[Marked], class_names: Sequence[str]) -> list[str]:
    labels = np.concatenate([split.labels for split in splits])
    _, kinds = np.unique(np.concatenate([split.marks for split in splits]), return_inverse=True)
    least, most = np.full(len(kinds), len(class_names)), np.full(len(kinds), -1)
    np.minimum.at(least, kinds, labels)
    np.maximum.at(most, kinds, labels)
    places = np.flatnonzero((least < most)[kinds])
    if not len(places):
        return []
    ends = np.cumsum([len(split.labels) for split in splits])

    def name(place: int) -> str:
        part = int(np.searchsorted(ends, place, side="right"))
        inside = place - (int(ends[part - 1]) if part else 0)
        return f"{splits[part].name(inside)} of class {shown(class_names[labels[place]])}"

    first = np.full(len(kinds), len(kinds))
    np.minimum.at(first, kinds, np.arange(len(kinds)))
    together = places[np.argsort(first[kinds[places]], kind="stable")]  # equal ones side by side
    names = ", ".join(name(int(place)) for place in together[:4])
    return [f"Warning: equal to images of another class: {len(places):,} images ({names})."]


def class_counts(class_names: Sequence[str], labels: np.ndarray) -> list[str]:
    """A sentence on the images of each class, and a warning where they are far apart."""
    class_names = list(map(shown, class_names))
    counts = np.bincount(labels, minlength=len(class_names))
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    each = f"from {counts[smallest]:,} to {counts[largest]:,} images each"
    if len(class_names) <= MAX_LISTED_CLASSES:
        each = ", ".join(f"{name}: {count:,}" for name, count in zip(class_names, counts, strict=True))
    said = [f"{len(class_names):,} classes, with their training and validation images: {each}."]
    if counts[smallest] * IMBALANCE < counts[largest]:
        said.append(
            f"Warning: class {class_names[smallest]} has {counts[smallest]:,} images, class {class_names[largest]} "
            f"{counts[largest]:,}; accuracy says little about the small classes."
        )
    return said
