"""What an architecture costs, exactly, before anything is built or trained.

Costs are sums over blocks. A built-in block states its own in closed form; a user's block that states none is counted once by
PyTorch on the meta device (about 5 ms) and remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from spaces.architecture import Architecture, Layer
from spaces.blocks import BLOCKS
from spaces.blocks.ops import Convolution, Cost, Size, SymmetricPad2d, beside, noting_convolutions
from spaces.errors import BLOCK_ERRORS, InputError, reason


def cost(architecture: Architecture) -> Cost:
    """Multiply-adds, parameters and output size of the network, head included, batch 1.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    costs = layer_costs(architecture)
    return beside(costs, costs[-1].size if costs else architecture.resolution)


def layer_costs(architecture: Architecture) -> list[Cost]:
    """The cost of each layer, in order; `size` is that of its output map.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    sizes = [architecture.resolution]
    costs = []
    for position, layer in enumerate(architecture.layers):
        try:
            block: Any = BLOCKS[layer.block]
            layer_cost = _layer_cost(block, layer, input_sizes(layer, position, sizes))
        except BLOCK_ERRORS as error:
            height, width = architecture.resolution
            raise InputError(f"{layer} of a {height}x{width} image: {reason(error)}") from error
        costs.append(layer_cost)
        sizes.append(layer_cost.size)
    return costs


def input_sizes(layer: Layer, position: int, sizes: list[Size]) -> Any:
    """(height, width) of what the layer at `position` reads, a tuple of them where it reads several.

    Args:
        layer: the layer.
        position: its index in the architecture.
        sizes: of all maps before it: the image's, then each layer's output.
    """
    if len(layer.inputs) == 1:
        return sizes[position + 1 + layer.inputs[0]]
    return tuple(sizes[position + 1 + i] for i in layer.inputs)


def block_cost(layer: Layer, size: Any) -> Cost:
    """The cost of one layer; whatever its block raises passes.

    Args:
        layer: what is priced.
        size: as `input_sizes` gives it.
    """
    block: Any = BLOCKS[layer.block]
    return _layer_cost(block, layer, size)


@lru_cache(maxsize=2**16)
def _layer_cost(block: Any, layer: Layer, size: Any) -> Cost:
    """Remembered by class, not by name, which a user may give to another block."""
    height, width = size if len(layer.inputs) == 1 else size[0]
    if layer.stride > min(height, width):
        raise ValueError(
            f"stride {layer.stride} on a {height}x{width} map leaves a side below one pixel; "
            "use fewer strides or a larger resolution"
        )
    if hasattr(block, "cost"):
        stated = block.cost(layer.in_channels, layer.out_channels, layer.stride, size, **layer.keywords)
    else:
        stated = _count(block, layer, size)
    if min(stated.size) < 1:
        raise ValueError(f"its kernel eats the {height}x{width} map; use a smaller kernel or a larger resolution")
    return stated if stated.flops else stated._replace(accesses=0)


def convolutions(layer: Layer, size: Any) -> list[Convolution]:
    """The convolutions that a layer's cost is the sum of; empty for a block that states none.

    Args:
        layer: what is asked about.
        size: as `input_sizes` gives it.
    """
    block: Any = BLOCKS[layer.block]
    if not hasattr(block, "cost"):
        return []
    with noting_convolutions() as noted:
        block.cost(layer.in_channels, layer.out_channels, layer.stride, size, **layer.keywords)
    return noted


def build_block(layer: Layer, size: Any) -> nn.Module:
    """The layer's block as a module.

    Args:
        layer: what to build.
        size: as `input_sizes` gives it.

    Raises:
        InputError: the block refuses its channels or options.
    """
    try:
        return make_block(BLOCKS[layer.block], layer, size)
    except BLOCK_ERRORS as error:
        raise InputError(f"{layer}: {reason(error)}") from error


def make_block(block: Any, layer: Layer, size: Any) -> nn.Module:
    """The module of a block's class; whatever the block raises passes."""
    extra = {"size": size} if getattr(block, "needs_size", False) else {}
    return block(layer.in_channels, layer.out_channels, layer.stride, **extra, **layer.keywords)


def count_accesses(module: nn.Module) -> list[int]:
    """A list that fills with the values each convolution and linear layer moves when the module runs."""
    accesses: list[int] = []
    unpadded: list[int] = []

    def note_pad(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        unpadded.append(inputs[0].numel())

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        read = unpadded.pop() if unpadded else [*inputs, *named.values()][0].numel()
        accesses.append(read + output.numel() + layer.weight.numel())

    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            part.register_forward_hook(note, with_kwargs=True)
        elif isinstance(part, nn.Sequential) and [type(p) for p in part] == [SymmetricPad2d, nn.Conv2d]:
            part[0].register_forward_pre_hook(note_pad)
    return accesses


def _count(block: Any, layer: Layer, size: Any) -> Cost:
    """PyTorch's own count; it takes two FLOPs for a multiply-add."""
    channels: Any = layer.in_channels
    inputs = [(channels, size)] if len(layer.inputs) == 1 else zip(channels, size, strict=True)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        module = make_block(block, layer, size).eval()
        accesses = count_accesses(module)
        output = module(*(torch.empty(1, count, *sides) for count, sides in inputs))
    if output.shape[1] != layer.out_channels:
        raise ValueError(f"it gives {output.shape[1]} channels instead of {layer.out_channels}")
    params = sum(parameter.numel() for parameter in module.parameters())
    out_size = (output.shape[2], output.shape[3]) if output.dim() == 4 else (1, 1)
    return Cost(counter.get_total_flops() // 2, params, out_size, sum(accesses))
