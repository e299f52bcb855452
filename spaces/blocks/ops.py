"""The bricks all blocks are made of. What each computes, the method of its name in `spaces.operation.Operations` states."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.sizes import Pair, as_pair, conv_padding

MAX_REPEATED = 200
"""The most times that a block repeats something inside it, such as stacked layers."""


def check_repeated(name: str, times: int, most: int = MAX_REPEATED) -> None:
    """Refuses an option that would make a block of more parts than any code goes through in seconds.

    Raises:
        ValueError: `times` exceeds `most`.
    """
    if times > most:
        raise ValueError(f"{name} {times:,} is too large; {most:,} is the most")


def make_divisible(value: float, divisor: int = 8) -> int:
    """Nearest positive multiple of `divisor` (half rounds up) that does not fall below 0.9 of `value`.

    The rule of MobileNetV2's reference code, used by all its descendants.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


class SymmetricPad2d(nn.Module):
    """Pads for an even kernel without drift: channel i leans towards corner i mod 4.

    An even kernel needs an odd number of extra rows and columns, which no single side can take without moving the image by half a
    pixel. Four directions over the channels cancel out. Source: Wu et al., Convolution with even-sized kernels and symmetric
    padding (2019), https://arxiv.org/abs/1903.08385, section 3.2.

    Args:
        channels: C of the input.
        extra: rows and columns to add in all; an even number is split evenly, as usual.
        mode: what is added: "constant" (zeros) or "replicate" (the edge again), as in `F.pad`.
    """

    def __init__(self, channels: int, extra: tuple[int, int], mode: str = "constant") -> None:
        super().__init__()
        self.channels, self.mode = channels, mode
        rows, columns = extra
        self.corners: list[list[int]] = []
        """(left, right, top, bottom) of each corner."""
        for top in (math.ceil(rows / 2), rows // 2):
            for left in (math.ceil(columns / 2), columns // 2):
                self.corners.append([left, columns - left, top, rows - top])

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, C, H + rows, W + columns)."""
        missing = -self.channels % 4
        if missing:
            x = F.pad(x, (0, 0, 0, 0, 0, missing))
        quarters = x.unflatten(1, (-1, 4)).unbind(2)  # four times (N, C / 4, H, W)
        padded = [F.pad(part, corner, self.mode) for part, corner in zip(quarters, self.corners, strict=True)]
        x = torch.stack(padded, 2).flatten(1, 2)  # (N, C, H + rows, W + columns)
        return x[:, : self.channels] if missing else x


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: Pair = 1,
    stride: Pair = 1,
    *,
    groups: int = 1,
    dilation: Pair = 1,
    padding: Pair | None = None,
    bias: bool = False,
) -> nn.Module:
    """A convolution with out = ceil(side / stride) for odd and even kernels; `padding` (per side) replaces that.

    Raises:
        ValueError: `groups` does not divide both channel counts.
    """
    for channels, which in ((in_channels, "input"), (out_channels, "output")):
        if channels % groups:
            raise ValueError(f"groups {groups} do not divide the {channels} {which} channels")
    extra = conv_padding(kernel_size, dilation)
    centred = padding is not None or (extra[0] % 2 == 0 and extra[1] % 2 == 0)
    if padding is None:
        padding = (extra[0] // 2, extra[1] // 2) if centred else 0
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        as_pair(kernel_size),
        as_pair(stride),
        as_pair(padding),
        as_pair(dilation),
        groups,
        bias,
    )
    return conv if centred else nn.Sequential(SymmetricPad2d(in_channels, extra), conv)


ACTIVATIONS = {
    "relu": lambda channels: nn.ReLU(inplace=True),
    "relu6": lambda channels: nn.ReLU6(inplace=True),
    "h_swish": lambda channels: nn.Hardswish(inplace=True),
    "swish": lambda channels: nn.SiLU(inplace=True),
    "prelu": nn.PReLU,
}
"""Activations by name, made for a number of channels; None is linear."""


def activate(name: str | None, channels: int, *, inplace: bool = True) -> nn.Module:
    """The activation of that name; `channels` matters to the ones that learn (PReLU, one slope a channel).

    One that reads a block's input (pre-activation) must not work in place: others read that input too.
    """
    if name is None:
        return nn.Identity()
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation '{name}'; valid: {', '.join(ACTIVATIONS)} or null")
    activation = ACTIVATIONS[name](channels)
    if hasattr(activation, "inplace"):
        activation.inplace = inplace  # type: ignore[assignment]
    return activation


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: Pair = 1,
    stride: Pair = 1,
    *,
    groups: int = 1,
    dilation: Pair = 1,
    padding: Pair | None = None,
    norm: bool = True,
    eps: float = 1e-5,
    bias: bool | None = None,
    activation: str | None = "relu",
) -> nn.Sequential:
    """Convolution, batch normalisation (`eps` is its own), activation; a bias by default only where no normalisation follows."""
    bias = not norm if bias is None else bias
    layers = [
        conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            groups=groups,
            dilation=dilation,
            padding=padding,
            bias=bias,
        )
    ]
    if norm:
        layers.append(nn.BatchNorm2d(out_channels, eps))
    if activation is not None:
        layers.append(activate(activation, out_channels))
    return nn.Sequential(*layers)


def norm_act(channels: int, activation: str | None = "relu") -> nn.Sequential:
    """Batch normalisation and activation by themselves, as after a concatenation."""
    return nn.Sequential(nn.BatchNorm2d(channels), activate(activation, channels))


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate computed from all channels' means.

    Source: Hu et al., Squeeze-and-excitation networks (2018), https://arxiv.org/abs/1709.01507, figure 1.

    Args:
        channels: C of the input and output.
        squeezed: channels between the two 1x1 convolutions (both with bias).
        activation: between them.
        gate: "sigmoid", or "h_sigmoid" = relu6(x + 3) / 6 (MobileNetV3, GhostNet).
    """

    def __init__(self, channels: int, squeezed: int, activation: str | None = "relu", gate: str = "sigmoid") -> None:
        super().__init__()
        if gate not in ("sigmoid", "h_sigmoid"):
            raise ValueError(f"unknown gate '{gate}'; valid: sigmoid, h_sigmoid")
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.activation = activate(activation, squeezed)
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid() if gate == "h_sigmoid" else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        scale = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return x * self.gate(self.excite(self.activation(self.squeeze(scale))))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Spreads every group's channels over all groups: channel i·n + j goes to j·groups + i, n channels a group.

    Its inverse is the shuffle with n groups. Source: Zhang et al., ShuffleNet (2018), https://arxiv.org/abs/1707.01083, figure 1.

    Args:
        x: (N, C, H, W) input; `groups` divides C.
    """
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


class ChannelShuffle(nn.Module):
    """`channel_shuffle` as a module."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns the same shape."""
        return channel_shuffle(x, self.groups)
