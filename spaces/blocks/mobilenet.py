"""The blocks of the MobileNets, MnasNet and EfficientNet."""

from __future__ import annotations

from torch import Tensor, nn

from spaces.blocks.ops import SqueezeExcitation, conv_norm_act, make_divisible
from spaces.operation import Map, Operations
from spaces.sizes import Size


class DepthwiseSeparable(nn.Module):
    """A depthwise convolution, then a pointwise one, each with batch normalisation and activation; no shortcut.

    Source: Howard et al., MobileNets (2017), https://arxiv.org/abs/1704.04861, figure 3 (right) and equation 5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: int = 3,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.depthwise = conv_norm_act(
            in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=activation
        )
        self.pointwise = conv_norm_act(in_channels, out_channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(x))

    @staticmethod
    def operations(
        in_channels: int, out_channels: int, stride: int, size: Size, *, kernel_size: int, activation: str | None
    ) -> Operations:
        """Q (k² C + C O) multiply-adds."""
        ops = Operations(in_channels, size)
        x = ops.conv_norm_act(
            "depthwise", ops.input, in_channels, kernel_size, stride, groups=in_channels, activation=activation
        )
        ops.conv_norm_act("pointwise", x, out_channels, activation=activation)
        return ops


def skip_connection(kind: str | None, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """What joins a layer's input to its output; None where nothing does, as where the number of channels changes.

    Args:
        kind: "identity" (at stride 1), "pool", which strides too, or None. MnasNet's paper names pooling without its form;
            here it is a 3x3 average.
    """
    if kind not in ("identity", "pool", None):
        raise ValueError(f"unknown skip '{kind}'; valid: identity, pool or null")
    if in_channels != out_channels:
        return None
    if kind == "pool":
        return nn.AvgPool2d(3, stride, padding=1)
    return nn.Identity() if kind == "identity" and stride == 1 else None


def skip_operations(ops: Operations, kind: str | None, body: Map, out_channels: int, stride: int) -> None:
    """What `skip_connection` computes, and the sum with a block's body."""
    x = ops.input
    if kind is None or x.out_channels != out_channels or (kind == "identity" and stride != 1):
        return
    ops.elementwise("add", body, ops.pool("avg", x, body.out_size) if kind == "pool" else x)


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: expand, filter depthwise, project linearly, add the input where shapes allow.

    Source: Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381, table 1 and figure 4d. The optional
    squeeze-excitation, after the depthwise convolution's activation, is MobileNetV3's.

    Args:
        expand_ratio: hidden / input channels, rounded to whole channels; the expansion is left out where it would not expand.
        squeeze_ratio: squeezed / hidden channels, rounded to a multiple of 8; 0 is no squeeze-excitation.
        skip: what is added where the number of channels stays: "identity" (at stride 1), "pool" (a 3x3 average) or None.
        activation: of the expansion and the depthwise convolution.
    """

    eps = 1e-5
    """Of every batch normalisation; the authors of the later networks raise it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        expand_ratio: float = 6,
        kernel_size: int = 3,
        squeeze_ratio: float = 0,
        skip: str | None = "identity",
        activation: str | None = "relu6",
    ) -> None:
        super().__init__()
        hidden, squeezed = self.widths(in_channels, expand_ratio, squeeze_ratio)
        if hidden < 1:
            raise ValueError(f"expand_ratio {expand_ratio} leaves none of the {in_channels} channels")
        layers: list[nn.Module] = []
        if hidden != in_channels:
            layers.append(conv_norm_act(in_channels, hidden, eps=self.eps, activation=activation))
        layers.append(
            conv_norm_act(hidden, hidden, kernel_size, stride, groups=hidden, eps=self.eps, activation=activation)
        )
        if squeezed:
            layers.append(SqueezeExcitation(hidden, squeezed, *self.gating(activation)))
        layers.append(conv_norm_act(hidden, out_channels, eps=self.eps, activation=None))
        self.body = nn.Sequential(*layers)
        self.skip = skip_connection(skip, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.body(x) if self.skip is None else self.skip(x) + self.body(x)

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
    def operations(
        cls,
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        expand_ratio: float,
        kernel_size: int,
        squeeze_ratio: float,
        skip: str | None,
        activation: str | None,
    ) -> Operations:
        """P C h + Q (k² h + h O) multiply-adds for h hidden channels, and 2 h z of the gate."""
        hidden, squeezed = cls.widths(in_channels, expand_ratio, squeeze_ratio)
        ops = Operations(in_channels, size)
        x: Map = ops.input
        paths = iter(("body.0", "body.1", "body.2", "body.3"))
        if hidden != in_channels:
            x = ops.conv_norm_act(next(paths), x, hidden, activation=activation)
        x = ops.conv_norm_act(next(paths), x, hidden, kernel_size, stride, groups=hidden, activation=activation)
        if squeezed:
            x = ops.squeeze_excitation(next(paths), x, squeezed, *cls.gating(activation))
        x = ops.conv_norm_act(next(paths), x, out_channels, activation=None)
        skip_operations(ops, skip, x, out_channels, stride)
        return ops


class MobileNetV3(InvertedResidual):
    """MobileNetV3's bottleneck: as MobileNetV2's, its hidden channels rounded to a multiple of 8.

    Source: Howard et al., Searching for MobileNetV3 (2019), https://arxiv.org/abs/1905.02244, figure 4 and section 5.3. The paper's
    activations are "relu" in the first and "h_swish" in the later stages.
    """

    eps = 1e-3

    @staticmethod
    def widths(in_channels: int, expand_ratio: float, squeeze_ratio: float) -> tuple[int, int]:
        """(hidden, squeezed) channels."""
        hidden = make_divisible(in_channels * expand_ratio)
        return hidden, make_divisible(hidden * squeeze_ratio) if squeeze_ratio else 0


def squeezed_channels(in_channels: int, squeeze_ratio: float) -> int:
    """Channels of MnasNet's gate: a share of those of the layer's input, rounded down but never none; 0 at ratio 0."""
    return max(1, int(in_channels * squeeze_ratio)) if squeeze_ratio else 0


class MBConv(InvertedResidual):
    """The mobile bottleneck of MnasNet and EfficientNet: its squeeze-excitation is narrower and gated by a sigmoid.

    Sources: Tan et al., MnasNet (2018), https://arxiv.org/abs/1807.11626, figure 7; Tan and Le, EfficientNet (2019),
    https://arxiv.org/abs/1905.11946, table 1. Their activations are "relu" and "swish".

    Args:
        squeeze_ratio: squeezed channels over those of the block's *input*, rounded down; 0 is no squeeze-excitation.
    """

    eps = 1e-3

    @staticmethod
    def widths(in_channels: int, expand_ratio: float, squeeze_ratio: float) -> tuple[int, int]:
        """(hidden, squeezed) channels."""
        return round(in_channels * expand_ratio), squeezed_channels(in_channels, squeeze_ratio)

    @staticmethod
    def gating(activation: str | None) -> tuple[str | None, str]:
        """(inner activation, gate) of the squeeze-excitation in a block of that activation."""
        return activation, "sigmoid"


class MnasNetConv(nn.Module):
    """The regular convolution among the operations of MnasNet's search space: gated and skipped like its bottleneck.

    Its depthwise-separable convolution is `MBConv` with expand_ratio 1.

    Source: Tan et al., MnasNet (2018), https://arxiv.org/abs/1807.11626, section 4.1.

    Args:
        squeeze_ratio: as in `MBConv`.
        skip: as in `InvertedResidual`.
        activation: after the normalisation, and inside the squeeze-excitation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: int = 3,
        squeeze_ratio: float = 0,
        skip: str | None = "identity",
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.body = conv_norm_act(in_channels, out_channels, kernel_size, stride, eps=MBConv.eps, activation=activation)
        if squeeze_ratio:
            self.body.append(SqueezeExcitation(out_channels, squeezed_channels(in_channels, squeeze_ratio), activation))
        self.skip = skip_connection(skip, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.body(x) if self.skip is None else self.skip(x) + self.body(x)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: int,
        squeeze_ratio: float,
        skip: str | None,
        activation: str | None,
    ) -> Operations:
        """Q k² C O multiply-adds, and 2 O z of the gate."""
        ops = Operations(in_channels, size)
        x = ops.conv_norm_act("body", ops.input, out_channels, kernel_size, stride, activation=activation)
        if squeeze_ratio:
            path = "body.2" if activation is None else "body.3"
            x = ops.squeeze_excitation(path, x, squeezed_channels(in_channels, squeeze_ratio), activation, "sigmoid")
        skip_operations(ops, skip, x, out_channels, stride)
        return ops
