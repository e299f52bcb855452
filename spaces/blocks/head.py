"""The classifier at a network's end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spaces.blocks.ops import activate, check_repeated
from spaces.operation import Map, Operations
from spaces.sizes import Size

MAX_BINS = 160**2
"""The most pooled values of one channel; VGG's head pools 7 x 7."""

POOLS = ("avg", "max", "pyramid")


def pool_bins(x: Tensor, bins: int, pool: str) -> Tensor:
    """Maxima or means of `bins` by `bins` parts of the image, overlapping by a pixel where they do not fit.

    The values of PyTorch's adaptive pooling, in operators that can be exported for any size.

    Args:
        x: (N, C, H, W) input.

    Returns:
        (N, C, bins, bins)
    """
    for dim in (2, 3):
        side = x.shape[dim]
        edges = [(i * side // bins, ((i + 1) * side + bins - 1) // bins) for i in range(bins)]
        parts = [x.narrow(dim, start, end - start) for start, end in edges]
        x = torch.stack([part.amax(dim) if pool == "max" else part.mean(dim) for part in parts], dim)
    return x


class BinPool(nn.Module):
    """The values of `pool_bins` for one or several numbers of bins: as many features whatever the input's size.

    Several are a spatial pyramid. Source: He et al., Spatial pyramid pooling in deep convolutional networks (2014),
    https://arxiv.org/abs/1406.4729, figure 3.

    Args:
        levels: bins along a side, level by level.
        pool: "max" or "avg".
    """

    def __init__(self, levels: Sequence[int], pool: str) -> None:
        super().__init__()
        self.levels, self.pool = tuple(levels), pool

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, C Σ level²)."""
        return torch.cat([pool_bins(x, level, self.pool).flatten(1) for level in self.levels], 1)


class GroupedLinear(nn.Module):
    """A fully connected layer in groups that do not see each other: a grouped 1x1 convolution of pooled values."""

    def __init__(self, in_features: int, out_features: int, groups: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C) input. Returns (N, O)."""
        return self.conv(x[:, :, None, None]).flatten(1)


class Head(nn.Module):
    """Pooling, hidden fully connected layers, and the linear layer that gives the logits.

    Written so, VGG's head is `{pool_size: 7, hidden: [4096, 4096], dropout: 0.5}`, MobileNetV3's `{hidden: [1280], activation:
    h_swish, dropout: 0.2}`, DiCENet's `{hidden: [1024], hidden_groups: 4, hidden_bias: false, activation: null, dropout: 0.2}`
    and SqueezeNet's, whose maps are the classes, `{linear: false}`.

    Args:
        pool: "avg", "max", "pyramid" (one network for several input sizes), or None: the maps stay (with `linear` False).
        pool_size: side of the pooled maps (avg, max), whatever the input's.
        levels: bins along a side of each level of the pyramid.
        hidden: widths of the hidden layers.
        hidden_groups: groups of the hidden layers.
        hidden_bias: whether the hidden layers have a bias.
        hidden_norm: batch normalisation after each hidden layer.
        activation: after each hidden layer; None is linear.
        dropout: rate after each hidden layer, or after the pooling where there is none.
        bias: whether the last layer has a bias.
        linear: False leaves out the last layer: what was pooled are the logits.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        pool: str | None = "avg",
        pool_size: int = 1,
        levels: Sequence[int] = (1, 2, 4),
        hidden: Sequence[int] = (),
        hidden_groups: int = 1,
        hidden_bias: bool = True,
        hidden_norm: bool = False,
        activation: str | None = "relu",
        dropout: float = 0.0,
        bias: bool = True,
        linear: bool = True,
    ) -> None:
        super().__init__()
        features = in_channels * _bins(pool, pool_size, levels)
        self._check(features, out_channels, stride, pool, hidden, linear)
        self.pool = _make_pool(pool, pool_size, levels)
        layers: list[nn.Module] = []
        for width in hidden:
            layers.append(_fully_connected(features, width, hidden_groups, hidden_bias))
            if hidden_norm:
                layers.append(nn.BatchNorm1d(width))
            if activation is not None:
                layers.append(activate(activation, width))
            layers.append(nn.Dropout(dropout))
            features = width
        self.hidden = nn.Sequential(*layers or [nn.Dropout(dropout)])
        self.linear = nn.Linear(features, out_channels, bias) if linear else nn.Identity()

    @staticmethod
    def _check(
        features: int, out_channels: int, stride: int, pool: str | None, hidden: Sequence[int], linear: bool
    ) -> None:
        check_repeated("number of hidden layers", len(hidden))
        if out_channels < 1:
            raise ValueError(f"a head needs at least one class, not {out_channels}")
        if stride != 1:
            raise ValueError(f"a head has stride 1, not {stride}")
        if pool is None and linear:
            raise ValueError("a linear layer reads pooled maps: pool null goes with linear false")
        if not linear and hidden:
            raise ValueError(f"hidden layers {list(hidden)} lead to a linear layer: linear false goes without them")
        if not linear and features != out_channels:
            raise ValueError(f"without a linear layer the {features} features are the logits, not {out_channels}")

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, classes) logits; (N, classes, H, W) without pooling."""
        return self.linear(self.hidden(self.pool(x)))

    @staticmethod
    def operations(
        in_channels: int,
        out_channels: int,
        stride: int,
        size: Size,
        *,
        pool: str | None,
        pool_size: int,
        levels: Sequence[int],
        hidden: Sequence[int],
        hidden_groups: int,
        hidden_bias: bool,
        hidden_norm: bool,
        activation: str | None,
        bias: bool,
        linear: bool,
    ) -> Operations:
        """One multiply-add a weight, once per image."""
        check_repeated("number of hidden layers", len(hidden))
        _bins(pool, pool_size, levels)
        ops = Operations(in_channels, size)
        x: Map = ops.input
        if pool == "pyramid" or (pool is not None and pool_size > 1):
            x = ops.bins(x, tuple(levels) if pool == "pyramid" else (pool_size,))
        elif pool is not None:
            x = ops.pool(pool, x, (1, 1))
        path = 0
        for width in hidden:
            name = f"hidden.{path}" if hidden_groups == 1 else f"hidden.{path}.conv"
            x = ops.linear(name, x, width, groups=hidden_groups, bias=hidden_bias)
            if hidden_norm:
                x, path = ops.norm(f"hidden.{path + 1}", x), path + 1
            if activation is not None:
                x, path = ops.activation(f"hidden.{path + 1}", x, activation), path + 1
            path += 2  # a dropout follows
        if linear:
            ops.linear("linear", x, out_channels, bias=bias)
        return ops

    @staticmethod
    def channel_multiples(*, hidden: Sequence[int], hidden_groups: int) -> tuple[int, int]:
        """The groups of the hidden layers divide the input; any number of classes will do."""
        return (hidden_groups if hidden else 1), 1


def _bins(pool: str | None, pool_size: int, levels: Sequence[int]) -> int:
    """Pooled values of one channel."""
    if pool is None:
        return 1
    sides = levels if pool == "pyramid" else [pool_size]
    bins = sum(side * side for side in sides)
    check_repeated("number of pooled bins", bins, MAX_BINS)
    return bins


def _make_pool(pool: str | None, pool_size: int, levels: Sequence[int]) -> nn.Module:
    if pool is None:
        return nn.Identity()
    if pool not in POOLS:
        raise ValueError(f"unknown pool '{pool}'; valid: {', '.join(POOLS)} or null")
    if pool == "pyramid":
        if not levels or min(levels) < 1:
            raise ValueError(f"a pyramid needs levels of at least one bin, not {list(levels)}")
        return BinPool(levels, "max")
    if pool_size > 1:
        return BinPool([pool_size], pool)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1) if pool == "avg" else nn.AdaptiveMaxPool2d(1), nn.Flatten())


def _fully_connected(in_features: int, width: int, groups: int, bias: bool) -> nn.Module:
    for features, which in ((in_features, "features"), (width, "hidden units")):
        if features % groups:
            raise ValueError(f"hidden_groups {groups} do not divide the {features} {which}")
    return nn.Linear(in_features, width, bias) if groups == 1 else GroupedLinear(in_features, width, groups, bias)
