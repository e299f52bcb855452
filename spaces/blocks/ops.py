"""The bricks all blocks are made of, each beside its exact cost.

Costs count what this field's papers count: one multiply-add for every weight that meets a pixel in a convolution or a linear
layer. Normalisation, activations, pooling, additions, shuffles and biases cost nothing; their parameters are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.checks import is_integer

Size = tuple[int, int]
"""(height, width) in pixels."""

Pair = int | tuple[int, int] | list[int]
"""One number for both directions, or (vertical, horizontal)."""


class Cost(NamedTuple):
    """The exact cost of one forward pass with batch 1; `a + b` is the cost of a followed by b."""

    flops: int
    """Multiply-adds of convolutions and linear layers."""
    params: int
    """Number of weights, biases and affine parameters; running statistics are none."""
    size: Size
    """(height, width) of the output."""
    accesses: int | None = None
    """Values that convolutions and linear layers read and write: input map, weights without biases, output map. None where there
    are multiply-adds: not stated, to be found by running it."""

    def __add__(self, after: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.flops + after.flops, self.params + after.params, after.size, _accesses((self, after)))


def beside(costs: Sequence[Cost], size: Size) -> Cost:
    """The cost of parts whose outputs meet at `size`."""
    return Cost(sum(c.flops for c in costs), sum(c.params for c in costs), size, _accesses(costs))


def _accesses(costs: Iterable[Cost]) -> int | None:
    total = 0
    for cost in costs:
        if cost.accesses is not None:
            total += cost.accesses
        elif cost.flops:
            return None
    return total


def as_pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a number or a pair.

    Raises:
        ValueError: it is neither.
    """
    if is_integer(value):
        return value, value
    pair = (value,) if isinstance(value, int) else tuple(value)  # true is no number
    if len(pair) != 2 or not all(map(is_integer, pair)):
        raise ValueError(f"a whole number or a pair of them is needed, not {value!r}")
    return pair


def kernel_sides(kernel_size: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a filter.

    Raises:
        ValueError: a side is below one.
    """
    sides = as_pair(kernel_size)
    if min(sides) < 1:
        raise ValueError(f"kernel_size must be at least 1, not {kernel_size}")
    return sides


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


def conv_padding(kernel_size: Pair, dilation: Pair = 1) -> tuple[int, int]:
    """Rows and columns by which a convolution grows its input in all, so that out = ceil(side / stride)."""
    (k_h, k_w), (d_h, d_w) = kernel_sides(kernel_size), as_pair(dilation)
    return d_h * (k_h - 1), d_w * (k_w - 1)


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


def activation_params(name: str | None, channels: int) -> int:
    """Parameters of `activate(name, channels)`."""
    return channels if name == "prelu" else 0


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


class Convolution(NamedTuple):
    """The shape of one convolution."""

    in_channels: int
    out_channels: int
    groups: int
    kernel: tuple[int, int]
    size: Size
    """(height, width) of its input."""
    out_size: Size


_noting: list[list[Convolution]] = []


@contextmanager
def noting_convolutions() -> Iterator[list[Convolution]]:
    """A list of the convolutions that `conv_cost` prices meanwhile: of what a block's `cost` is the sum."""
    noted: list[Convolution] = []
    _noting.append(noted)
    try:
        yield noted
    finally:
        _noting.remove(noted)


def conv_cost(
    in_channels: int,
    out_channels: int,
    size: Size,
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
) -> Cost:
    """Cost of `conv_norm_act` with the same arguments on an input of `size`: Q k² C O / g multiply-adds, Q output pixels."""
    k_h, k_w = kernel_sides(kernel_size)
    out = strided(size, stride) if padding is None else window_size(size, kernel_size, stride, padding, dilation)
    weights = k_h * k_w * in_channels * out_channels // groups
    bias = not norm if bias is None else bias
    params = weights + (2 * norm + bias) * out_channels + activation_params(activation, out_channels)
    accesses = in_channels * size[0] * size[1] + weights + out_channels * out[0] * out[1]
    for noted in _noting:
        noted.append(Convolution(in_channels, out_channels, groups, (k_h, k_w), size, out))
    return Cost(out[0] * out[1] * weights, params, out, accesses)


def norm_act(channels: int, activation: str | None = "relu") -> nn.Sequential:
    """Batch normalisation and activation by themselves, as after a concatenation."""
    return nn.Sequential(nn.BatchNorm2d(channels), activate(activation, channels))


def norm_act_cost(channels: int, size: Size, activation: str | None = "relu") -> Cost:
    """Cost of `norm_act` on maps of `size`: parameters only."""
    return Cost(0, 2 * channels + activation_params(activation, channels), size)


def strided(size: Size, stride: Pair) -> Size:
    """(height, width) after a stride: ceil(side / stride)."""
    (height, width), (s_h, s_w) = size, as_pair(stride)
    return -(-height // s_h), -(-width // s_w)


def window_size(
    size: Size, kernel_size: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1, ceil: bool = False
) -> Size:
    """(height, width) after a convolution or pooling with explicit `padding` per side, as PyTorch computes it."""
    sides = []
    for side, k, s, p, d in zip(
        size, as_pair(kernel_size), as_pair(stride), as_pair(padding), as_pair(dilation), strict=True
    ):
        reach = side + 2 * p - d * (k - 1) - 1
        steps = -(-reach // s) if ceil else reach // s
        # a last window that would start in the padding behind the image is left out
        if ceil and steps * s >= side + p:
            steps -= 1
        sides.append(steps + 1)
    return sides[0], sides[1]


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


def squeeze_excitation_cost(channels: int, squeezed: int, size: Size, activation: str | None = "relu") -> Cost:
    """Cost of `SqueezeExcitation` on maps of `size`: 2 C z, once per image."""
    weights = 2 * channels * squeezed
    params = weights + channels + squeezed + activation_params(activation, squeezed)
    return Cost(weights, params, size, 2 * (channels + squeezed) + weights)


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
