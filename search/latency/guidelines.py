"""The four guidelines of ShuffleNetV2 on one's own device: what costs time at a constant number of multiply-adds.

Paper: Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
https://arxiv.org/abs/1807.11164, section 2, tables 1 to 4. Its figures are batches a second on a GPU (GTX 1080Ti) and images
a second on an ARM core (Snapdragon 810), of ten blocks stacked on maps of 56x56 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

NUM_BLOCKS = 10
SIDE = 56
SCALES = (1, 2, 4)
"""Factors on the channels of the blocks."""

Speeds = tuple[float, float, float]
"""At each of `SCALES`."""


@dataclass(frozen=True)
class Case:
    """One row of a table of the paper."""

    name: str
    block: Callable[[int], nn.Module]
    """The block for a number of channels."""
    gpu_channels: int
    """Of the paper's block on its GPU, at the least scale."""
    arm_channels: int
    gpu: Speeds
    """Batches a second."""
    arm: Speeds
    """Images a second."""

    def network(self, scale: int, on_gpu: bool) -> tuple[nn.Module, int]:
        """The stack of blocks, and the channels it reads."""
        channels = scale * (self.gpu_channels if on_gpu else self.arm_channels)
        return nn.Sequential(*(self.block(channels) for _ in range(NUM_BLOCKS))), channels


@dataclass(frozen=True)
class Guideline:
    """One table of the paper."""

    title: str
    note: str
    """What the blocks are."""
    cases: tuple[Case, ...]


class Joined(nn.Module):
    """Branches on the same input, their outputs concatenated."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Bottleneck(nn.Module):
    """ResNet's bottleneck of `channels`, a quarter of them inside."""

    def __init__(self, channels: int, relu: bool, shortcut: bool) -> None:
        super().__init__()
        inner = channels // 4
        self.body = nn.Sequential(
            _conv(channels, inner, relu=relu), _conv(inner, inner, 3, relu=relu), _conv(inner, channels, relu=False)
        )
        self.end = nn.ReLU() if relu else nn.Identity()
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        y = self.body(x)
        return self.end(x + y if self.shortcut else y)


def _conv(into: int, out: int, kernel_size: int = 1, groups: int = 1, relu: bool = True) -> nn.Module:
    conv = nn.Conv2d(into, out, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([nn.ReLU()] if relu else []))


def _ratio(ratio: int) -> Callable[[int], nn.Module]:
    """c to ratio · c channels and back."""
    return lambda channels: nn.Sequential(_conv(channels, ratio * channels), _conv(ratio * channels, channels))


def _grouped(groups: int) -> Callable[[int], nn.Module]:
    return lambda channels: _conv(channels, channels, groups=groups)


def _series(fragments: int) -> Callable[[int], nn.Module]:
    """c to w, w to w as often as it takes, w to c: 2 c w + (fragments - 2) w² = c² multiply-adds a pixel."""

    def block(channels: int) -> nn.Module:
        between = fragments - 2
        width = channels / 2 if not between else channels * (math.sqrt(1 + between) - 1) / between
        widths = [channels, *[round(width)] * (fragments - 1), channels]
        return nn.Sequential(*(_conv(into, out) for into, out in pairwise(widths)))

    return block


def _parallel(fragments: int) -> Callable[[int], nn.Module]:
    return lambda channels: Joined([_conv(channels, channels // fragments) for _ in range(fragments)])


def _bottleneck(relu: bool, shortcut: bool) -> Callable[[int], nn.Module]:
    return lambda channels: Bottleneck(channels, relu, shortcut)


GUIDELINES = (
    Guideline(
        "G1: equal channel widths minimise memory access (table 1)",
        "Two 1x1 convolutions, c1 to c2 channels and back.",
        (
            Case("c1:c2 = 1:1", _ratio(1), 128, 32, (1480, 723, 232), (76.2, 21.7, 5.3)),
            Case("c1:c2 = 1:2", _ratio(2), 90, 22, (1296, 586, 206), (72.9, 20.5, 5.1)),
            Case("c1:c2 = 1:6", _ratio(6), 52, 13, (876, 489, 189), (69.1, 17.9, 4.6)),
            Case("c1:c2 = 1:12", _ratio(12), 36, 9, (748, 392, 163), (57.6, 15.1, 4.4)),
        ),
    ),
    Guideline(
        "G2: many groups raise memory access (table 2)",
        "A 1x1 group convolution; more channels with more groups (184 for the paper's 180, which 8 groups do not divide).",
        (
            Case("1 group", _grouped(1), 128, 64, (2451, 1289, 437), (40.0, 10.2, 2.3)),
            Case("2 groups", _grouped(2), 180, 90, (1725, 873, 341), (35.0, 9.5, 2.2)),
            Case("4 groups", _grouped(4), 256, 128, (1026, 644, 338), (32.9, 8.7, 2.1)),
            Case("8 groups", _grouped(8), 360, 184, (634, 445, 230), (27.8, 7.5, 1.8)),
        ),
    ),
    Guideline(
        "G3: fragments leave less to do at the same time (table 3)",
        "1x1 convolutions one after the other or side by side; inner widths chosen for equal multiply-adds.",
        (
            Case("1 fragment", _grouped(1), 128, 64, (2446, 1274, 434), (40.2, 10.1, 2.3)),
            Case("2 in series", _series(2), 128, 64, (1790, 909, 336), (38.6, 10.1, 2.2)),
            Case("4 in series", _series(4), 128, 64, (752, 745, 349), (38.4, 10.1, 2.3)),
            Case("2 in parallel", _parallel(2), 128, 64, (1537, 803, 320), (33.4, 9.1, 2.2)),
            Case("4 in parallel", _parallel(4), 128, 64, (691, 572, 292), (35.0, 8.4, 2.1)),
        ),
    ),
    Guideline(
        "G4: element-wise operations cost time (table 4)",
        "ResNet's bottleneck, with and without its ReLUs and its shortcut.",
        (
            Case("ReLU, shortcut", _bottleneck(True, True), 32, 32, (2427, 2066, 1436), (56.7, 16.9, 5.0)),
            Case("ReLU", _bottleneck(True, False), 32, 32, (2647, 2256, 1735), (61.9, 18.8, 5.2)),
            Case("shortcut", _bottleneck(False, True), 32, 32, (2672, 2121, 1458), (57.3, 18.2, 5.1)),
            Case("neither", _bottleneck(False, False), 32, 32, (2842, 2376, 1782), (66.3, 20.2, 5.4)),
        ),
    ),
)
