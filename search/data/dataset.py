"""Real data sets for the search: loaded once, split the same way always, handed out by the batch.

The search sees two splits: `train`, and `validation`, which is held out of the published training images. The published test
images are another matter: only `load_test` opens them. Where none were published, some are held out before anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search.data.images import Held, Images, Streamed, augment
from search.data.sources import Table, open_source
from spaces.checks import is_integer, is_number
from spaces.errors import InputError, did_you_mean
from spaces.sizes import Size

SPLIT_SEED = 20_230_101
"""Fixes which images are held out, for all studies: results stay comparable whatever the study's own seed."""

SAMPLE = 4096
"""Images, spread evenly, that stand for a split in its statistics and in the fingerprint."""

MAX_SIDE = 224
"""Images of mixed sizes are not brought to more than this many pixels unless the user says so."""

DEFAULTS: dict[str, Any] = {
    "name": None,
    "source": "digits",
    "hub": None,
    "path": None,
    "image": None,
    "label": None,
    "resolution": None,
    "validation": 0.2,
    "test": 0.2,
    "limit": None,
    "augment": False,
    "in_memory_mb": 1024,
    "decode_workers": 0,
    "cache_dir": None,
}
"""Every setting with its default; what each means is said in conf/data/."""


@dataclass(frozen=True)
class Data:
    """A data set ready for training; made by `load`."""

    name: str
    class_names: tuple[str, ...]
    in_channels: int
    """1 where every image is grey, else 3."""
    resolution: Size
    """(height, width) in pixels that images are kept in, the native resolution of a network."""
    mean: tuple[float, ...]
    """Per channel, of the training images scaled to 0..1."""
    std: tuple[float, ...]
    augment: bool
    fingerprint: str
    """Hex digest of labels and of images spread evenly over each split, wherever they lie and however they are held."""
    splits: Mapping[str, Images]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in every split."""
        return {name: len(images) for name, images in self.splits.items()}

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        resolution: Size | None = None,
        generator: torch.Generator | None = None,
        train: bool = False,
        device: str | torch.device = "cpu",
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images of a split once, normalised; in training in a new order each time, and augmented if the data set wants it.

        Args:
            split: a key of `splits`.
            resolution: (height, width) to scale to; None: as they are.
            generator: on the CPU; decides order and augmentation, needed in training only. The same state gives the same batches.
            train: shuffle, augment, and drop a last batch of one image, which batch normalisation refuses on 1x1 maps.

        Yields:
            (N, C, H, W) float32 images and (N,) int64 labels on `device`.
        """
        images = self.splits[split]
        size = self.resolution if resolution is None else resolution
        order = torch.randperm(len(images), generator=generator) if train else torch.arange(len(images))
        if train and len(order) > 1 and len(order) % batch_size == 1:
            order = order[:-1]
        scale, shift = self._affine(torch.device(device))
        for x, labels in images.batches(order, batch_size, size, torch.device(device)):
            if train and self.augment:
                x = augment(x, generator)
            yield torch.addcmul(shift, x.float(), scale), labels

    def _affine(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(1, C, 1, 1) factor and summand that normalise pixels of 0..255."""
        mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)

    def save(self, folder: str | Path) -> None:
        """Writes the data set where `open` of another process finds it; decoded images as they are, streamed ones as a note."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        meta = {field: getattr(self, field) for field in META}
        meta["splits"] = {name: images.save(folder, name) for name, images in self.splits.items()}
        (folder / "data.json").write_text(json.dumps(meta), encoding="utf-8")

    @classmethod
    def open(cls, folder: str | Path) -> Data:
        """What `save` wrote; decoded images are mapped from the file, so that all processes share one copy."""
        meta = json.loads((Path(folder) / "data.json").read_text(encoding="utf-8"))
        splits: dict[str, Images] = {}
        for name, note in meta.pop("splits").items():
            streamed = "settings" in note
            splits[name] = Streamed.open(Path(folder), name, note) if streamed else Held.open(Path(folder), name)
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in meta.items()
        }
        return cls(splits=splits, **fields)


META = ("name", "class_names", "in_channels", "resolution", "mean", "std", "augment", "fingerprint")
"""Fields of `Data` besides the images."""


def load(settings: Mapping[str, Any]) -> Data:
    """Loads the training and the validation images of a data set.

    Which images are held out is fixed by a seed of its own, class by class, so it depends on nothing but the data and the shares.

    Args:
        settings: as in conf/data/*.yaml; missing keys have the defaults of `DEFAULTS`.

    Raises:
        InputError: settings or data that cannot be used. Every image is looked at: decoded where the set is held in memory,
            else, and where it is held out for testing, opened (one whose inside is broken is named when it is reached).
    """
    settings = check_settings(settings)
    source = open_source(settings)
    table = source["train"](())
    if len(table.class_names) < 2:
        raise InputError(f"{table.origin} has {len(table.class_names)} class; data for training needs two or more")
    rows = _split(table, settings, published_test="test" in source)
    if "test" in rows:
        table.scan(rows["test"])  # names one that is none; nothing else of them is looked at
    in_channels, resolution, splits = _training_splits(table, rows, settings)
    mean, std = _statistics(splits["train"])
    return Data(
        name=str(settings["name"] or settings["source"]),
        class_names=table.class_names,
        in_channels=in_channels,
        resolution=resolution,
        mean=mean,
        std=std,
        augment=settings["augment"],
        fingerprint=_fingerprint(table.class_names, in_channels, resolution, splits),
        splits=splits,
    )


def _training_splits(
    table: Table, rows: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> tuple[int, Size, dict[str, Images]]:
    """(channels, size, the images of "train" and "validation")."""
    train, used = rows["train"], np.concatenate([rows["train"], rows["validation"]])
    pixels = table.decode_alike(used, _stated_size(settings), settings["in_memory_mb"] * 2**20)
    if pixels is None:
        channels, size = _shape(table, used, settings)
        names = ("train", "validation")
        return channels, size, {name: _images(table, rows[name], channels, size, settings, len(used)) for name in names}
    splits: dict[str, Images] = {
        "train": Held(pixels[: len(train)], table.labels[train]),
        "validation": Held(pixels[len(train) :], table.labels[rows["validation"]]),
    }
    return pixels.shape[1], (pixels.shape[2], pixels.shape[3]), splits


def load_test(settings: Mapping[str, Any], data: Data) -> Data:
    """`data` with its split "test" added, brought to the same shape and normalised as training was.

    Nothing in the search calls this: it is for the last word on a network that has been chosen.

    Args:
        settings: the ones `data` was loaded with.

    Raises:
        InputError: as `load`, and classes that training does not have.
    """
    settings = check_settings(settings)
    source = open_source(settings)
    if "test" in source:
        table = source["test"](data.class_names)
        rows, part = np.arange(len(table.labels)), "test"
    else:
        table = source["train"](())
        rows, part = _split(table, settings, published_test=False)["test"], "train"
    images = _images(table, rows, data.in_channels, data.resolution, settings, len(rows), part)
    return replace(data, splits={**data.splits, "test": images})


def join_training(data: Data) -> Data:
    """`data` with all images that are not test images in its split "train", normalised as before, and nothing held out.

    For a network that has been chosen: what was held out to choose it by serves to train it.
    """
    joined = data.splits["train"].join(data.splits["validation"])
    others = {name: images for name, images in data.splits.items() if name not in ("train", "validation")}
    return replace(data, splits={"train": joined, **others})


def _images(
    table: Table,
    rows: np.ndarray,
    channels: int,
    size: Size,
    settings: Mapping[str, Any],
    needed: int,
    part: str = "train",
) -> Images:
    """The images of `rows`, in memory if the `needed` ones together fit."""
    if needed * channels * size[0] * size[1] <= settings["in_memory_mb"] * 2**20:
        return Held(table.decode(rows, channels, size), table.labels[rows])
    return Streamed(table, rows, channels, size, settings, part)


def _split(table: Table, settings: Mapping[str, Any], *, published_test: bool) -> dict[str, np.ndarray]:
    """Rows of "train", "validation" and, where none was published, "test"; each in the table's order."""
    train, rows = np.arange(len(table.labels)), {}
    if not published_test:
        train, rows["test"] = _hold_out(table, train, settings["test"], "test")
    train, rows["validation"] = _hold_out(table, train, settings["validation"], "validation")
    limit = settings["limit"]
    if limit is not None and limit < len(train):
        if limit < len(table.class_names):
            raise InputError(
                f"data.limit is {limit}, fewer than the {len(table.class_names)} classes of {table.origin}"
            )
        train = _take(table, train, limit)
    rows["train"] = train
    return rows


def _hold_out(table: Table, rows: np.ndarray, share: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) rows: the share of every class, to the nearest image, and at least one."""
    generator = np.random.default_rng(SPLIT_SEED)
    kept, held = [], []
    for label, class_name in enumerate(table.class_names):
        own = generator.permutation(rows[table.labels[rows] == label])
        count = max(1, round(share * len(own)))
        if count >= len(own):
            raise InputError(
                f"data.{name} is {share}, which leaves class '{class_name}' of {table.origin} empty ({len(own)} images to split);"
                f" add images or lower it"
            )
        held.append(own[:count])
        kept.append(own[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def _take(table: Table, rows: np.ndarray, limit: int) -> np.ndarray:
    """`limit` rows with the classes in proportion and none missing; a lower limit takes a subset."""
    generator = np.random.default_rng(SPLIT_SEED)
    labels = table.labels[rows]
    # every class in an order of its own, its j-th of m images placed at (j + 1/2) / m: any beginning holds all in proportion
    place = np.empty(len(rows))
    for label in range(len(table.class_names)):
        own = generator.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[0]] = 0
    return np.sort(rows[np.argsort(place, kind="stable")[:limit]])


def _shape(table: Table, rows: np.ndarray, settings: Mapping[str, Any]) -> tuple[int, Size]:
    """Channels, and the size to keep images in: the stated one, else the one all have, else a square.

    The square's side is the median of the images' shorter sides, at most `MAX_SIDE`.
    """
    sizes, shorter, colour = table.scan(rows)
    size = _stated_size(settings)
    if size is None and len(sizes) == 1:
        (size,) = sizes
    elif size is None:
        side = min(MAX_SIDE, int(np.median(shorter)))
        size = (side, side)
    return 3 if colour else 1, size


def _stated_size(settings: Mapping[str, Any]) -> Size | None:
    resolution = settings["resolution"]
    return (resolution, resolution) if isinstance(resolution, int) else resolution and (resolution[0], resolution[1])


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1."""
    # from counts of the 256 values: exact whatever the order of summation
    counts = sum(_histogram(piece) for piece in images.sample(SAMPLE))  # (C, 256)
    values = np.arange(256) / 255
    share = counts / np.sum(counts, axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
    # a channel of one single value carries nothing and must not be blown up
    std = np.where(std < 1e-3, 1.0, std)
    return tuple(map(float, mean)), tuple(map(float, std))


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """(C, 256) counts of (N, C, H, W) uint8."""
    return np.stack([np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])])


def _fingerprint(class_names: tuple[str, ...], in_channels: int, resolution: Size, splits: Mapping[str, Images]) -> str:
    digest = hashlib.sha256(json.dumps([class_names, in_channels, resolution]).encode())
    for name, images in splits.items():
        digest.update(f"{name} {len(images)}".encode())
        digest.update(images.labels.astype("<i8").tobytes())
        for piece in images.sample(SAMPLE):
            digest.update(piece.tobytes())
    return digest.hexdigest()[:16]


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with defaults filled in.

    Raises:
        InputError: an unknown key or an impossible value.
    """
    for key in settings:
        if key not in DEFAULTS:
            raise InputError(f"data.{key} is unknown{did_you_mean(key, DEFAULTS)}")
    checked = {**DEFAULTS, **settings}
    for key in ("validation", "test"):
        if not (is_number(checked[key]) and 0 < checked[key] < 1):
            raise InputError(f"data.{key} is {checked[key]!r}; it is a share between 0 and 1, both excluded")
    limits = {"limit": (1, True), "decode_workers": (0, False), "in_memory_mb": (0, False)}
    for key, (least, optional) in limits.items():
        value = checked[key]
        fits = is_number(value) if key == "in_memory_mb" else is_integer(value)
        if not (value is None and optional) and not (fits and value >= least):
            raise InputError(
                f"data.{key} is {value!r}; it is a number of {least} or more{' or null' if optional else ''}"
            )
    if not isinstance(checked["augment"], bool):
        raise InputError(f"data.augment is {checked['augment']!r}; it is true or false")
    _check_resolution(checked["resolution"])
    return checked


def _check_resolution(resolution: Any) -> None:
    sides = resolution if isinstance(resolution, (list, tuple)) and len(resolution) == 2 else [resolution]
    if resolution is not None and not all(type(side) is int and 1 <= side <= 4096 for side in sides):
        raise InputError(
            f"data.resolution is {resolution!r}; it is null, one side, or [height, width], in pixels from 1 to 4096"
        )
