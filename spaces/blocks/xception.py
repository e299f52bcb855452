"""Xception's separable convolution and the unit made of them.

Source: Chollet, Xception: Deep learning with depthwise separable convolutions (2017), https://arxiv.org/abs/1610.02357, figure 5.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from spaces.blocks.ops import activate, check_repeated, conv2d, conv_norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Pair, Size, strided


class SeparableConv(nn.Module):
    """A depthwise, then a pointwise convolution with nothing between them; normalisation and activation follow.

    MobileNet's `depthwise_separable` has both between them too.

    Args:
        kernel_size: of the depthwise convolution.
        activation: after normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: Pair = 3,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.depthwise = conv2d(in_channels, in_channels, kernel_size, stride, groups=in_channels)
        self.pointwise = conv_norm_act(in_channels, out_channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(x))

    @staticmethod
    def operations(
        in_channels: int, out_channels: int, stride: int, size: Size, *, kernel_size: Pair, activation: str | None
    ) -> Operations:
        """Q C (k² + O) multiply-adds."""
        ops = Operations(in_channels, size)
        separable_operations(ops, "", ops.input, out_channels, stride, kernel_size, activation)
        return ops


def separable_operations(
    ops: Operations, path: str, x: Map, out_channels: int, stride: int, kernel_size: Pair, activation: str | None
) -> Map:
    """What the `SeparableConv` at `path` (empty, or with a dot at its end) computes."""
    x = ops.convolution(path + "depthwise", x, x.out_channels, kernel_size, stride, groups=x.out_channels)
    return ops.conv_norm_act(path + "pointwise", x, out_channels, activation=activation)


class XceptionUnit(nn.Module):
    """n separable convolutions, each after an activation, then a max pool where it strides; a linear shortcut joins the ends.

    Args:
        convs: n.
        kernel_size: of the depthwise convolutions.
        widen: which separable convolution widens, "first" or "last" (the network's last strided unit).
        leading_activation: False in the unit whose input has just been through one.
        activation: before each separable convolution; none follows the addition.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        convs: int = 3,
        kernel_size: Pair = 3,
        widen: str = "first",
        leading_activation: bool = True,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for position, (into, out) in enumerate(conv_widths(in_channels, out_channels, convs, widen)):
            if position or leading_activation:
                layers.append(activate(activation, into, inplace=position > 0))
            layers.append(SeparableConv(into, out, kernel_size=kernel_size, activation=None))
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = conv_norm_act(in_channels, out_channels, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.layers(x) + self.shortcut(x)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        convs: int,
        kernel_size: Pair,
        widen: str,
        leading_activation: bool,
        activation: str | None,
    ) -> Operations:
        """The separable convolutions run on the input's size, before the pool."""
        ops = Operations(in_channels, size)
        x: Map = ops.input
        shortcut: Map = ops.input
        index = 0
        for position, (_, out) in enumerate(conv_widths(in_channels, out_channels, convs, widen)):
            if position or leading_activation:
                x = ops.activation(f"layers.{index}", x, activation)
                index += 1
            x = separable_operations(ops, f"layers.{index}.", x, out, 1, kernel_size, None)
            index += 1
        if stride > 1:
            x = ops.pool("max", x, strided(size, stride))
        if stride > 1 or in_channels != out_channels:
            shortcut = ops.conv_norm_act("shortcut", shortcut, out_channels, 1, stride, activation=None)
        ops.elementwise("add", x, shortcut)
        return ops


def conv_widths(in_channels: int, out_channels: int, convs: int, widen: str) -> list[tuple[int, int]]:
    """(in, out) channels of each separable convolution."""
    if widen not in ("first", "last"):
        raise ValueError(f"unknown widen '{widen}'; valid: first, last")
    if convs < 1:
        raise ValueError(f"a unit has at least 1 separable convolution, not {convs}")
    check_repeated("convs", convs)
    inner = out_channels if widen == "first" else in_channels
    widths = [in_channels, *[inner] * (convs - 1), out_channels]
    return list(pairwise(widths))
