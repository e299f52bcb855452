"""The concrete description of one network: frozen, canonical, hashable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from spaces.sizes import Size

Options = tuple[tuple[str, Any], ...]
"""Sorted (name, value) pairs; frozen values; what equals the block's default is left out."""


@dataclass(frozen=True)
class Layer:
    """One block with everything decided."""

    block: str
    """Its name in the table of blocks."""
    in_channels: int | tuple[int, ...]
    """Channels of the input; a tuple where it reads several."""
    out_channels: int
    stride: int = 1
    options: Options = ()
    inputs: tuple[int, ...] = (-1,)
    """What it reads: -1 is the layer before it, -2 the one before that; the network's input is the one before the first layer."""
    where: str = field(default="", compare=False)
    """The file and the key it was written in, for errors; no part of what it is."""

    _hash: int = field(init=False, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.where} ({self.block})" if self.where else self.block

    def __post_init__(self) -> None:
        """Keeps the hash: prices are remembered by layer, and many architectures share one."""
        object.__setattr__(self, "_hash", hash(self._decided))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> Any:
        """Made anew from its fields: another process hashes texts otherwise."""
        return Layer, (*self._decided, self.where)

    @property
    def _decided(self) -> tuple[Any, ...]:
        return self.block, self.in_channels, self.out_channels, self.stride, self.options, self.inputs

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The options as keyword arguments of the block."""
        return {name: thaw(value) for name, value in self.options}


@dataclass(frozen=True)
class Architecture:
    """A network as data. Equal networks are equal objects with equal digests."""

    in_channels: int
    """Channels of the image."""
    resolution: Size
    """(height, width) of the image in pixels."""
    layers: tuple[Layer, ...]
    """In order of execution; the last one is the head."""

    @property
    def num_classes(self) -> int:
        """Outputs of the head."""
        return self.layers[-1].out_channels

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that equal networks share."""
        return digest_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The canonical description, in the language of network files: plain data that `decode` reads back."""
        *body, head = self.layers
        return {
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "resolution": list(self.resolution),
            "layers": [_describe(layer, position) for position, layer in enumerate(body)],
            "head": dict(head.keywords),
        }


def digest_of(description: Mapping[str, Any]) -> str:
    """The digest of the architecture that has this canonical description."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _describe(layer: Layer, position: int) -> dict[str, Any]:
    described: dict[str, Any] = {"block": layer.block, "channels": layer.out_channels}
    if layer.stride != 1:
        described["stride"] = layer.stride
    if layer.inputs != (-1,):
        described["inputs"] = ["image" if -i == position + 1 else i for i in layer.inputs]
    return described | layer.keywords


class _Items(tuple[Any, ...]):
    """A frozen mapping: its sorted (key, value) pairs."""


def freeze(value: Any) -> Any:
    """Plain data as a hashable value with one form: lists as tuples, whole floats as ints. `thaw` gives the data back."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return _Items(sorted(((key, freeze(item)) for key, item in value.items()), key=lambda item: str(item[0])))
    return value


def thaw(value: Any) -> Any:
    """The plain data of a frozen value."""
    if isinstance(value, _Items):
        return {key: thaw(item) for key, item in value}
    return [thaw(item) for item in value] if isinstance(value, tuple) else value
