"""The plain layers: convolution, pooling, identity, activation, local response normalisation, dropout."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import SymmetricPad2d, activate, check_repeated, conv_norm_act
from spaces.operation import Operations
from spaces.sizes import Pair, Size, strided, window_size


class Conv(nn.Module):
    """A convolution with batch normalisation and activation; out = ceil(side / stride) unless `padding` says otherwise.

    Args:
        kernel_size: one number, or [vertical, horizontal] as in the 1x7 and 7x1 filters of Inception.
        groups: channel groups that do not see each other.
        group_size: input channels of a group, instead of `groups`: 1 is depthwise at any width.
        dilation: distance between the filter's taps.
        padding: rows and columns added on each side; 0 is a "valid" convolution.
        norm: batch normalisation.
        eps: added to the variance in the normalisation.
        bias: None gives one only where no normalisation follows.
        activation: None is linear.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel_size: Pair = 3,
        groups: int = 1,
        group_size: int | None = None,
        dilation: Pair = 1,
        padding: Pair | None = None,
        norm: bool = True,
        eps: float = 1e-5,
        bias: bool | None = None,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        if group_size is not None:
            if groups != 1:
                raise ValueError(f"groups {groups} and group_size {group_size} say the same thing: state one of them")
            if in_channels % group_size:
                raise ValueError(f"group_size {group_size} does not divide the {in_channels} input channels")
            groups = in_channels // group_size
        self.conv = conv_norm_act(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            groups=groups,
            dilation=dilation,
            padding=padding,
            norm=norm,
            eps=eps,
            bias=bias,
            activation=activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.conv(x)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kernel_size: Pair,
        groups: int,
        group_size: int | None,
        dilation: Pair,
        padding: Pair | None,
        norm: bool,
        bias: bool | None,
        activation: str | None,
    ) -> Operations:
        """Q k² C O / g multiply-adds."""
        ops = Operations(in_channels, size)
        ops.conv_norm_act(
            "conv",
            ops.input,
            out_channels,
            kernel_size,
            stride,
            groups=groups if group_size is None else in_channels // group_size,
            dilation=dilation,
            padding=padding,
            norm=norm,
            bias=bias,
            whole_groups=None if group_size is None else True,
            activation=activation,
        )
        return ops

    @staticmethod
    def channel_multiples(*, groups: int, group_size: int | None) -> tuple[int, int]:
        """`groups` divide both sides; a `group_size` divides the input, and the outputs follow the number of groups."""
        return (groups, groups) if group_size is None else (group_size, 1)


def _check_plain(name: str, in_channels: int, out_channels: int, stride: int = 1) -> None:
    """Refuses what a layer without weights cannot do: change the number of channels, or stride."""
    if in_channels != out_channels:
        raise ValueError(f"{name} keeps its {in_channels} channels, it cannot give {out_channels}")
    if stride != 1:
        raise ValueError(f"{name} has stride 1, not {stride}")


class Pool(nn.Module):
    """Maximum or average over windows.

    Without `padding` the output is ceil(side / stride): windows no larger than the stride tile the image (the last ones are
    cut at its edge), larger ones are centred on their pixel. A larger even window leans towards another corner from channel to
    channel, as even filters do, and repeats the edge instead of padding it.

    Args:
        kind: "max" or "avg".
        padding: rows and columns added on each side; the output is then what PyTorch's pooling gives.
        ceil_mode: with `padding`: a last window that only partly covers the image counts too (Caffe, SqueezeNet).
        count_include_pad: an average counts the padding's zeros.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kind: str = "max",
        kernel_size: int = 3,
        padding: int | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        _check_plain("pool", in_channels, out_channels)
        if kind not in ("max", "avg"):
            raise ValueError(f"unknown kind of pool '{kind}'; valid: max, avg")
        if padding is not None and 2 * padding > kernel_size:
            raise ValueError(f"padding {padding} is more than half of the kernel_size {kernel_size}")
        self.pad: nn.Module = nn.Identity()
        if padding is None:
            tiles = kernel_size <= stride
            padding, ceil_mode = (0, True) if tiles else (kernel_size // 2, False)
            if not tiles and kernel_size % 2 == 0:
                self.pad = SymmetricPad2d(in_channels, (kernel_size - 1, kernel_size - 1), mode="replicate")
                padding = 0
        self.pool: nn.Module
        if kind == "max":
            self.pool = nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
        else:
            self.pool = nn.AvgPool2d(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, C, H / stride, W / stride)."""
        return self.pool(self.pad(x))

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        kind: str,
        kernel_size: int,
        padding: int | None,
        ceil_mode: bool,
    ) -> Operations:
        """No multiply-adds, no parameters."""
        ops = Operations(in_channels, size)
        if padding is None:
            ops.pool(kind, ops.input, strided(size, stride), corners=kernel_size > stride and kernel_size % 2 == 0)
        else:
            ops.pool(kind, ops.input, window_size(size, kernel_size, stride, padding, ceil=ceil_mode))
        return ops


class Identity(nn.Module):
    """Passes its input on; a 1x1 projection with batch normalisation where channels or side change.

    Source: He et al., Deep residual learning for image recognition (2015), https://arxiv.org/abs/1512.03385, equation 2 (option B).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.projection: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.projection = conv_norm_act(in_channels, out_channels, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride), or x itself."""
        return self.projection(x)

    @staticmethod
    def operations(in_channels: int, out_channels: int, stride: int, size: Size) -> Operations:
        """Q C O multiply-adds where shapes change, else nothing."""
        ops = Operations(in_channels, size)
        if in_channels != out_channels or stride != 1:
            ops.conv_norm_act("projection", ops.input, out_channels, 1, stride, activation=None)
        return ops


class Activation(nn.Module):
    """An activation by itself, as before the head of networks whose blocks end in a normalisation.

    Args:
        activation: None is linear.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, activation: str | None = "relu"
    ) -> None:
        super().__init__()
        _check_plain("activation", in_channels, out_channels, stride)
        self.activation = activate(activation, out_channels, inplace=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        return self.activation(x)

    @staticmethod
    def operations(
        in_channels: int, out_channels: int, stride: int, size: Size, *, activation: str | None
    ) -> Operations:
        """No multiply-adds; one slope a channel where it learns."""
        ops = Operations(in_channels, size)
        ops.activation("activation", ops.input, activation)
        return ops


class LocalResponseNorm(nn.Module):
    """Divides every value by (bias + alpha Σ x²)^beta, summed over the nearest channels of the same pixel.

    Source: Krizhevsky et al., ImageNet classification with deep convolutional neural networks (2012),
    https://papers.nips.cc/paper/4824, section 3.3. `alpha` is the paper's; PyTorch's and Caffe's is `alpha` times `window`.

    Args:
        window: n of the paper: channels summed over.
        bias: k of the paper.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        window: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 2.0,
    ) -> None:
        super().__init__()
        _check_plain("local_response_norm", in_channels, out_channels, stride)
        check_repeated("window", window)  # PyTorch pads the channels by it
        self.window, self.alpha, self.beta, self.bias = window, alpha, beta, bias

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        return F.local_response_norm(x, self.window, self.alpha * self.window, self.beta, self.bias)

    @staticmethod
    def operations(in_channels: int, out_channels: int, stride: int, size: Size, *, window: int) -> Operations:
        """No multiply-adds, no parameters."""
        check_repeated("window", window)
        ops = Operations(in_channels, size)
        ops.elementwise("local_response_norm", ops.input, fixed="a channel is divided by a sum over its neighbours")
        return ops


class Dropout(nn.Module):
    """Sets values to zero at random while training.

    Source: Srivastava et al., Dropout (2014), https://jmlr.org/papers/v15/srivastava14a.html, section 4.

    Args:
        rate: share of the values that are dropped.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, rate: float = 0.5) -> None:
        super().__init__()
        _check_plain("dropout", in_channels, out_channels, stride)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        return self.dropout(x)

    @staticmethod
    def operations(in_channels: int, out_channels: int, stride: int, size: Size) -> Operations:
        """Nothing outside training."""
        return Operations(in_channels, size)
