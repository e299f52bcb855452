"""A data set ready for training: its splits, and what is known of all its images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.data.decoding import WHITE, Depth, Form
from search.data.images import Held, Images, Streamed, augment
from spaces.sizes import Size


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
    depth: Depth | None = None
    """The range of pixel values that became 0..255, of images with more than 8 bits; None: no training image has more."""
    backdrop: int = WHITE
    """The grey level behind transparent pixels."""
    notes: tuple[str, ...] = ()
    """Sentences on what was taken for what, what was left out, and what is suspicious."""

    @property
    def form(self) -> Form:
        """The shape and the ranges that every image is brought to when it is decoded."""
        return Form(self.in_channels, self.resolution, self.depth, self.backdrop)

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
        """Opens what `save` wrote; decoded images are mapped from the file, so that all processes share one copy."""
        meta = json.loads((Path(folder) / "data.json").read_text(encoding="utf-8"))
        splits: dict[str, Images] = {}
        for name, note in meta.pop("splits").items():
            streamed = "sections" in note
            splits[name] = Streamed.open(Path(folder), name, note) if streamed else Held.open(Path(folder), name)
        depth = meta.pop("depth")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in meta.items()
        }
        return cls(splits=splits, depth=depth and Depth(*depth), **fields)


META = (
    *("name", "class_names", "in_channels", "resolution", "mean", "std", "augment", "fingerprint"),
    *("depth", "backdrop", "notes"),
)
"""Fields of `Data` besides the images."""
