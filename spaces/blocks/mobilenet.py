"""The blocks of the MobileNets, MnasNet and EfficientNet."""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks.ops import (
    Cost,
    Size,
    SqueezeExcitation,
    conv_cost,
    conv_norm_act,
    make_divisible,
    squeeze_excitation_cost,
)


class DepthwiseSeparable(nn.Module):
    """A depthwise convolution, then a pointwise one, each with batch normalisation and activation; no shortcut.

    Source: Howard et al., MobileNets (2017), https://arxiv.org/abs/1704.04861, figure 3 (right) and equation 5.

    Args:
        linear: no activation after the pointwise convolution (the first stage of MnasNet).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: int = 3,
        activation: str | None = "relu",
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = conv_norm_act(
            in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=activation
        )
        self.pointwise = conv_norm_act(in_channels, out_channels, activation=None if linear else activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(x))

    @staticmethod
    def cost(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: int = 3,
        activation: str | None = "relu",
        linear: bool = False,
    ) -> Cost:
        """Q (k² C + C O) multiply-adds."""
        depthwise = conv_cost(
            in_channels, in_channels, size, kernel_size, stride, groups=in_channels, activation=activation
        )
        return depthwise + conv_cost(
            in_channels, out_channels, depthwise.size, activation=None if linear else activation
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: expand, filter depthwise, project linearly, add the input where shapes allow.

    Source: Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381, table 1 and figure 4d. The optional
    squeeze-excitation, after the depthwise convolution's activation, is MobileNetV3's.

    Args:
        expand_ratio: hidden / input channels, rounded to whole channels; the expansion is left out where it would not expand.
        squeeze_ratio: squeezed / hidden channels, rounded to a multiple of 8; 0 is no squeeze-excitation.
        activation: of the expansion and the depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        expand_ratio: float = 6,
        kernel_size: int = 3,
        squeeze_ratio: float = 0,
        activation: str | None = "relu6",
    ) -> None:
        super().__init__()
        hidden, squeezed = self.widths(in_channels, expand_ratio, squeeze_ratio)
        if hidden < 1:
            raise ValueError(f"expand_ratio {expand_ratio} leaves none of the {in_channels} channels")
        layers: list[nn.Module] = []
        if hidden != in_channels:
            layers.append(conv_norm_act(in_channels, hidden, activation=activation))
        layers.append(conv_norm_act(hidden, hidden, kernel_size, stride, groups=hidden, activation=activation))
        if squeezed:
            layers.append(SqueezeExcitation(hidden, squeezed, *self.gating(activation)))
        layers.append(conv_norm_act(hidden, out_channels, activation=None))
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return x + self.body(x) if self.residual else self.body(x)

    @staticmethod
    def widths(in_channels: int, expand_ratio: float, squeeze_ratio: float) -> tuple[int, int]:
        """(hidden, squeezed) channels."""
        hidden = round(in_channels * expand_ratio)
        return hidden, make_divisible(hidden * squeeze_ratio) if squeeze_ratio else 0

    @staticmethod
    def gating(activation: str | None) -> tuple[str | None, str]:
        """(inner activation, gate) of the squeeze-excitation in a block of that activation."""
        return "relu", "h_sigmoid"

    @classmethod
    def cost(
        cls,
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        expand_ratio: float = 6,
        kernel_size: int = 3,
        squeeze_ratio: float = 0,
        activation: str | None = "relu6",
    ) -> Cost:
        """P C h + Q (k² h + h O) multiply-adds for h hidden channels, and 2 h z of the gate."""
        hidden, squeezed = cls.widths(in_channels, expand_ratio, squeeze_ratio)
        cost = Cost(0, 0, size)
        if hidden != in_channels:
            cost += conv_cost(in_channels, hidden, size, activation=activation)
        cost += conv_cost(hidden, hidden, size, kernel_size, stride, groups=hidden, activation=activation)
        if squeezed:
            cost += squeeze_excitation_cost(hidden, squeezed, cost.size, cls.gating(activation)[0])
        return cost + conv_cost(hidden, out_channels, cost.size, activation=None)


class MobileNetV3(InvertedResidual):
    """MobileNetV3's bottleneck: as MobileNetV2's, its hidden channels rounded to a multiple of 8.

    Source: Howard et al., Searching for MobileNetV3 (2019), https://arxiv.org/abs/1905.02244, figure 4 and section 5.3. The paper's
    activations are "relu" in the first and "h_swish" in the later stages.
    """

    @staticmethod
    def widths(in_channels: int, expand_ratio: float, squeeze_ratio: float) -> tuple[int, int]:
        """(hidden, squeezed) channels."""
        hidden = make_divisible(in_channels * expand_ratio)
        return hidden, make_divisible(hidden * squeeze_ratio) if squeeze_ratio else 0


class MBConv(InvertedResidual):
    """The mobile bottleneck of MnasNet and EfficientNet: its squeeze-excitation is narrower and gated by a sigmoid.

    Sources: Tan et al., MnasNet (2018), https://arxiv.org/abs/1807.11626, figure 7; Tan and Le, EfficientNet (2019),
    https://arxiv.org/abs/1905.11946, table 1. Their activations are "relu" and "swish".

    Args:
        squeeze_ratio: squeezed channels over those of the block's *input*, rounded down; 0 is no squeeze-excitation.
    """

    @staticmethod
    def widths(in_channels: int, expand_ratio: float, squeeze_ratio: float) -> tuple[int, int]:
        """(hidden, squeezed) channels."""
        return round(in_channels * expand_ratio), max(1, int(in_channels * squeeze_ratio)) if squeeze_ratio else 0

    @staticmethod
    def gating(activation: str | None) -> tuple[str | None, str]:
        """(inner activation, gate) of the squeeze-excitation in a block of that activation."""
        return activation, "sigmoid"
