"""What a block's class may define. Only this file looks for it; all others ask a `Block`.

A block is a plain `nn.Module` with `(in_channels, out_channels, stride, **options)`, registered by `BLOCKS["name"] = Class`.
Nothing else is needed. This one also states what it computes, which makes its price instant, and which option counts channels:

    from torch import nn
    from spaces.operation import Operations


    class Factorized(nn.Module):
        channel_options = ("inner",)  # the width multiplier applies to it

        def __init__(self, in_channels, out_channels, stride=1, *, inner=16, kernel_size=3):
            super().__init__()
            pad = kernel_size // 2
            self.vertical = nn.Conv2d(in_channels, inner, (kernel_size, 1), (stride, 1), (pad, 0), bias=False)
            self.horizontal = nn.Conv2d(inner, out_channels, (1, kernel_size), (1, stride), (0, pad), bias=False)
            self.norm = nn.BatchNorm2d(out_channels)

        def forward(self, x):
            return self.norm(self.horizontal(self.vertical(x))).relu()

        @staticmethod
        def operations(in_channels, out_channels, stride, size, *, inner, kernel_size):
            pad = kernel_size // 2
            ops = Operations(in_channels, size)
            x = ops.convolution("vertical", ops.input, inner, (kernel_size, 1), (stride, 1), padding=(pad, 0))
            x = ops.convolution("horizontal", x, out_channels, (1, kernel_size), (1, stride), padding=(0, pad))
            ops.elementwise("relu", ops.norm("norm", x))
            return ops

A method names the options it depends on. It is given their values, with the constructor's default for those that a network does not
state, so it states no defaults itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from torch import nn

from spaces.operation import Operation
from spaces.sizes import Size

if TYPE_CHECKING:
    from spaces.architecture import Layer

NO_DEFAULT = inspect.Parameter.empty
"""Stands for the default of an option that must be stated."""


@dataclass(frozen=True, eq=False)
class Block:
    """What a block's class defines. Each field but the first three is an attribute or a method of the class, absent from most."""

    make: Callable[..., nn.Module]
    """The class itself."""
    options: dict[str, Any]
    """The constructor's options with their defaults, `NO_DEFAULT` where there is none; `size` is not the user's to state."""
    takes_others: bool
    """Whether the constructor takes options of any name."""
    operations: Callable[..., Sequence[Operation]] | None
    """`operations(in_channels, out_channels, stride, size, **options)`: what it computes for an input of (height, width) `size`, a
    tuple of sizes where it reads several, batch 1. The last operation makes the output; an empty list passes the input on. Costs
    are sums over it, and the widths that can change follow from it (`spaces/width_map.py`). PyTorch counts a block without it."""
    needs_size: bool
    """`needs_size = True`: the constructor takes `size=`, as `operations` does."""
    channel_options: tuple[str, ...]
    """`channel_options = ("inner",)`: options that count channels, so that the width multiplier applies."""
    default_out_channels: Callable[..., int] | None
    """`default_out_channels(in_channels, **options)`: the output's channels where a network states none, else the input's."""
    channel_multiples: Callable[..., tuple[int | Sequence[int], int]] | None
    """`channel_multiples(**options)`: numbers that must divide the input's channels (a tuple of several) and the output's."""

    def build(self, layer: Layer, size: Any) -> nn.Module:
        """The module of a layer that reads maps of `size`; whatever the block raises passes."""
        extra = {"size": size} if self.needs_size else {}
        return self.make(layer.in_channels, layer.out_channels, layer.stride, **extra, **layer.keywords)

    def operations_of(self, layer: Layer, size: Any) -> Sequence[Operation] | None:
        """What a layer that reads maps of `size` computes; None if the block does not state it."""
        if self.operations is None:
            return None
        options = self.arguments(self.operations, layer.keywords)
        return self.operations(layer.in_channels, layer.out_channels, layer.stride, size, **options)

    def arguments(self, method: Callable[..., Any], stated: dict[str, Any]) -> dict[str, Any]:
        """The options that a method of this block takes, by the values stated or else by the constructor's defaults."""
        names = _parameters(method)
        values = self.defaults | stated if stated else self.defaults
        return values if names is None or names >= values.keys() else {n: values[n] for n in values if n in names}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The options that have one, by name."""
        return {name: value for name, value in self.options.items() if value is not NO_DEFAULT}


def output_size(operations: Sequence[Operation], size: Any) -> Size:
    """(height, width) that a block's operations make of inputs of `size`."""
    if operations:
        return operations[-1].out_size
    return size if isinstance(size[0], int) else size[0]


@lru_cache(maxsize=1024)
def read_block(made_by: Any) -> Block:
    """What a class in the table of blocks defines."""
    parameters = list(inspect.signature(made_by).parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return Block(
        made_by,
        {p.name: p.default for p in parameters[3:] if p.kind in named and p.name != "size"},
        any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        getattr(made_by, "operations", None),
        getattr(made_by, "needs_size", False),
        tuple(getattr(made_by, "channel_options", ())),
        getattr(made_by, "default_out_channels", None),
        getattr(made_by, "channel_multiples", None),
    )


@lru_cache(maxsize=1024)
def _parameters(method: Callable[..., Any]) -> frozenset[str] | None:
    """Names of the parameters that can be given by keyword; None where any can."""
    parameters = inspect.signature(method).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
