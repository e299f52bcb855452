"""The units of ShuffleNetV1 and ShuffleNetV2."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import ChannelShuffle, activate, channel_shuffle, conv_norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Size


class ShuffleNetV1(nn.Module):
    """Two pointwise group convolutions around a depthwise one, the first followed by a channel shuffle.

    Where shapes stay, input and branch are added. A wider output holds the 3x3 average pooled input (the input itself at
    stride 1) and, beside it, the O - C maps of the branch. An output of another shape that is no wider is the branch alone.

    Source: Zhang et al., ShuffleNet (2017), https://arxiv.org/abs/1707.01083, figure 2b (stride 1) and 2c (stride 2). The branch's
    bottleneck has O / 4 channels (section 3.2).

    Args:
        groups: of both pointwise convolutions; they divide C and O / 4.
        first_groups: of the first one where it differs (1 in the network's first unit, whose input is narrow).
        activation: after the first convolution and at the end; none follows the depthwise one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 3,
        first_groups: int | None = None,
        kernel_size: int = 3,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        if out_channels % 4:
            raise ValueError(f"a bottleneck of a quarter of {out_channels} output channels needs a multiple of 4")
        middle = out_channels // 4
        self.stride = stride
        self.join = _join(in_channels, out_channels, stride)
        branch = out_channels - in_channels if self.join == "concat" else out_channels
        first = groups if first_groups is None else first_groups
        self.branch = nn.Sequential(
            conv_norm_act(in_channels, middle, groups=first, activation=activation),
            ChannelShuffle(groups),
            conv_norm_act(middle, middle, kernel_size, stride, groups=middle, activation=None),
            conv_norm_act(middle, branch, groups=groups, activation=None),
        )
        self.activation = activate(activation, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        y = self.branch(x)
        if self.join == "add":
            y = x + y
        elif self.join == "concat":
            shortcut = F.avg_pool2d(x, 3, self.stride, 1) if self.stride > 1 else x
            y = torch.cat([shortcut, y], 1)
        return self.activation(y)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        groups: int,
        first_groups: int | None,
        kernel_size: int,
        activation: str | None,
    ) -> Operations:
        """P C m / g + Q (k² m + m o / g) multiply-adds for m = O / 4 and a branch of o maps."""
        middle = out_channels // 4
        join = _join(in_channels, out_channels, stride)
        first = groups if first_groups is None else first_groups
        ops = Operations(in_channels, size)
        x = ops.conv_norm_act("branch.0", ops.input, middle, groups=first, whole_groups=False, activation=activation)
        x = ops.shuffle(x, groups)
        x = ops.conv_norm_act("branch.2", x, middle, kernel_size, stride, groups=middle, activation=None)
        branch = out_channels - in_channels if join == "concat" else out_channels
        x = ops.conv_norm_act("branch.3", x, branch, groups=groups, whole_groups=False, activation=None)
        if join == "add":
            x = ops.elementwise("add", ops.input, x)
        elif join == "concat":
            x = ops.concat(ops.pool("avg", ops.input, x.out_size) if stride > 1 else ops.input, x)
        ops.activation("activation", x, activation)
        return ops

    @staticmethod
    def channel_multiples(*, groups: int, first_groups: int | None) -> tuple[int, int]:
        """The groups divide the input, and the bottleneck of a quarter of the output."""
        return math.lcm(groups, first_groups or 1), 4 * groups


def _join(in_channels: int, out_channels: int, stride: int) -> str:
    """How ShuffleNetV1's branch meets its input."""
    if stride == 1 and in_channels == out_channels:
        return "add"
    return "concat" if out_channels > in_channels else "none"


class ShuffleNetV2(nn.Module):
    """Half of the channels passes untouched, half is filtered; a shuffle mixes the halves. No split where shapes change.

    Source: Ma et al., ShuffleNet V2 (2018), https://arxiv.org/abs/1807.11164, figure 3c (same shapes) and 3d (strided, or another
    width).

    Args:
        strided: widths of the two branches where shapes change. "authors": the input's branch keeps its C channels, the other
            ends at O - C (where O > C); "torchvision": both end at O / 2. The two are one where O = 2 C.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: int = 3,
        strided: str = "authors",
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(f"two halves need an even number of output channels, not {out_channels}")
        if strided not in ("authors", "torchvision"):
            raise ValueError(f"unknown strided unit '{strided}'; valid: authors, torchvision")
        half = out_channels // 2
        self.split = stride == 1 and in_channels == out_channels
        kept = half if self.split else _kept_channels(in_channels, out_channels, strided)
        read = half if self.split else in_channels
        self.shortcut: nn.Module = nn.Identity()
        if not self.split:
            self.shortcut = nn.Sequential(
                conv_norm_act(in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=None),
                conv_norm_act(in_channels, kept, activation=activation),
            )
        self.branch = nn.Sequential(
            conv_norm_act(read, half, activation=activation),
            conv_norm_act(half, half, kernel_size, stride, groups=half, activation=None),
            conv_norm_act(half, out_channels - kept, activation=activation),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        left, right = x.chunk(2, 1) if self.split else (x, x)
        return channel_shuffle(torch.cat([self.shortcut(left), self.branch(right)], 1), 2)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: int,
        strided: str,
        activation: str | None,
    ) -> Operations:
        """P (2 b² + k² b) multiply-adds for b = O / 2; P C b + Q (k² (C + b) + C c + b (O - c)) where shapes change, c kept."""
        half = out_channels // 2
        ops = Operations(in_channels, size)
        x: Map = ops.input
        if stride == 1 and in_channels == out_channels:
            shortcut: Map = ops.slice(x, 0, half)
            x = ops.slice(x, half, out_channels)
        else:
            kept = _kept_channels(in_channels, out_channels, strided)
            shortcut = ops.conv_norm_act(
                "shortcut.0", x, in_channels, kernel_size, stride, groups=in_channels, activation=None
            )
            shortcut = ops.conv_norm_act("shortcut.1", shortcut, kept, activation=activation)
        x = ops.conv_norm_act("branch.0", x, half, activation=activation)
        x = ops.conv_norm_act("branch.1", x, half, kernel_size, stride, groups=half, activation=None)
        x = ops.conv_norm_act("branch.2", x, out_channels - shortcut.out_channels, activation=activation)
        ops.shuffle(ops.concat(shortcut, x), 2)
        return ops

    @staticmethod
    def channel_multiples() -> tuple[int, int]:
        """Two halves of the output; the input is split only where it is as wide."""
        return 1, 2


def _kept_channels(in_channels: int, out_channels: int, strided: str) -> int:
    """Channels of the shortcut branch where shapes change."""
    return in_channels if strided == "authors" and out_channels > in_channels else out_channels // 2
