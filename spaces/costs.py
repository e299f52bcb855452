"""What an architecture costs, exactly, before anything is built or trained.

Costs are sums over the operations that blocks state (`spaces/operation.py`). A user's block that states none is counted once by
PyTorch on the meta device (about 5 ms) and remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spaces.architecture import Architecture, Layer
from spaces.blocks import block_of
from spaces.blocks.protocol import Block, output_size
from spaces.errors import BLOCK_ERRORS, InputError, reason
from spaces.operation import Cost, Operation, sum_of
from spaces.tracing import Recorder

Step = tuple[Layer, Any, Cost]
"""A layer, (height, width) of what it reads (a tuple of them where it reads several), and its cost."""


def walk(architecture: Architecture) -> Iterator[Step]:
    """The layers in order, each with the size of what it reads and its cost.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    sizes = [architecture.resolution]
    for layer in architecture.layers:
        inputs = layer.inputs
        size: Any = sizes[inputs[0]] if len(inputs) == 1 else tuple([sizes[i] for i in inputs])
        try:
            layer_cost = _layer_cost(block_of(layer.block), layer, size)
        except BLOCK_ERRORS as error:
            height, width = architecture.resolution
            raise InputError(f"{layer} of a {height}x{width} image: {reason(error)}") from error
        yield layer, size, layer_cost
        sizes.append(layer_cost.size)


def cost(architecture: Architecture) -> Cost:
    """Multiply-adds, parameters and output size of the network, head included, batch 1.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    flops = params = accesses = 0
    size = architecture.resolution
    for _, _, layer_cost in walk(architecture):
        layer_flops, layer_params, size, layer_accesses = layer_cost
        flops += layer_flops
        params += layer_params
        accesses += layer_accesses
    return Cost(flops, params, size, accesses)


def layer_costs(architecture: Architecture) -> list[Cost]:
    """The cost of each layer, in order; `size` is that of its output map.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    return [layer_cost for _, _, layer_cost in walk(architecture)]


def size_bytes(architecture: Architecture, bits: int = 32) -> int:
    """Bytes of all parameters, `bits` each; running statistics are no parameters.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    return -(-cost(architecture).params * bits // 8)


def operations(architecture: Architecture) -> list[Sequence[Operation] | None]:
    """What each layer computes, in order; None for a user's block that does not state it.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    return [layer_operations(layer, size) for layer, size, _ in walk(architecture)]


def layer_operations(layer: Layer, size: Any) -> Sequence[Operation] | None:
    """What one layer computes, None if its block does not state it; whatever its block raises passes.

    Args:
        layer: the layer.
        size: as in `Step`.
    """
    return block_of(layer.block).operations_of(layer, size)


def block_cost(layer: Layer, size: Any) -> Cost:
    """The cost of one layer; whatever its block raises passes.

    Args:
        layer: what is priced.
        size: as in `Step`.
    """
    return _layer_cost(block_of(layer.block), layer, size)


@lru_cache(maxsize=2**16)
def _layer_cost(block: Block, layer: Layer, size: Any) -> Cost:
    """Remembered by block, not by name, which a user may give to another."""
    height, width = size if len(layer.inputs) == 1 else size[0]
    if layer.stride > min(height, width):
        raise ValueError(
            f"stride {layer.stride} on a {height}x{width} map leaves a side below one pixel; "
            "use fewer strides or a larger resolution"
        )
    stated = block.operations_of(layer, size)
    total = _count(block, layer, size) if stated is None else sum_of(stated, output_size(stated, size))
    if min(total.size) < 1:
        raise ValueError(f"its kernel eats the {height}x{width} map; use a smaller kernel or a larger resolution")
    return total


def build_block(layer: Layer, size: Any) -> nn.Module:
    """The layer's block as a module.

    Args:
        layer: what to build.
        size: as in `Step`.

    Raises:
        InputError: the block refuses its channels or options.
    """
    try:
        return block_of(layer.block).build(layer, size)
    except BLOCK_ERRORS as error:
        raise InputError(f"{layer}: {reason(error)}") from error


class _Counter(Recorder):
    """Runs every operator as PyTorch does, with its checks, so that what a block does wrong is reported."""

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What PyTorch gives."""
        return func(*args, **kwargs)


def _count(block: Block, layer: Layer, size: Any) -> Cost:
    """PyTorch's own count; it takes two FLOPs for a multiply-add."""
    channels: Any = layer.in_channels
    inputs = [(channels, size)] if len(layer.inputs) == 1 else zip(channels, size, strict=True)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        module = block.build(layer, size).eval()
        images = [torch.empty(1, count, *sides) for count, sides in inputs]
        recorder = _Counter(images, module)
        with recorder, counter:
            output = module(*images)
    if output.shape[1] != layer.out_channels:
        raise ValueError(f"it gives {output.shape[1]} channels instead of {layer.out_channels}")
    params = sum(parameter.numel() for parameter in module.parameters())
    out_size = (output.shape[2], output.shape[3]) if output.dim() == 4 else (1, 1)
    return Cost(counter.get_total_flops() // 2, params, out_size, sum(step.accesses for step in recorder.steps))
