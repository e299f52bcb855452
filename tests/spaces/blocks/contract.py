"""What every block must keep, checked on one set of arguments at a time; a new block joins by a table of cases."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spaces import Cost, Layer, Size
from spaces.architecture import freeze
from spaces.blocks import BLOCKS, block_of
from spaces.blocks.ops import SymmetricPad2d
from spaces.blocks.protocol import output_size
from spaces.operation import Operation, sum_of
from spaces.width_map import WidthMap, width_map


def as_inputs(in_channels: int | tuple[int, ...], size: Any, batch: int, device: str = "cpu") -> list[torch.Tensor]:
    """Random inputs of a block; several where `in_channels` and `size` are tuples of as many."""
    if isinstance(in_channels, int):
        in_channels, size = (in_channels,), (size,)
    return [torch.randn(batch, c, *s, device=device) for c, s in zip(in_channels, size, strict=True)]


def make(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> nn.Module:
    """The block of that name, told the input's size where it asks for it."""
    if block_of(name).needs_size:
        options["size"] = size
    return BLOCKS[name](in_channels, out_channels, stride, **options)


def list_operations(
    name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any
) -> Sequence[Operation]:
    """What the block of that name states that it computes."""
    block = block_of(name)
    assert block.operations is not None
    arguments = block.arguments(block.operations, options)
    return block.operations(in_channels, out_channels, stride, size, **arguments)


def price(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> Cost:
    """What the block of that name states that it costs."""
    operations = list_operations(name, in_channels, out_channels, stride, size, **options)
    return sum_of(operations, output_size(operations, size))


def count_accesses(module: nn.Module) -> list[int]:
    """A list that fills with the values each convolution and linear layer moves when the module runs."""
    accesses: list[int] = []
    unpadded: list[int] = []

    def note_pad(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        unpadded.append(inputs[0].numel())

    def note(
        layer: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        assert isinstance(layer.weight, torch.Tensor)
        read = unpadded.pop() if unpadded else [*inputs, *named.values()][0].numel()
        accesses.append(read + output.numel() + layer.weight.numel())

    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            part.register_forward_hook(note, with_kwargs=True)
        elif isinstance(part, nn.Sequential) and [type(p) for p in part] == [SymmetricPad2d, nn.Conv2d]:
            part[0].register_forward_pre_hook(note_pad)
    return accesses


def count(module: nn.Module, in_channels: Any, size: Any) -> Cost:
    """PyTorch's own count of `module` on the meta device; it counts two FLOPs a multiply-add."""
    module = module.to("meta").eval()
    counter, accesses = FlopCounterMode(display=False), count_accesses(module)
    with counter, torch.no_grad():
        output = module(*as_inputs(in_channels, size, 1, "meta"))
    out_size: Size = tuple(output.shape[2:]) or (1, 1)  # type: ignore[assignment]
    params = sum(p.numel() for p in module.parameters())
    return Cost(counter.get_total_flops() // 2, params, out_size, sum(accesses))


def map_of(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> WidthMap:
    """The width map of the block of that name."""
    frozen = tuple(sorted((option, freeze(value)) for option, value in options.items()))
    inputs = (-1,) if isinstance(in_channels, int) else tuple(-1 - i for i in range(len(in_channels)))
    found = width_map(Layer(name, in_channels, out_channels, stride, frozen, inputs), size)
    assert found is not None
    return found


def check_axes(widths: WidthMap, module: nn.Module) -> None:
    """Every parameter and running statistic is in the map, and each axis is as long as its layout."""
    state = module.state_dict()
    assert widths.parameters.keys() == state.keys()
    for name, (axes, groups) in widths.parameters.items():
        lengths = [len(axis) for axis in axes[:1]] + [len(axis) // groups for axis in axes[1:]]
        shape = list(state[name].shape)
        assert shape[: len(lengths)] == lengths, name
        assert len(shape) == len(lengths) or (len(shape), len(lengths)) == (4, 2), name
    known = {channel for axes, _ in widths.parameters.values() for axis in axes for channel in axis}
    assert known <= {(name, i) for name, width in widths.widths.items() for i in range(width.channels)}


def check_signatures(name: str) -> None:
    """What a block's methods take by name are options of its constructor, which alone states their defaults."""
    block = block_of(name)
    assert block.operations is not None
    for method in (block.operations, block.channel_multiples, block.default_out_channels):
        if method is not None:
            named = [p for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
            assert {p.name for p in named} <= block.options.keys()
            assert all(p.default is p.empty for p in named)


def check_cost(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> None:
    """The stated operations cost what PyTorch's counter counts, to the integer, and name all parameters with their widths."""
    block = make(name, in_channels, out_channels, stride, size, **options)
    check_axes(map_of(name, in_channels, out_channels, stride, size, **options), block)
    assert price(name, in_channels, out_channels, stride, size, **options) == count(block, in_channels, size)
    traits = block_of(name)
    if traits.channel_multiples is not None and isinstance(in_channels, int):
        into, out = traits.channel_multiples(**traits.arguments(traits.channel_multiples, options))
        assert isinstance(into, int)
        assert in_channels % into == 0
        assert out_channels % out == 0


def check_learning(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> None:
    """The output is finite and of the stated shape, every parameter gets a gradient, and a training step reduces the loss."""
    torch.manual_seed(0)
    block = make(name, in_channels, out_channels, stride, size, **options).train()
    stated = price(name, in_channels, out_channels, stride, size, **options)
    inputs = as_inputs(in_channels, size, 4)
    output = block(*inputs)
    assert output.shape[:2] == (4, out_channels)
    assert (tuple(output.shape[2:]) or (1, 1)) == stated.size
    assert output.isfinite().all()
    target = torch.randn_like(output)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # dropout drops the same values each time
        return (block(*inputs) - target).square().mean()

    parameters = list(block.parameters())
    if not parameters:
        return
    before = loss()
    before.backward()
    for parameter_name, parameter in block.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    # along the gradient, some step short enough reduces the loss
    start = [p.detach().clone() for p in parameters]
    for step in (1e-1, 1e-2, 1e-3, 1e-4):
        with torch.no_grad():
            for p, origin in zip(parameters, start, strict=True):
                p.copy_(origin - step * p.grad)  # type: ignore[operator]
            if loss() < before:
                return
    raise AssertionError(f"no step along the gradient of {name} reduces its loss")


def check_block(name: str, in_channels: Any, out_channels: int, stride: int, size: Any, **options: Any) -> None:
    """All checks of the contract on one set of arguments."""
    check_signatures(name)
    check_cost(name, in_channels, out_channels, stride, size, **options)
    check_learning(name, in_channels, out_channels, stride, size, **options)
