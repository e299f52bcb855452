"""GhostNet's module and bottleneck: most maps are made by cheap filters from a few dear ones.

Source: Han et al., GhostNet: More features from cheap operations (2020), https://arxiv.org/abs/1911.11907, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks.ops import SqueezeExcitation, conv_norm_act, make_divisible
from spaces.operation import Map, Operations
from spaces.sizes import Pair, Size


class GhostModule(nn.Module):
    """A convolution makes 1 / ratio of the channels, depthwise filters make the others, their ghosts (equation 3, figure 1b).

    Any number of output channels works: a surplus of ghosts is computed, then cut.

    Args:
        ratio: s of the paper: output / intrinsic channels.
        kernel_size: of the primary convolution.
        cheap_kernel_size: d of the paper, of the filters that make the ghosts.
        activation: after both normalisations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        ratio: int = 2,
        kernel_size: Pair = 1,
        cheap_kernel_size: Pair = 3,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        intrinsic = intrinsic_channels(out_channels, ratio)
        ghosts = intrinsic * (ratio - 1)
        self.out_channels = out_channels
        self.primary = conv_norm_act(in_channels, intrinsic, kernel_size, stride, activation=activation)
        self.cheap = conv_norm_act(intrinsic, ghosts, cheap_kernel_size, groups=intrinsic, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        intrinsic = self.primary(x)
        return torch.cat([intrinsic, self.cheap(intrinsic)], 1)[:, : self.out_channels]

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        ratio: int,
        kernel_size: Pair,
        cheap_kernel_size: Pair,
        activation: str | None,
    ) -> Operations:
        """Q (k² C i + d² i (ratio - 1)) multiply-adds, i = ⌈O / ratio⌉ intrinsic maps."""
        ops = Operations(in_channels, size)
        ghost_operations(ops, "", ops.input, out_channels, kernel_size, stride, ratio, cheap_kernel_size, activation)
        return ops


def ghost_operations(
    ops: Operations,
    path: str,
    x: Map,
    out_channels: int,
    kernel_size: Pair,
    stride: int,
    ratio: int,
    cheap_kernel_size: Pair,
    activation: str | None,
) -> Map:
    """What the `GhostModule` at `path` (empty, or with a dot at its end) computes."""
    intrinsic = intrinsic_channels(out_channels, ratio)
    x = ops.conv_norm_act(path + "primary", x, intrinsic, kernel_size, stride, activation=activation)
    ghosts = intrinsic * (ratio - 1)
    cheap = ops.conv_norm_act(
        path + "cheap", x, ghosts, cheap_kernel_size, groups=intrinsic, whole_groups=True, activation=activation
    )
    return ops.slice(ops.concat(x, cheap), 0, out_channels)


def intrinsic_channels(out_channels: int, ratio: int) -> int:
    """⌈O / ratio⌉: the maps of the primary convolution."""
    if ratio < 2:
        raise ValueError(f"a ghost module needs a ratio of at least 2, not {ratio}")
    return -(-out_channels // ratio)


class GhostBottleneck(nn.Module):
    """Two ghost modules, the first expanding, the second linear; a strided depthwise convolution between them (figure 3).

    The shortcut is the input where shapes agree, else a depthwise and a pointwise convolution.

    Args:
        hidden_channels: between the modules, as the paper's table lists them; None takes `expand_ratio`.
        expand_ratio: hidden / input channels, rounded to a multiple of 4.
        kernel_size: of the strided convolution and the shortcut's; without meaning where there is neither.
        ratio: of both modules.
        cheap_kernel_size: of both modules.
        squeeze_ratio: of squeeze-excitation, of the hidden channels and rounded to a multiple of 4; 0 leaves it out.
        activation: of the first module and in squeeze-excitation.
    """

    channel_options = ("hidden_channels",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        hidden_channels: int | None = None,
        expand_ratio: float = 3,
        kernel_size: Pair = 3,
        ratio: int = 2,
        cheap_kernel_size: Pair = 3,
        squeeze_ratio: float = 0,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        hidden = hidden_channels or make_divisible(expand_ratio * in_channels, 4)
        cheap = {"ratio": ratio, "cheap_kernel_size": cheap_kernel_size}
        layers: list[nn.Module] = [GhostModule(in_channels, hidden, activation=activation, **cheap)]  # type: ignore[arg-type]
        if stride > 1:
            layers.append(conv_norm_act(hidden, hidden, kernel_size, stride, groups=hidden, activation=None))
        if squeeze_ratio:
            squeezed = make_divisible(squeeze_ratio * hidden, 4)
            layers.append(SqueezeExcitation(hidden, squeezed, activation, gate="h_sigmoid"))
        layers.append(GhostModule(hidden, out_channels, activation=None, **cheap))  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                conv_norm_act(in_channels, in_channels, kernel_size, stride, groups=in_channels, activation=None),
                conv_norm_act(in_channels, out_channels, activation=None),
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, O, H / stride, W / stride)."""
        return self.layers(x) + self.shortcut(x)

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        hidden_channels: int | None,
        expand_ratio: float,
        kernel_size: Pair,
        ratio: int,
        cheap_kernel_size: Pair,
        squeeze_ratio: float,
        activation: str | None,
    ) -> Operations:
        """Two ghost modules, and what stands between and beside them."""
        hidden = hidden_channels or make_divisible(expand_ratio * in_channels, 4)
        ops = Operations(in_channels, size)
        x = ghost_operations(ops, "layers.0.", ops.input, hidden, 1, 1, ratio, cheap_kernel_size, activation)
        paths = iter(("layers.1", "layers.2", "layers.3"))
        if stride > 1:
            x = ops.conv_norm_act(next(paths), x, hidden, kernel_size, stride, groups=hidden, activation=None)
        if squeeze_ratio:
            squeezed = make_divisible(squeeze_ratio * hidden, 4)
            x = ops.squeeze_excitation(next(paths), x, squeezed, activation, "h_sigmoid")
        x = ghost_operations(ops, next(paths) + ".", x, out_channels, 1, 1, ratio, cheap_kernel_size, None)
        shortcut: Map = ops.input
        if stride > 1 or in_channels != out_channels:
            shortcut = ops.conv_norm_act(
                "shortcut.0", shortcut, in_channels, kernel_size, stride, groups=in_channels, activation=None
            )
            shortcut = ops.conv_norm_act("shortcut.1", shortcut, out_channels, activation=None)
        ops.elementwise("add", x, shortcut)
        return ops
