"""Group convolutions, channel shuffles and a parameter-free aggregation instead of a pointwise convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spaces.blocks.ops import ChannelShuffle, check_repeated, conv_norm_act, make_divisible
from spaces.operation import Map, Operations
from spaces.sizes import Pair, Size

CHUNK = 1 << 17
"""Values of the output that are aggregated at a time on a CPU: small enough to stay in its cache from one group to the next."""


def group_counts(groups: int | Sequence[int], depth: int) -> list[int]:
    """Groups of each stacked layer, from one number for all or one a layer.

    Raises:
        ValueError: there is no layer, or too many, a list has another length, or the last layer has a single group.
    """
    check_repeated("depth", depth)
    counts = [groups] * depth if isinstance(groups, int) else list(groups)
    if depth < 1 or len(counts) != depth:
        raise ValueError(f"depth {depth} needs one number of groups a layer, not {len(counts)}")
    if counts[-1] < 2:
        raise ValueError(f"the last layer needs at least 2 groups to aggregate, not {counts[-1]}")
    return counts


def last_width(out_channels: int, groups: int, widen: float = 1) -> int:
    """Maps of the last layer, C_L: `widen` times the outputs, raised to whole groups of n >= √outputs.

    With n² >= outputs there are as many different lines as outputs.
    """
    return groups * max(math.ceil(widen * out_channels / groups), math.isqrt(out_channels - 1) + 1)


def aggregation_lines(out_channels: int, groups: int, widen: float = 1) -> Tensor:
    """Which maps of the last layer each output aggregates, one of every group.

    Output j takes channel (j + i·⌊j / n⌋) mod n of group i, n channels a group: a line with offset j mod n and slope ⌊j / n⌋. Two
    outputs that agree in groups 0 and 1 have one offset and one slope, so no two aggregate the same set while outputs <= n².

    Returns:
        (out_channels, groups) indices into the `last_width` maps.
    """
    n = last_width(out_channels, groups, widen) // groups
    # in NumPy: arithmetic on the meta device, where spaces are checked, has PyTorch import its compiler, which takes seconds
    j, i = np.arange(out_channels)[:, None], np.arange(groups)[None, :]
    return torch.tensor(i * n + (j + i * (j // n)) % n)


def stack_widths(
    in_channels: int, out_channels: int, groups: Sequence[int], squeeze_ratio: float = 1, widen: float = 1
) -> list[int]:
    """Channels before, between and after the stacked layers.

    Inner widths are `squeeze_ratio` times the input's, rounded to a multiple of the least common multiple of the groups of the
    two layers they join.
    """
    inner = [make_divisible(in_channels * squeeze_ratio, math.lcm(before, after)) for before, after in pairwise(groups)]
    return [in_channels, *inner, last_width(out_channels, groups[-1], widen)]


def mixes_all_channels(widths: Sequence[int], groups: Sequence[int]) -> bool:
    """Whether every map of the last layer, before any aggregation, sees every input channel.

    A layer's channel reads one group of the layer before. A shuffle lays neighbours of a group into different groups, so that the
    channels seen multiply from layer to layer: all are seen exactly when the product of the group widths reaches C.

    Args:
        widths: channels before, between and after the layers, as from `stack_widths`.
        groups: of each layer.
    """
    return math.prod(width // count for width, count in zip(widths, groups, strict=False)) >= widths[0]


class _LineMax(torch.autograd.Function):
    """Maximum along lines of channels that remembers, for each output, a byte: the group that won.

    Gathering all lines at once and reducing them costs `groups` maps of memory for every map and is several times slower: here one
    gathered map at a time meets the running maximum. Of equal values the first wins and gets the whole gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, lines: Tensor) -> Tensor:
        """x: (N, C_L, H, W) maps. lines: (out, groups) indices. Returns (N, out, H, W)."""
        batch, _, height, width = x.shape
        out, groups = lines.shape
        chunk = max(1, CHUNK // (out * height * width)) if x.device.type == "cpu" else batch
        maximum = x.new_empty(batch, out, height, width)
        learning = ctx.needs_input_grad[0]
        number = torch.uint8 if groups <= 256 else torch.int32
        winner = torch.zeros_like(maximum if learning else maximum[:, :0], dtype=number)
        candidate = torch.empty_like(maximum[:chunk])
        better = torch.empty_like(candidate, dtype=torch.bool)
        for x_part, best, won in zip(x.split(chunk), maximum.split(chunk), winner.split(chunk), strict=True):
            new, is_better = candidate[: len(best)], better[: len(best)]
            torch.index_select(x_part, 1, lines[:, 0], out=best)
            for i in range(1, groups):
                torch.index_select(x_part, 1, lines[:, i], out=new)
                if learning:
                    # groups come in rising order: the latest winner is the greatest number
                    torch.gt(new, best, out=is_better)
                    greater = is_better.view(torch.uint8) if number is torch.uint8 else is_better.to(number)
                    torch.maximum(won, greater.mul_(i), out=won)
                torch.maximum(best, new, out=best)
        ctx.save_for_backward(winner, lines)
        ctx.shape = x.shape
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """grad: (N, out, H, W) gradient of the maxima. Returns that of the maps, (N, C_L, H, W)."""
        winner, lines = ctx.saved_tensors
        out, groups = lines.shape
        start = torch.arange(0, out * groups, groups, device=lines.device).view(1, out, 1, 1)
        channel = lines.flatten().take(winner + start)
        return grad.new_zeros(ctx.shape).scatter_add_(1, channel, grad), None


class LineAggregation(nn.Module):
    """Forms every output as the maximum or mean along its line of channels (`aggregation_lines`).

    Args:
        aggregate: "max" or "mean".
    """

    lines: Tensor

    def __init__(self, out_channels: int, groups: int, widen: float = 1, aggregate: str = "max") -> None:
        super().__init__()
        if aggregate not in ("max", "mean"):
            raise ValueError(f"unknown aggregate '{aggregate}'; valid: max, mean")
        self.aggregate = aggregate
        self.register_buffer("lines", aggregation_lines(out_channels, groups, widen), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C_L, H, W) maps. Returns (N, out, H, W)."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._plain(x)
        return self._mean(x) if self.aggregate == "mean" else _LineMax.apply(x, self.lines)

    def _plain(self, x: Tensor) -> Tensor:
        """The same in operators that every exporter and runtime knows."""
        result = x.index_select(1, self.lines[:, 0])
        for i in range(1, self.lines.shape[1]):
            line = x.index_select(1, self.lines[:, i])
            result = torch.maximum(result, line) if self.aggregate == "max" else result + line
        return result if self.aggregate == "max" else result / self.lines.shape[1]

    def _mean(self, x: Tensor) -> Tensor:
        """The mean in one pass: a channel is a row of a table, a line is a bag of rows."""
        batch, channels, height, width = x.shape
        rows = x.transpose(0, 1).reshape(channels, -1)  # (C_L, N·H·W)
        means = F.embedding_bag(self.lines, rows, mode="mean")  # (out, N·H·W)
        return means.view(-1, batch, height, width).transpose(0, 1)


class ShuffleAgg(nn.Module):
    """A stack of k x k group convolutions with channel shuffles between them; lines of its last maps form the outputs.

    A pointwise convolution mixes channels at the price of C·O weights. Here the shuffles mix them while filtering, and each
    output is the maximum or mean over one map of every group, each time another set of maps (`aggregation_lines`). The last
    layer costs k²·C_{L-1}·C_L / g a pixel, less than a 1x1 convolution between the same maps when k²·widen < g. The first
    layer strides. The input is added where shapes allow.

    Related: Zhang et al., ShuffleNet (2017), https://arxiv.org/abs/1707.01083, for group convolutions and shuffles; Goodfellow et
    al., Maxout networks (2013), https://arxiv.org/abs/1302.4389, for the maximum over maps.

    Args:
        groups: of all layers, or a list with one number a layer; the last is at least 2.
        depth: number of stacked layers.
        squeeze_ratio: inner / input channels (`stack_widths` states the rounding).
        widen: maps of the last layer over outputs (`last_width`), at most its groups.
        aggregate: "max" or "mean".
        residual: False never adds the input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: Pair = 3,
        groups: int | Sequence[int] = 4,
        depth: int = 2,
        squeeze_ratio: float = 1,
        widen: float = 1,
        aggregate: str = "max",
        activation: str | None = "relu",
        residual: bool = True,
    ) -> None:
        super().__init__()
        counts = group_counts(groups, depth)
        if not 0 < widen <= counts[-1]:
            raise ValueError(
                f"widen {widen} must lie in (0, {counts[-1]}]: beyond the groups, maps would never be read"
            )
        widths = stack_widths(in_channels, out_channels, counts, squeeze_ratio, widen)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            if i:
                layers.append(ChannelShuffle(counts[i - 1]))
            layers.append(
                conv_norm_act(before, after, kernel_size, 1 if i else stride, groups=counts[i], activation=activation)
            )
        self.stack = nn.Sequential(*layers)
        self.aggregation = LineAggregation(out_channels, counts[-1], widen, aggregate)
        self.residual = residual and stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        y = self.aggregation(self.stack(x))
        return x + y if self.residual else y

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: Pair,
        groups: int | Sequence[int],
        depth: int,
        squeeze_ratio: float,
        widen: float,
        aggregate: str,
        activation: str | None,
        residual: bool,
    ) -> Operations:
        """Q k² Σ C_{l-1} C_l / g_l multiply-adds over the layers; shuffles and aggregation are free."""
        counts = group_counts(groups, depth)
        widths = stack_widths(in_channels, out_channels, counts, squeeze_ratio, widen)
        ops = Operations(in_channels, size)
        x = stack_operations(
            ops, "", ops.input, out_channels, widths, counts, kernel_size, stride, aggregate, activation
        )
        if residual and stride == 1 and in_channels == out_channels:
            ops.elementwise("add", ops.input, x)
        return ops

    @staticmethod
    def channel_multiples(*, groups: int | Sequence[int]) -> tuple[int, int]:
        """The first layer's groups divide the input; the last layer's width is made to fit any output."""
        return (groups if isinstance(groups, int) else groups[0]), 1


def stack_operations(
    ops: Operations,
    path: str,
    x: Map,
    out_channels: int,
    widths: Sequence[int],
    counts: Sequence[int],
    kernel_size: Pair,
    stride: int,
    aggregate: str,
    activation: str | None,
) -> Map:
    """What the stack and the aggregation of the `ShuffleAgg` at `path` (empty, or with a dot at its end) compute."""
    for i, (width, count) in enumerate(zip(widths[1:], counts, strict=True)):
        if i:
            x = ops.shuffle(x, counts[i - 1])
        x = ops.conv_norm_act(
            f"{path}stack.{2 * i}",
            x,
            width,
            kernel_size,
            1 if i else stride,
            groups=count,
            whole_groups=False,
            activation=activation,
        )
    return ops.rearrange(
        aggregate, x, out_channels, x.out_size, "which maps an output aggregates depends on their numbers and its own"
    )
