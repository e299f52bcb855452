"""The SqueezeNext unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from spaces.blocks.ops import activate, conv_norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Size


def _reduced(channels: int, by: int, groups: int) -> int:
    """`channels` / `by`, rounded down to a multiple of `groups` (and never nothing)."""
    return max(groups, channels // by // groups * groups)


def _body(
    in_channels: int, out_channels: int, stride: int, groups: int, kernel_size: int, vertical_first: bool
) -> Iterator[dict[str, Any]]:
    """Arguments of `conv_norm_act` for the five convolutions in a row; the paper's figure 1 (right) is the form with stride 1."""
    # the narrowing unit at the net's entrance reduces twice as much, a strided one half as much
    by = 1 if stride > 1 else 4 if in_channels > out_channels else 2
    half, quarter = _reduced(in_channels, by, groups), _reduced(in_channels, 2 * by, groups)
    spatial = [(kernel_size, 1), (1, kernel_size)] if vertical_first else [(1, kernel_size), (kernel_size, 1)]
    yield {"out_channels": half, "stride": stride, "groups": groups}
    yield {"out_channels": quarter}
    yield {"out_channels": half, "kernel_size": spatial[0], "groups": groups}
    yield {"out_channels": half, "kernel_size": spatial[1], "groups": groups}
    yield {"out_channels": out_channels}


class SqueezeNext(nn.Module):
    """Two 1x1 convolutions squeeze, a 3x1 and a 1x3 filter, a 1x1 expands, and the input is added.

    Source: Gholami et al., SqueezeNext: hardware-aware neural network design (2018), https://arxiv.org/abs/1803.10615,
    figures 1 and 3; the strided and narrowing forms are those of the authors' networks,
    https://github.com/amirgholami/SqueezeNext. All convolutions are followed by batch normalisation and an activation, the
    last one and the shortcut's 1x1 too; after the sum comes one more.

    Args:
        groups: of the first 1x1 and both spatial filters (2 in the paper's G networks).
        kernel_size: k of the k x 1 and 1 x k filters.
        vertical_first: k x 1 before 1 x k; the paper's networks alternate.
        project_input: where the shape changes, the unit reads the projected map instead of its input, and reduces that
            (v5).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        kernel_size: int = 3,
        vertical_first: bool = True,
        project_input: bool = False,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.project: nn.Module = nn.Identity()
        self.project_input = False
        if stride > 1 or in_channels != out_channels:
            self.project = conv_norm_act(in_channels, out_channels, stride=stride, activation=activation)
            if project_input:
                self.project_input, in_channels, stride = True, out_channels, 1
        self.body = nn.Sequential()
        for conv in _body(in_channels, out_channels, stride, groups, kernel_size, vertical_first):
            self.body.append(conv_norm_act(in_channels, **conv, activation=activation))
            in_channels = conv["out_channels"]
        self.activation = activate(activation, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        shortcut = self.project(x)
        return self.activation(shortcut + self.body(shortcut if self.project_input else x))

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        groups: int,
        kernel_size: int,
        vertical_first: bool,
        project_input: bool,
        activation: str | None,
    ) -> Operations:
        """The sum of the unit's convolutions; 2.25 C² P for C = O, stride 1, k = 3 (a 3x3 convolution: 9 C² P)."""
        ops = Operations(in_channels, size)
        x: Map = ops.input
        shortcut: Map = ops.input
        if stride > 1 or in_channels != out_channels:
            shortcut = ops.conv_norm_act("project", x, out_channels, stride=stride, activation=activation)
            if project_input:
                x, in_channels, stride = shortcut, out_channels, 1
        for i, conv in enumerate(_body(in_channels, out_channels, stride, groups, kernel_size, vertical_first)):
            x = ops.conv_norm_act(f"body.{i}", x, **conv, whole_groups=False, activation=activation)
        ops.activation("activation", ops.elementwise("add", shortcut, x), activation)
        return ops

    @staticmethod
    def channel_multiples(*, groups: int, project_input: bool) -> tuple[int, int]:
        """(input, output): the first 1x1 is grouped over the input, or over the projected map of the output's width."""
        return groups, groups if project_input else 1
