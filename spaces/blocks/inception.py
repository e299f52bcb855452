"""Inception modules: branches side by side, concatenated; and the residual form that adds them to its input.

Sources: Szegedy et al., Going deeper with convolutions (2015), https://arxiv.org/abs/1409.4842, figure 2b;
Rethinking the Inception architecture (2016), https://arxiv.org/abs/1512.00567, figures 5 to 7 and 10;
Inception-v4, Inception-ResNet and the impact of residual connections on learning (2017),
https://arxiv.org/abs/1602.07261, figures 3 to 19.

A module is data, written as its figure is drawn: `branches` lists the branches, each a list of operations in their
order.

    1x7: 192                   a convolution by its filter and width (with batch normalisation and activation)
    max, avg                   a 3x3 pool
    [1x3: 384, 3x1: 384]       convolutions side by side on the same maps, concatenated
    null                       in place of a branch: none
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spaces.blocks.ops import activate, conv_norm_act
from spaces.checks import is_count
from spaces.operation import Map, Operations
from spaces.sizes import Size, window_size

EPS = 1e-3
"""Of every batch normalisation, as in the authors' code."""


class Filter(NamedTuple):
    """A convolution within a branch."""

    kernel_size: Size
    width: int


Operation = str | tuple[Filter, ...]
"""A pool's kind, or convolutions side by side (most often one)."""

Branch = tuple[Operation, ...]


class Inception(nn.Module):
    """Branches of convolutions and pools on one input, their outputs concatenated.

    The last operation of every branch takes the module's stride and `padding`; the ones before keep the size.
    Output channels are the sum of the branches' widths. With any other number all widths are scaled by the same factor
    and rounded to the nearest, at least 1; branches that only pool keep the input's channels.

    Args:
        branches: as described at the top of this file.
        padding: of the last operations: "same" gives ceil(side / stride), "valid" adds none (reductions of v3 and v4).
        activation: after every convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        branches: Sequence[Any],
        padding: str = "same",
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        fitted = _fit(_read(branches, padding), in_channels, out_channels)
        self.branches = SideBySide(_branch(b, in_channels, stride, padding, activation) for b in fitted)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.branches(x)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        branches: Sequence[Any],
        padding: str,
        activation: str | None,
    ) -> Operations:
        """The sum over all convolutions of their k_h k_w C O per pixel."""
        ops = Operations(in_channels, size)
        _branch_operations(ops, _fit(_read(branches, padding), in_channels, out_channels), stride, padding, activation)
        return ops

    @staticmethod
    def default_out_channels(in_channels: int, *, branches: Sequence[Any], padding: str) -> int:
        """The sum of the branches' widths."""
        return sum(_width(branch, in_channels) for branch in _read(branches, padding))


class InceptionResidual(nn.Module):
    """Adds to its input what the branches make of it: act(x + scale · conv1x1(branches(x))).

    The 1x1 convolution after the concatenation brings the branches back to the input's channels; it has a bias, no
    batch normalisation and no activation ("filter-expansion layer", section 3.2). Where stride or channels change there
    is nothing to add to: the block is then act(conv1x1(branches(x))).

    Args:
        branches: as described at the top of this file; padding is "same".
        scale: of the branches before the addition (section 3.3).
        base_channels: output channels for which the branches' widths are stated; with more or fewer the widths grow and
            shrink in proportion, rounded to the nearest, at least 1. None leaves them as stated.
        activation: after every convolution of a branch.
        out_activation: after the addition; None in the last block of the authors' networks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        branches: Sequence[Any],
        scale: float = 1.0,
        base_channels: int | None = None,
        activation: str | None = "relu",
        out_activation: str | None = "relu",
    ) -> None:
        super().__init__()
        fitted = _in_proportion(_read(branches), out_channels, base_channels)
        self.branches = SideBySide(_branch(b, in_channels, stride, "same", activation) for b in fitted)
        self.expand = nn.Conv2d(sum(_width(b, in_channels) for b in fitted), out_channels, 1)
        self.scale = scale
        self.residual = stride == 1 and in_channels == out_channels
        self.activation = activate(out_activation, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        change = self.expand(self.branches(x))
        return self.activation(x + self.scale * change if self.residual else change)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        branches: Sequence[Any],
        base_channels: int | None,
        activation: str | None,
        out_activation: str | None,
    ) -> Operations:
        """The branches' convolutions and the 1x1 after their concatenation."""
        ops = Operations(in_channels, size)
        fitted = _in_proportion(_read(branches), out_channels, base_channels)
        x: Map = _branch_operations(ops, fitted, stride, "same", activation)
        x = ops.convolution("expand", x, out_channels, bias=True)
        if stride == 1 and in_channels == out_channels:
            x = ops.elementwise("add", ops.input, x)
        ops.activation("activation", x, out_activation)
        return ops


class SideBySide(nn.ModuleList):
    """Modules on the same input, their outputs concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, sum of the modules' channels, H', W')."""
        return torch.cat([module(x) for module in self], dim=1)


def _with_stride(branch: Branch, stride: int, padding: str) -> Iterator[tuple[Operation, int, bool]]:
    """Operations with their stride and whether they pad; the last one takes the module's."""
    for operation in branch[:-1]:
        yield operation, 1, True
    yield branch[-1], stride, padding == "same"


def _branch(branch: Branch, channels: int, stride: int, padding: str, activation: str | None) -> nn.Module:
    modules = []
    for operation, step, pads in _with_stride(branch, stride, padding):
        modules.append(_operation(operation, channels, step, pads, activation))
        channels = _width((operation,), channels)
    return nn.Sequential(*modules)


def _operation(operation: Operation, channels: int, stride: int, pads: bool, activation: str | None) -> nn.Module:
    if isinstance(operation, str):
        if operation == "max":
            return nn.MaxPool2d(3, stride, padding=int(pads))
        return nn.AvgPool2d(3, stride, padding=int(pads), count_include_pad=False)
    padding = None if pads else 0
    convs = [
        conv_norm_act(channels, width, kernel_size, stride, padding=padding, eps=EPS, activation=activation)
        for kernel_size, width in operation
    ]
    return convs[0] if len(convs) == 1 else SideBySide(convs)


def _branch_operations(
    ops: Operations, branches: Sequence[Branch], stride: int, padding: str, activation: str | None
) -> Map:
    """What the modules of `_branch` side by side compute, their outputs concatenated."""
    ends = []
    for i, branch in enumerate(branches):
        x: Map = ops.input
        for j, (operation, step, pads) in enumerate(_with_stride(branch, stride, padding)):
            x = _operation_listed(ops, f"branches.{i}.{j}", x, operation, step, pads, activation)
        ends.append(x)
    return ops.concat(*ends)


def _operation_listed(
    ops: Operations, path: str, x: Map, operation: Operation, stride: int, pads: bool, activation: str | None
) -> Map:
    if isinstance(operation, str):
        return ops.pool(operation, x, window_size(x.out_size, 3, stride, int(pads)))
    padding = None if pads else 0
    maps = [
        ops.conv_norm_act(
            path if len(operation) == 1 else f"{path}.{i}",
            x,
            width,
            kernel_size,
            stride,
            padding=padding,
            activation=activation,
        )
        for i, (kernel_size, width) in enumerate(operation)
    ]
    return maps[0] if len(maps) == 1 else ops.concat(*maps)


def _width(branch: Branch, in_channels: int) -> int:
    """Output channels of a branch."""
    return sum(conv.width for conv in _ends(branch)) or in_channels


def _read(branches: Sequence[Any], padding: str = "same") -> tuple[Branch, ...]:
    """The branches of a description, without the absent ones.

    Raises:
        ValueError: it is not written as described at the top of this file, or unpadded branches end in filters of
            several sizes.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"unknown padding '{padding}'; valid: same, valid")
    if not isinstance(branches, list | tuple) or not all(isinstance(b, list | tuple | None) for b in branches):
        raise ValueError(f"branches are lists of operations, as [[1x1: 64], [max, 1x1: 32]]; got {branches!r}")
    read = tuple(tuple(_read_operation(operation) for operation in branch) for branch in branches if branch)
    if not read:
        raise ValueError("branches must list at least one branch, as [[1x1: 64], [max, 1x1: 32]]")
    ends = {kernel for branch in read for kernel in _kernels(branch[-1])}
    if padding == "valid" and len(ends) > 1:
        sizes = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(ends))
        raise ValueError(
            f"with valid padding all branches end in filters of one size, else they do not align; got {sizes}"
        )
    return read


def _read_operation(operation: Any) -> Operation:
    if operation in ("max", "avg"):
        return operation
    convs = operation if isinstance(operation, list | tuple) else [operation]
    if convs and all(isinstance(conv, Mapping) and len(conv) == 1 for conv in convs):
        return tuple(_read_filter(*next(iter(conv.items()))) for conv in convs)
    raise ValueError(f"an operation is a filter and its width, as 3x3: 128, or max, or avg; got {operation!r}")


def _read_filter(kernel_size: Any, width: Any) -> Filter:
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(kernel_size))
    if sides is None:
        raise ValueError(f"a filter is written as 1x7, rows before columns; got {kernel_size!r}")
    if not is_count(width):
        raise ValueError(f"the width of a {kernel_size} filter must be a whole number of at least 1; got {width!r}")
    return Filter((int(sides[1]), int(sides[2])), width)


def _kernels(operation: Operation) -> list[Size]:
    return [(3, 3)] if isinstance(operation, str) else [conv.kernel_size for conv in operation]


def _in_proportion(branches: tuple[Branch, ...], channels: int, base_channels: int | None) -> tuple[Branch, ...]:
    if base_channels is None or channels == base_channels:
        return branches
    return tuple(
        tuple(
            operation
            if isinstance(operation, str)
            else tuple(conv._replace(width=max(1, _scaled(conv.width, channels, base_channels))) for conv in operation)
            for operation in branch
        )
        for branch in branches
    )


def _fit(branches: tuple[Branch, ...], in_channels: int, out_channels: int) -> tuple[Branch, ...]:
    """Scales all widths so that the branches make `out_channels` in all.

    Raises:
        ValueError: too few for one channel a filter, or nothing but pools.
    """
    stated = [conv.width for branch in branches for conv in _ends(branch)]
    pooled = sum(in_channels for branch in branches if not _ends(branch))
    wanted = out_channels - pooled
    if wanted == sum(stated):
        return branches
    if wanted < len(stated) or not stated:
        least = f"at least {pooled + len(stated)}" if stated else f"exactly {pooled}, they only pool"
        raise ValueError(f"{out_channels} output channels do not suit the branches: {least}")
    widths = iter(_share(wanted, stated))
    scaled = _in_proportion(branches, wanted, sum(stated))
    return tuple(_with_ends(branch, widths) for branch in scaled)


def _ends(branch: Branch) -> tuple[Filter, ...]:
    """The convolutions whose outputs leave the branch; pools may follow them."""
    return next((operation for operation in reversed(branch) if not isinstance(operation, str)), ())


def _with_ends(branch: Branch, widths: Iterator[int]) -> Branch:
    ends = _ends(branch)
    if not ends:
        return branch
    position = max(i for i, operation in enumerate(branch) if not isinstance(operation, str))
    fitted = tuple(conv._replace(width=next(widths)) for conv in ends)
    return (*branch[:position], fitted, *branch[position + 1 :])


def _share(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers of at least 1 in the proportions of `weights` whose sum is `total`."""
    marks = [_scaled(mark, total, sum(weights)) for mark in accumulate(weights, initial=0)]
    shares = [after - before for before, after in pairwise(marks)]
    for i, share in enumerate(shares):
        if share == 0:
            shares[shares.index(max(shares))] -= 1
            shares[i] = 1
    return shares


def _scaled(number: int, numerator: int, denominator: int) -> int:
    """Nearest whole number to number · numerator / denominator, half up."""
    return (2 * number * numerator + denominator) // (2 * denominator)
