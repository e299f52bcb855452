"""DiCENet's unit: convolutions along all three dimensions of the maps, then dimension-wise fusion.

Source: Mehta, Hajishirzi, Rastegari, DiCENet: Dimension-wise convolutions for efficient networks (2019),
https://arxiv.org/abs/1906.03516, figures 2-4; the unit's place in the network follows the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import ChannelShuffle, channel_shuffle, conv2d, conv_norm_act, norm_act
from spaces.blocks.shuffle_agg import ShuffleAgg, stack_operations, stack_widths
from spaces.operation import Map, Operations
from spaces.sizes import Pair, Size, strided


def resize(x: Tensor, size: Size) -> Tensor:
    """x: (N, C, H, W) maps brought to `size`: averaged where they shrink, interpolated where they grow."""
    for dim, side in enumerate(size, start=2):
        target = (side, x.shape[3]) if dim == 2 else (x.shape[2], side)
        if side > x.shape[dim]:
            x = F.interpolate(x, target, mode="bilinear", align_corners=True)
        elif side < x.shape[dim]:
            x = F.adaptive_avg_pool2d(x, target)
    return x


TURNED = "depth is a side of the maps that are convolved over rows and columns"


class DimConv(nn.Module):
    """Dimension-wise convolution: one depthwise convolution over channels, one over rows, one over columns (figure 3a).

    A D x H x W volume has D planes of H x W, H planes of D x W and W planes of H x D; each plane has a k x k kernel of its own, so
    the weights depend on the size the module is built for. An input of another size is resized for the convolutions over rows and
    columns, and back.

    Args:
        channels: D of the input; the output has 3 D, the three maps of one channel adjacent.
        size: (height, width) the kernels are made for.
        kernel_size: of all three.
        activation: after normalisation.
    """

    def __init__(self, channels: int, size: Size, kernel_size: Pair = 3, activation: str | None = "prelu") -> None:
        super().__init__()
        self.height, self.width = size
        self.over_channels = conv2d(channels, channels, kernel_size, groups=channels)
        self.over_rows = conv2d(self.height, self.height, kernel_size, groups=self.height)
        self.over_columns = conv2d(self.width, self.width, kernel_size, groups=self.width)
        self.norm_act = norm_act(3 * channels, activation)
        self.shuffle = ChannelShuffle(3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, D, H, W) input. Returns (N, 3 D, H, W)."""
        height, width = x.shape[2:]
        rows = resize(x, (self.height, width)).transpose(1, 2)  # (N, H, D, W)
        rows = resize(self.over_rows(rows).transpose(1, 2), (height, width))
        columns = resize(x, (height, self.width)).transpose(1, 3)  # (N, W, H, D)
        columns = resize(self.over_columns(columns).transpose(1, 3), (height, width))
        maps = torch.cat([self.over_channels(x), rows, columns], 1)
        return self.shuffle(self.norm_act(maps))

    @staticmethod
    def operations(ops: Operations, path: str, x: Map, kernel_size: Pair, activation: str | None) -> Map:
        """3 k² D H W multiply-adds at the size it is built for, k² (D + H + W) kernel weights."""
        channels, (height, width) = x.out_channels, x.out_size
        maps: list[Map] = [ops.convolution(path + "over_channels", x, channels, kernel_size, groups=channels)]
        for name, planes, plane in (("rows", height, (channels, width)), ("columns", width, (height, channels))):
            turned: Map = ops.rearrange("transpose", x, planes, plane, TURNED)
            turned = ops.convolution(f"{path}over_{name}", turned, planes, kernel_size, groups=planes)
            maps.append(ops.rearrange("transpose", turned, channels, x.out_size, TURNED))
        return ops.shuffle(ops.norm_act(path + "norm_act", ops.concat(*maps), activation), 3)


class DimFuse(nn.Module):
    """Dimension-wise fusion: merges the three maps of each channel, then all channels (figure 3b).

    Local: one weighted sum of three maps a channel. Global: a depthwise convolution encodes space, two layers on pooled values
    encode the channels; their product replaces a pointwise convolution.

    Args:
        channels: D; the input has 3 D channels, the output D.
        kernel_size: of the spatial encoding.
        activation: after normalisation.
    """

    def __init__(self, channels: int, kernel_size: Pair = 3, activation: str | None = "prelu") -> None:
        super().__init__()
        self.local = conv_norm_act(3 * channels, channels, groups=channels, activation=activation)
        self.spatial = conv_norm_act(channels, channels, kernel_size, groups=channels, activation=activation)
        squeezed = max(1, channels // 4)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv2d(channels, squeezed),
            nn.ReLU(inplace=True),
            conv2d(squeezed, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3 D, H, W) input, the three maps of one channel adjacent. Returns (N, D, H, W)."""
        fused = self.local(x)
        return self.spatial(fused) * self.channel(fused)

    @staticmethod
    def operations(ops: Operations, path: str, x: Map, kernel_size: Pair, activation: str | None) -> Map:
        """H W (3 + k²) D multiply-adds and 2 D ⌊D/4⌋ once an image."""
        channels = x.out_channels // 3
        x = ops.conv_norm_act(path + "local", x, channels, groups=channels, whole_groups=True, activation=activation)
        spatial = ops.conv_norm_act(path + "spatial", x, channels, kernel_size, groups=channels, activation=activation)
        gate: Map = ops.linear(path + "channel.1", ops.pool("avg", x, (1, 1)), max(1, channels // 4), bias=False)
        gate = ops.linear(path + "channel.3", ops.elementwise("relu", gate), channels, bias=False)
        return ops.elementwise("multiply", spatial, ops.elementwise("sigmoid", gate))


class ShuffleFuse(nn.Module):
    """Another way to encode channels globally: one layer of `shuffle_agg` in the place of DimFuse's spatial and channel encoding.

    Local fusion stays as in `DimFuse`. Then a group convolution and the parameter-free aggregation along lines, one map of every
    group, mix all channels pixel by pixel, where DimFuse's gate knows each channel's mean alone.

    Args:
        channels: D; the input has 3 D channels, the output D.
        kernel_size: of the group convolution.
        groups: of the group convolution, at least 2; they divide D.
        activation: after normalisation.
    """

    def __init__(self, channels: int, kernel_size: int = 3, groups: int = 2, activation: str | None = "prelu") -> None:
        super().__init__()
        self.local = conv_norm_act(3 * channels, channels, groups=channels, activation=activation)
        self.mix = ShuffleAgg(
            channels, channels, kernel_size=kernel_size, groups=groups, depth=1, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3 D, H, W) input, the three maps of one channel adjacent. Returns (N, D, H, W)."""
        return self.mix(self.local(x))

    @staticmethod
    def operations(ops: Operations, path: str, x: Map, kernel_size: int, groups: int, activation: str | None) -> Map:
        """H W (3 D + k² D C_L / groups) multiply-adds; C_L is about D (`last_width`)."""
        channels = x.out_channels // 3
        x = ops.conv_norm_act(path + "local", x, channels, groups=channels, whole_groups=True, activation=activation)
        widths = stack_widths(channels, channels, [groups])
        y = stack_operations(ops, path + "mix.", x, channels, widths, [groups], kernel_size, 1, "max", activation)
        return ops.elementwise("add", x, y)


def dice(channels: int, size: Size, kernel_size: int, fuse: str, fuse_groups: int, activation: str | None) -> nn.Module:
    """Dimension-wise convolution and fusion, D channels in and out: the DiCE unit of the paper's figure 2."""
    if fuse == "dim_fuse":
        fusion: nn.Module = DimFuse(channels, kernel_size, activation)
    elif fuse == "shuffle_agg":
        fusion = ShuffleFuse(channels, kernel_size, fuse_groups, activation)
    else:
        raise _unknown(fuse)
    return nn.Sequential(DimConv(channels, size, kernel_size, activation), fusion)


def dice_operations(
    ops: Operations, path: str, x: Map, kernel_size: int, fuse: str, fuse_groups: int, activation: str | None
) -> Map:
    """What `dice` at `path` computes, on an input of the size it is built for."""
    x = DimConv.operations(ops, path + ".0.", x, kernel_size, activation)
    if fuse == "dim_fuse":
        return DimFuse.operations(ops, path + ".1.", x, kernel_size, activation)
    if fuse == "shuffle_agg":
        return ShuffleFuse.operations(ops, path + ".1.", x, kernel_size, fuse_groups, activation)
    raise _unknown(fuse)


def _unknown(fuse: str) -> ValueError:
    return ValueError(f"unknown fuse '{fuse}'; valid: dim_fuse, shuffle_agg")


def split(in_channels: int, out_channels: int) -> tuple[int, int]:
    """Channels the unit of stride 1 leaves untouched, and those it computes: half of the input passes.

    Where the output is narrower than the input, at most half of the output is passed on (the authors' networks never narrow).
    """
    untouched = min(round(in_channels / 2), out_channels // 2)
    return untouched, out_channels - untouched


class DiceUnit(nn.Module):
    """DiCENet's unit: ShuffleNetV2's, with dimension-wise convolution and fusion in the place of its depthwise one.

    Stride 1: half of the channels pass untouched, the others go through a pointwise convolution and DiCE. Stride 2: two branches,
    a depthwise-separable convolution and a pooled DiCE, give half of the output each (2 C in the paper). Both end in a shuffle.

    Args:
        size: (height, width) of the input; kernels over rows and columns are made for it.
        kernel_size: of every spatial and dimension-wise filter.
        fuse: "dim_fuse" (the paper), or "shuffle_agg": see `ShuffleFuse`.
        fuse_groups: groups of `shuffle_agg`, at least 2; without meaning for "dim_fuse".
        activation: after every normalisation.
    """

    needs_size = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        size: Size,
        kernel_size: int = 3,
        fuse: str = "dim_fuse",
        fuse_groups: int = 2,
        activation: str | None = "prelu",
    ) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(f"the shuffle needs an even number of output channels, not {out_channels}")
        self.stride = stride
        options = (kernel_size, fuse, fuse_groups, activation)
        if stride == 1:
            self.untouched, computed = split(in_channels, out_channels)
            self.right = nn.Sequential(
                conv_norm_act(in_channels - self.untouched, computed, activation=activation),
                dice(computed, size, *options),
            )
        else:
            half = out_channels // 2
            self.left = nn.Sequential(
                conv_norm_act(in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=activation),
                conv_norm_act(in_channels, half, activation=activation),
            )
            self.right = nn.Sequential(
                nn.AvgPool2d(3, stride, padding=1),
                dice(in_channels, strided(size, stride), *options),
                conv_norm_act(in_channels, half, activation=activation),
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        if self.stride == 1:
            left, right = x[:, : self.untouched], self.right(x[:, self.untouched :])
        else:
            left, right = self.left(x), self.right(x)
        return channel_shuffle(torch.cat([left, right], 1), 2)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: int,
        fuse: str,
        fuse_groups: int,
        activation: str | None,
    ) -> Operations:
        """On an input of the size it is built for; the parameters depend on that size."""
        options = (kernel_size, fuse, fuse_groups, activation)
        ops = Operations(in_channels, size)
        x: Map = ops.input
        if stride == 1:
            untouched, computed = split(in_channels, out_channels)
            left: Map = ops.slice(x, 0, untouched)
            x = ops.conv_norm_act("right.0", ops.slice(x, untouched, in_channels), computed, activation=activation)
            right = dice_operations(ops, "right.1", x, *options)
        else:
            half = out_channels // 2
            left = ops.conv_norm_act(
                "left.0", x, in_channels, kernel_size, stride, groups=in_channels, activation=activation
            )
            left = ops.conv_norm_act("left.1", left, half, activation=activation)
            right = dice_operations(ops, "right.1", ops.pool("avg", x, left.out_size), *options)
            right = ops.conv_norm_act("right.2", right, half, activation=activation)
        ops.shuffle(ops.concat(left, right), 2)
        return ops

    @staticmethod
    def channel_multiples(*, fuse: str, fuse_groups: int) -> tuple[int, int]:
        """An even output for the shuffle; `fuse_groups` divide the half that `shuffle_agg` mixes."""
        return (1, 2) if fuse == "dim_fuse" else (2 * fuse_groups, 2 * fuse_groups)
