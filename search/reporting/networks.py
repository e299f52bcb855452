"""The networks of a study, layer by layer, and the traits by which they can be compared."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from search.reporting.record import Record
from spaces import BLOCKS, Architecture, InputError, Layer, decode, layer_costs
from spaces.blocks.ops import SqueezeExcitation
from spaces.blocks.protocol import read_block
from spaces.errors import BLOCK_ERRORS

_ANY_SIZE = (32, 32)


class DrawnLayer(NamedTuple):
    """One layer of a network."""

    description: Mapping[str, Any]
    """As network files state it; of the head its options alone."""
    block: str
    in_channels: int | tuple[int, ...]
    out_channels: int
    size: tuple[int, int]
    """(height, width) of its output."""
    flops: int
    params: int
    inputs: tuple[int, ...]
    """What it reads, as in `Layer.inputs`."""


class Network(NamedTuple):
    """One network as it is drawn."""

    description: Mapping[str, Any]
    """As the study stored it."""
    layers: tuple[DrawnLayer, ...]
    """In order, the head last; empty where it does not build."""
    problem: str | None
    """Why it does not build under this version of the code."""


def read_network(description: Mapping[str, Any]) -> Network:
    """A stored description, its layers priced; one that this version cannot build is told, not raised."""
    return _read(json.dumps(description))


@lru_cache(maxsize=2**14)
def _decoded(text: str) -> Architecture | str:
    """The network of a description, or why there is none."""
    try:
        architecture = decode(json.loads(text))
        layer_costs(architecture)
    except (InputError, *BLOCK_ERRORS) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return architecture


@lru_cache(maxsize=2**14)
def _read(text: str) -> Network:
    description, architecture = json.loads(text), _decoded(text)
    if isinstance(architecture, str):
        return Network(description, (), architecture)
    costs = layer_costs(architecture)
    canonical = architecture.to_dict()
    described = [*canonical["layers"], canonical["head"]]
    return Network(
        description,
        tuple(
            DrawnLayer(
                entry, layer.block, layer.in_channels, layer.out_channels, c.size, c.flops, c.params, layer.inputs
            )
            for entry, layer, c in zip(described, architecture.layers, costs, strict=True)
        ),
        None,
    )


def gather_traits(record: Record) -> dict[str, dict[str, bool]]:
    """What sets some networks of the study apart from the others: types of block and of convolution.

    Returns:
        By trait ("2x2 filters", "pointwise (1x1) convolutions", "shuffle_agg") whether each network, by digest, has it. Traits
        that all have or none has are left out, and so are networks that do not build.
    """
    found: dict[str, set[str]] = {}
    for digest, description in record.architectures.items():
        traits = _traits(json.dumps(description))
        if traits is not None:
            found[digest] = traits
    every = {trait for traits in found.values() for trait in traits}
    telling = sorted(trait for trait in every if not all(trait in traits for traits in found.values()))
    telling.sort(key=lambda trait: (trait in BLOCKS, trait))
    return {trait: {digest: trait in traits for digest, traits in found.items()} for trait in telling}


@lru_cache(maxsize=2**14)
def _traits(text: str) -> set[str] | None:
    architecture = _decoded(text)
    if isinstance(architecture, str):
        return None
    return {trait for layer in architecture.layers[:-1] for trait in {layer.block, *_convolutions(layer)}}


def _convolutions(layer: Layer) -> frozenset[str]:
    """The kinds of convolution in a layer, gates apart."""
    # which convolutions a block has depends on its options, and on whether its output can be added to its input
    same = layer.in_channels == layer.out_channels
    block: Any = BLOCKS[layer.block]
    return _kinds_in(block, layer.options, layer.stride, same, _Shape(layer))


class _Shape:
    """A layer that rides along with a cache's key without being part of it."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shape)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2**14)
def _kinds_in(block: Any, _options: Any, _stride: int, _same: bool, shape: _Shape) -> frozenset[str]:
    layer = shape.layer
    size: Any = _ANY_SIZE if len(layer.inputs) == 1 else (_ANY_SIZE,) * len(layer.inputs)
    with torch.device("meta"):
        module = read_block(block).build(layer, size)
    kinds = set()
    for part in _parts(module):
        if isinstance(part, nn.Conv2d):
            height, width = part.kernel_size
            if height * width > 1:
                kinds.add(f"{height}x{width} filters")
            elif part.groups == 1:
                kinds.add("pointwise (1x1) convolutions")
            else:
                kinds.add("pointwise group convolutions")
        elif isinstance(part, SqueezeExcitation):
            kinds.add("squeeze-and-excitation")
    return frozenset(kinds)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The module and all inside it, except what is inside a gate."""
    yield module
    if not isinstance(module, SqueezeExcitation):
        for child in module.children():
            yield from _parts(child)
