"""Residual units: the basic one and the bottleneck, with all that ResNeXt, ResNet-D and ResNet-RS add to them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import SqueezeExcitation, activate, conv_norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Size, strided


class PadShortcut(nn.Module):
    """Subsamples, and adds channels of zeros (or drops the last ones): the paper's option A, without weights."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def _shortcut(in_channels: int, out_channels: int, stride: int, kind: str) -> nn.Module:
    """The way around a unit: the input itself where the shape stays, else by `kind`.

    Raises:
        ValueError: unknown `kind`.
    """
    if kind not in ("projection", "avg_pool", "pad"):
        raise ValueError(f"unknown shortcut '{kind}'; valid: projection, avg_pool, pad")
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(in_channels, out_channels, stride)
    if kind == "avg_pool" and stride > 1:
        # incomplete windows at the border average what they cover, so that out = ceil(side / stride)
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        return nn.Sequential(pool, conv_norm_act(in_channels, out_channels, activation=None))
    return conv_norm_act(in_channels, out_channels, stride=stride, activation=None)


def _shortcut_operations(ops: Operations, out_channels: int, stride: int, kind: str) -> Map:
    """What `_shortcut` computes."""
    x: Map = ops.input
    if stride == 1 and x.out_channels == out_channels:
        return x
    if kind == "pad":
        return ops.slice(ops.pool("subsample", x, strided(x.out_size, stride)), 0, out_channels)
    if kind == "avg_pool" and stride > 1:
        x = ops.pool("avg", x, strided(x.out_size, stride))
        return ops.conv_norm_act("shortcut.1", x, out_channels, activation=None)
    return ops.conv_norm_act("shortcut", x, out_channels, stride=stride, activation=None)


def _excited(channels: int, squeeze_ratio: float, activation: str | None) -> nn.Module:
    """Squeeze-and-excitation at the end of a unit; nothing at ratio 0."""
    if squeeze_ratio == 0:
        return nn.Identity()
    return SqueezeExcitation(channels, max(1, int(channels * squeeze_ratio)), activation)


def _joined(
    ops: Operations, path: str, body: Map, shortcut: Map, squeeze_ratio: float, activation: str | None
) -> Operations:
    """The end of a unit: `_excited` at `path`, the addition, the activation."""
    if squeeze_ratio:
        squeezed = max(1, int(body.out_channels * squeeze_ratio))
        body = ops.squeeze_excitation(path, body, squeezed, activation, "sigmoid")
    ops.activation("activation", ops.elementwise("add", shortcut, body), activation)
    return ops


class ResNetBasic(nn.Module):
    """Two 3x3 convolutions around which the input is added.

    Source: He et al., Deep residual learning for image recognition (2015), https://arxiv.org/abs/1512.03385, figure 5
    (left).

    Args:
        kernel_size: of both convolutions.
        shortcut: where the shape changes: "projection" (a 1x1 convolution with the stride: option B), "pad" (subsampling
            and zeros: option A), or "avg_pool" (2x2 mean, then 1x1: ResNet-D, He et al., Bag of tricks for image
            classification (2018), https://arxiv.org/abs/1812.01187, figure 2c).
        squeeze_ratio: squeeze-and-excitation after the last normalisation, squeezed / output channels; 0 is none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: int = 3,
        shortcut: str = "projection",
        squeeze_ratio: float = 0,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.shortcut = _shortcut(in_channels, out_channels, stride, shortcut)
        self.body = nn.Sequential(
            conv_norm_act(in_channels, out_channels, kernel_size, stride, activation=activation),
            conv_norm_act(out_channels, out_channels, kernel_size, activation=None),
            _excited(out_channels, squeeze_ratio, activation),
        )
        self.activation = activate(activation, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.activation(self.shortcut(x) + self.body(x))

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: int,
        shortcut: str,
        squeeze_ratio: float,
        activation: str | None,
    ) -> Operations:
        """Q (k² C O + k² O²) multiply-adds, and Q C O for a projection."""
        ops = Operations(in_channels, size)
        way_around = _shortcut_operations(ops, out_channels, stride, shortcut)
        x = ops.conv_norm_act("body.0", ops.input, out_channels, kernel_size, stride, activation=activation)
        x = ops.conv_norm_act("body.1", x, out_channels, kernel_size, activation=None)
        return _joined(ops, "body.2", x, way_around, squeeze_ratio, activation)


def bottleneck_width(out_channels: int, groups: int, base_width: int) -> int:
    """Channels of the k x k convolution: p · base / 64 per group, where p = O / 4 is the paper's width."""
    return max(1, out_channels // 4 * base_width // 64) * groups


class ResNetBottleneck(nn.Module):
    """A 1x1 convolution narrows, a 3x3 filters, a 1x1 widens to four times that; the input is added.

    Source: He et al., Deep residual learning for image recognition (2015), https://arxiv.org/abs/1512.03385, figure 5
    (right). ResNeXt's groups: Xie et al., Aggregated residual transformations for deep neural networks (2016),
    https://arxiv.org/abs/1611.05431, figure 3c. ResNet-RS (Bello et al., Revisiting ResNets (2021),
    https://arxiv.org/abs/2103.07579) has `shortcut: avg_pool` and `squeeze_ratio: 0.25`.

    Args:
        groups: of the k x k convolution (ResNeXt's cardinality).
        base_width: channels per group where the paper's width is 64 (ResNeXt 32x4d: groups 32, base width 4).
        kernel_size: of the middle convolution.
        stride_on: "middle" (the k x k convolution, as frameworks train it: "v1.5") or "first" (the 1x1, as published:
            "v1").
        shortcut: as in `ResNetBasic`.
        squeeze_ratio: squeeze-and-excitation after the last normalisation, squeezed / output channels; 0 is none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        base_width: int = 64,
        kernel_size: int = 3,
        stride_on: str = "middle",
        shortcut: str = "projection",
        squeeze_ratio: float = 0,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        if stride_on not in ("first", "middle"):
            raise ValueError(f"stride_on must be first or middle, not '{stride_on}'")
        width = bottleneck_width(out_channels, groups, base_width)
        first, middle = (stride, 1) if stride_on == "first" else (1, stride)
        self.shortcut = _shortcut(in_channels, out_channels, stride, shortcut)
        self.body = nn.Sequential(
            conv_norm_act(in_channels, width, stride=first, activation=activation),
            conv_norm_act(width, width, kernel_size, middle, groups=groups, activation=activation),
            conv_norm_act(width, out_channels, activation=None),
            _excited(out_channels, squeeze_ratio, activation),
        )
        self.activation = activate(activation, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.activation(self.shortcut(x) + self.body(x))

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        groups: int,
        base_width: int,
        kernel_size: int,
        stride_on: str,
        shortcut: str,
        squeeze_ratio: float,
        activation: str | None,
    ) -> Operations:
        """C w + k² w² / g + w O multiply-adds per pixel of each, and C O for a projection."""
        width = bottleneck_width(out_channels, groups, base_width)
        first, middle = (stride, 1) if stride_on == "first" else (1, stride)
        ops = Operations(in_channels, size)
        way_around = _shortcut_operations(ops, out_channels, stride, shortcut)
        x = ops.conv_norm_act("body.0", ops.input, width, stride=first, activation=activation)
        x = ops.conv_norm_act(
            "body.1", x, width, kernel_size, middle, groups=groups, whole_groups=False, activation=activation
        )
        x = ops.conv_norm_act("body.2", x, out_channels, activation=None)
        return _joined(ops, "body.3", x, way_around, squeeze_ratio, activation)
