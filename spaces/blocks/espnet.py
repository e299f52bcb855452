"""Spatial pyramids of dilated convolutions: the ESP module of ESPNet and the EESP unit of ESPNetv2."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import activate, conv2d, conv_norm_act, norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Size, strided

IMAGE_MAPS = 3
"""Channels between the two convolutions of EESP's shortcut from the image, whatever the image has (the authors' code)."""


def pyramid(out_channels: int, branches: int, dilations: Sequence[int] | None) -> list[tuple[int, int]]:
    """(channels, dilation) of each branch of ESP; the last has d channels, the first what the others leave of the output."""
    if not 2 <= branches <= 8:
        raise ValueError(f"a pyramid has 2 to 8 branches, not {branches}")
    if out_channels < branches:
        raise ValueError(f"{branches} branches need at least as many output channels, not {out_channels}")
    if dilations is None:
        dilations = [2**branch for branch in range(branches)]
    elif len(dilations) < branches:
        raise ValueError(f"{branches} branches need as many dilations; got {list(dilations)}")
    reduced = out_channels // branches
    channels = [out_channels - (branches - 1) * reduced] + [reduced] * (branches - 1)
    return list(zip(channels, dilations, strict=False))


class ESP(nn.Module):
    """Efficient spatial pyramid: reduce, split, transform, merge.

    A reducing convolution to d = ⌊N / K⌋ maps feeds K parallel convolutions of growing dilation. Hierarchical feature
    fusion adds up their outputs before they are concatenated, which removes the grid that dilated filters leave. With
    stride 2 the reducing convolution is a strided k x k one, and no residual joins input and output.

    Source: Mehta et al., ESPNet: Efficient spatial pyramid of dilated convolutions for semantic segmentation (2018),
    https://arxiv.org/abs/1803.06815, section 3 and figure 1. Where K does not divide N the first branch takes the rest,
    and the sums start at the second branch, as in the authors' code.

    Args:
        branches: K, from 2 to 8.
        kernel_size: of the branches, and of the strided reduction.
        dilations: of the branches; None doubles from 1. Of a longer list the first K count.
        activation: after normalisation of the merged maps; the module has no other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        branches: int = 5,
        kernel_size: int = 3,
        dilations: Sequence[int] | None = None,
        activation: str | None = "prelu",
    ) -> None:
        super().__init__()
        split = pyramid(out_channels, branches, dilations)
        reduced, _ = split[-1]
        self.reduce = conv2d(in_channels, reduced, 1 if stride == 1 else kernel_size, stride)
        self.branches = nn.ModuleList(
            conv2d(reduced, channels, kernel_size, dilation=dilation) for channels, dilation in split
        )
        self.residual = stride == 1 and in_channels == out_channels
        self.norm_act = norm_act(out_channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        reduced = self.reduce(x)
        first, *rest = (branch(reduced) for branch in self.branches)
        merged = torch.cat([first, *accumulate(rest)], 1)  # hierarchical feature fusion
        return self.norm_act(merged + x if self.residual else merged)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        branches: int,
        kernel_size: int,
        dilations: Sequence[int] | None,
        activation: str | None,
    ) -> Operations:
        """Q d (M + k² N) multiply-adds at stride 1; dilation is free."""
        split = pyramid(out_channels, branches, dilations)
        ops = Operations(in_channels, size)
        reduced = ops.convolution("reduce", ops.input, split[-1][0], 1 if stride == 1 else kernel_size, stride)
        first, *rest = [
            ops.convolution(f"branches.{i}", reduced, channels, kernel_size, dilation=dilation)
            for i, (channels, dilation) in enumerate(split)
        ]
        merged: Map = ops.concat(first, *_fused(ops, rest))
        if stride == 1 and in_channels == out_channels:
            merged = ops.elementwise("add", merged, ops.input)
        ops.norm_act("norm_act", merged, activation)
        return ops


def _fused(ops: Operations, branches: Sequence[Map]) -> list[Map]:
    """Hierarchical feature fusion: the running sums of the branches."""
    return list(accumulate(branches, lambda total, branch: ops.elementwise("add", total, branch)))


def capped(branches: int, kernel_size: int, max_extent: int) -> list[int]:
    """Dilations 1, 2, 3, ... in which a filter wider than `max_extent` pixels falls back to 1; sorted."""
    dilations = range(1, branches + 1)
    return sorted(d if d * (kernel_size - 1) + 1 <= max_extent else 1 for d in dilations)


def made_channels(in_channels: int, out_channels: int, stride: int) -> tuple[int, bool]:
    """Channels the pyramid makes, and whether the pooled input supplies the rest (where it strides and widens)."""
    pools = stride > 1 and out_channels > in_channels
    return (out_channels - in_channels if pools else out_channels), pools


def side_lengths(x: Tensor) -> Size:
    """(height, width) of maps."""
    return x.shape[2], x.shape[3]


def halvings(size: Size, target: Size) -> int:
    """How often a map of `size` is halved (rounding up) to become one of `target`."""
    times, reached = 0, size
    while reached != target:
        if min(reached[0] - target[0], reached[1] - target[1]) < 0 or reached == (1, 1):
            raise ValueError(f"an image of {size[0]}x{size[1]} cannot be halved to {target[0]}x{target[1]}")
        times, reached = times + 1, strided(reached, 2)
    return times


class EESP(nn.Module):
    """Extremely efficient spatial pyramid: grouped pointwise, K dilated depthwise, grouped pointwise convolutions.

    Stride 1 adds the input where shapes allow. With stride 2 the pooled input supplies the first C of the output channels and the
    pyramid the rest; a second input, the image, is pooled to the output's size and added through two small convolutions.

    Source: Mehta et al., ESPNetv2: A light-weight, power efficient, and general purpose convolutional neural network (2018),
    https://arxiv.org/abs/1811.11431, figures 1b and 2. The authors' code also owns parameters that never run (an activation of the
    strided pyramid, the image's convolutions where no image is given); they are left out here.

    Args:
        in_channels: C, or (C, channels of the image).
        branches: K: of the pyramid and groups of both pointwise convolutions; K² divides its output.
        kernel_size: of the branches and of the image's first convolution.
        max_extent: greatest width in pixels of a dilated filter; the authors lower it from level to level.
        activation: after every normalisation.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        stride: int = 1,
        *,
        branches: int = 4,
        kernel_size: int = 3,
        max_extent: int = 9,
        activation: str | None = "prelu",
    ) -> None:
        super().__init__()
        channels, image_channels = in_channels if isinstance(in_channels, tuple) else (in_channels, 0)
        made, self.pools = made_channels(channels, out_channels, stride)
        reduced = made // branches
        self.stride = stride
        self.residual = stride == 1 and channels == out_channels
        self.reduce = conv_norm_act(channels, reduced, groups=branches, activation=activation)
        self.branches = nn.ModuleList(
            conv2d(reduced, reduced, kernel_size, stride, groups=reduced, dilation=dilation)
            for dilation in capped(branches, kernel_size, max_extent)
        )
        self.norm_act = norm_act(made, activation)
        self.merge = conv_norm_act(made, made, groups=branches, activation=None)
        if self.pools:
            self.pool = nn.AvgPool2d(3, stride, padding=1)
        if image_channels:
            self.from_image = nn.Sequential(
                conv_norm_act(image_channels, IMAGE_MAPS, kernel_size, activation=activation),
                conv_norm_act(IMAGE_MAPS, out_channels, activation=None),
            )
        self.activation = activate(activation, out_channels)

    def forward(self, x: Tensor, image: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W) input; image: (N, 3, H', W'). Returns (N, O, H / stride, W / stride)."""
        reduced = self.reduce(x)
        branches = accumulate(branch(reduced) for branch in self.branches)  # hierarchical feature fusion
        merged = self.merge(self.norm_act(torch.cat(list(branches), 1)))
        if self.pools:
            merged = torch.cat([self.pool(x), merged], 1)
        if self.residual:
            merged = merged + x
        if image is not None:
            for _ in range(halvings(side_lengths(image), side_lengths(merged))):
                image = F.avg_pool2d(image, 3, 2, padding=1)
            merged = merged + self.from_image(image)
        return self.activation(merged)

    @staticmethod
    def operations(
        in_channels: int | tuple[int, int],
        out_channels: int,
        stride: int,
        size: Size | tuple[Size, Size],
        *,
        branches: int,
        kernel_size: int,
        max_extent: int,
        activation: str | None,
    ) -> Operations:
        """P C n / K + Q n (k² K + N) multiply-adds, n = N / K, and the image's two small convolutions."""
        ops = Operations(in_channels, size)
        x, *images = ops.inputs
        made, pools = made_channels(x.out_channels, out_channels, stride)
        n = made // branches
        reduced = ops.conv_norm_act("reduce", x, n, groups=branches, whole_groups=False, activation=activation)
        filtered = [
            ops.convolution(f"branches.{i}", reduced, n, kernel_size, stride, groups=n, dilation=dilation)
            for i, dilation in enumerate(capped(branches, kernel_size, max_extent))
        ]
        merged = ops.norm_act("norm_act", ops.concat(*_fused(ops, filtered)), activation)
        merged = ops.conv_norm_act("merge", merged, made, groups=branches, whole_groups=False, activation=None)
        if pools:
            merged = ops.concat(ops.pool("avg", x, merged.out_size), merged)
        if stride == 1 and x.out_channels == out_channels:
            merged = ops.elementwise("add", merged, x)
        for image in images:
            merged = ops.elementwise("add", merged, _from_image(ops, image, merged, kernel_size, activation))
        ops.activation("activation", merged, activation)
        return ops

    @staticmethod
    def channel_multiples(*, branches: int) -> tuple[int, int]:
        """K² on both sides: K groups of n = N / K maps, and a strided unit makes the difference of the two sides."""
        return branches**2, branches**2


def _from_image(ops: Operations, image: Map, merged: Map, kernel_size: int, activation: str | None) -> Map:
    """EESP's shortcut from the image to the size and the channels of `merged`."""
    for _ in range(halvings(image.out_size, merged.out_size)):
        image = ops.pool("avg", image, strided(image.out_size, 2))
    image = ops.conv_norm_act("from_image.0", image, IMAGE_MAPS, kernel_size, activation=activation)
    return ops.conv_norm_act("from_image.1", image, merged.out_channels, activation=None)
