"""Fire, the module of SqueezeNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks.ops import conv_norm_act
from spaces.operation import Operations
from spaces.sizes import Size


def fire_widths(out_channels: int, squeeze_ratio: float, share_3x3: float) -> tuple[int, int, int]:
    """Channels (squeeze, 1x1 expand, k x k expand); the two expands make up `out_channels`.

    Raises:
        ValueError: the share is no fraction, or the squeeze ratio is not positive.
    """
    if squeeze_ratio <= 0:
        raise ValueError(f"squeeze_ratio must be positive, not {squeeze_ratio}")
    if not 0 <= share_3x3 <= 1:
        raise ValueError(f"share_3x3 must be between 0 and 1, not {share_3x3}")
    wide = int(share_3x3 * out_channels + 0.5)
    return max(1, int(squeeze_ratio * out_channels + 0.5)), out_channels - wide, wide


class Fire(nn.Module):
    """Few 1x1 filters squeeze the maps; 1x1 and 3x3 filters beside each other expand them again.

    Source: Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters (2016),
    https://arxiv.org/abs/1602.07360, figure 1 and section 3.1. The paper has no batch normalisation, so every convolution
    has a bias. Its modules never stride (max pools between them do); a stride given here falls on both expands.

    Args:
        squeeze_ratio: squeeze channels / output channels, the paper's SR (section 5.1).
        share_3x3: share of the output that the spatial filters make, the paper's pct3x3.
        kernel_size: of the spatial filters.
        bypass: add the input where the shapes allow it (figure 2, middle).
        norm: batch normalisation after every convolution; it replaces the biases.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        squeeze_ratio: float = 0.125,
        share_3x3: float = 0.5,
        kernel_size: int = 3,
        bypass: bool = False,
        norm: bool = False,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        squeezed, narrow, wide = fire_widths(out_channels, squeeze_ratio, share_3x3)
        self.squeeze = conv_norm_act(in_channels, squeezed, norm=norm, activation=activation)
        self.expand = nn.ModuleList(
            conv_norm_act(squeezed, channels, k, stride, norm=norm, activation=activation)
            for channels, k in ((narrow, 1), (wide, kernel_size))
            if channels
        )
        self.bypass = bypass and stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        squeezed = self.squeeze(x)
        expanded = torch.cat([expand(squeezed) for expand in self.expand], dim=1)
        return x + expanded if self.bypass else expanded

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        squeeze_ratio: float,
        share_3x3: float,
        kernel_size: int,
        bypass: bool,
        norm: bool,
        activation: str | None,
    ) -> Operations:
        """P C s + Q (s e1 + k² s e3) multiply-adds."""
        squeezed, narrow, wide = fire_widths(out_channels, squeeze_ratio, share_3x3)
        ops = Operations(in_channels, size)
        x = ops.conv_norm_act("squeeze", ops.input, squeezed, norm=norm, activation=activation)
        expands = [(channels, k) for channels, k in ((narrow, 1), (wide, kernel_size)) if channels]
        maps = [
            ops.conv_norm_act(f"expand.{i}", x, channels, k, stride, norm=norm, activation=activation)
            for i, (channels, k) in enumerate(expands)
        ]
        expanded = ops.concat(*maps)
        if bypass and stride == 1 and in_channels == out_channels:
            ops.elementwise("add", expanded, ops.input)
        return ops
