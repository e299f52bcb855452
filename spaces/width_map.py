"""Which widths of a block can change, and which width each axis of each of its parameters follows.

All of it follows from the operations that the block states (`spaces/operation.py`). Channels that are added, multiplied or filtered
by a depthwise convolution are kept or cut together; here they are one *channel* of the block, at several positions of several maps.
Some operations treat a channel by its position: group convolutions, shuffles, slices and the padding of even kernels divide a map
into parts. Channels are of one *width* if they have the same origins and lie in the same parts, so that each could take another's
place. How many a smaller block has of each width, its own map says, and where they lie. So its parameters are a slice of the larger
block's, whichever channels of each width are kept. Structured pruning and shared weights slice so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spaces.architecture import Layer
from spaces.blocks import block_of
from spaces.errors import InputError
from spaces.operation import (
    Bins,
    Concat,
    Convolution,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Pool,
    Rearrange,
    Shuffle,
    Slice,
)

CORNERS = 4
"""Directions in which `SymmetricPad2d` pads, by a channel's number."""

NOTHING = -1
"""Stands for a channel of zeros among the numbers of channels."""


class Width(NamedTuple):
    """A number of channels that any of them can be taken from, or that is fixed."""

    channels: int
    fixed: str
    """Why it must stay as it is; empty where it can change."""


class Channel(NamedTuple):
    """One channel of a block."""

    width: str
    number: int
    """Within the width."""


Layout = tuple[Channel, ...]
"""The channels at the positions of a map, or along an axis of a parameter; a channel may lie at several."""


class Parameter(NamedTuple):
    """What the first axes of a parameter or a running statistic follow; the axes of a kernel follow nothing."""

    axes: tuple[Layout, ...]
    """The output's channels, then those of all inputs; none for a single number."""
    groups: int = 1
    """The second axis holds the inputs of one group alone."""


@dataclass(frozen=True, eq=False)
class WidthMap:
    """The widths of a block.

    A width is named after the maps its channels come from: "input", or the path of the module that makes them; "+" joins those that
    are tied. Where operations divide them, [3:0, 5:1] adds that they lie in part 0 of what the operation that makes map 3 divides,
    and in part 1 of what the one that makes map 5 does.
    """

    widths: Mapping[str, Width]
    parameters: Mapping[str, Parameter]
    """By their names in the module's `state_dict`."""
    inputs: tuple[Layout, ...]
    output: Layout

    def positions(self, large: Layout, small: Layout, kept: Mapping[str, Sequence[int]]) -> list[int]:
        """Where the channels of a smaller block's layout lie in the layout of this one.

        Args:
            large: a layout of this map.
            small: the same of the smaller block's map.
            kept: for each width the numbers of the channels that are kept; of a width that is left out, all.
        """
        found: dict[Channel, list[int]] = defaultdict(list)
        for position, channel in enumerate(large):
            found[channel].append(position)
        met: Counter[Channel] = Counter()
        positions = []
        for width, number in small:
            channel = Channel(width, kept[width][number] if width in kept else number)
            positions.append(found[channel][met[channel]])
            met[channel] += 1
        return positions

    def check(self, smaller: WidthMap, kept: Mapping[str, Sequence[int]]) -> None:
        """Refuses to make a smaller block of these channels.

        Raises:
            InputError: the blocks differ in more than widths, or more or fewer channels are kept than the smaller block has.
        """
        if smaller.parameters.keys() != self.parameters.keys() or not smaller.widths.keys() <= self.widths.keys():
            raise InputError("these blocks differ in more than their widths: no slice of one is the other")
        for name, (channels, fixed) in self.widths.items():
            left = smaller.widths[name].channels if name in smaller.widths else 0
            indices = kept.get(name, range(channels if name in smaller.widths else 0))
            if len(indices) != left or len({*indices}) != left:
                raise InputError(
                    f"width {name}: {left} different channels are kept, not {len(indices)}: {list(indices)}"
                )
            if fixed and list(indices) != list(range(channels)):
                raise InputError(f"width {name}: its {channels} channels stay as they are: {fixed}")

    def slice(
        self, state: Mapping[str, Tensor], smaller: WidthMap, kept: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        """The parameters of a smaller block, taken from those of this one.

        Args:
            state: this block's `state_dict`.
            smaller: the map of the smaller block.
            kept: for each width the numbers of the channels that are kept; of a width that is left out, all.

        Raises:
            InputError: as `check`.
        """
        self.check(smaller, kept)
        return {name: self._sliced(state[name], name, small, kept) for name, small in smaller.parameters.items()}

    def _sliced(self, value: Tensor, name: str, small: Parameter, kept: Mapping[str, Sequence[int]]) -> Tensor:
        axes, groups = self.parameters[name]
        if not axes:
            return value.clone()
        rows = torch.tensor(self.positions(axes[0], small.axes[0], kept))
        if len(axes) == 1:
            return value[rows]
        columns = torch.tensor(self.positions(axes[1], small.axes[1], kept)).view(small.groups, -1)
        per_row = columns.repeat_interleave(len(rows) // small.groups, 0)  # (outputs, inputs of a group)
        group = rows * groups // len(axes[0])
        inputs = per_row - (group * (len(axes[1]) // groups))[:, None]
        return value[rows[:, None], inputs]


@lru_cache(maxsize=2**12)
def width_map(layer: Layer, size: Any) -> WidthMap | None:
    """The widths of a layer's block; None if it states no operations. It is derived when it is asked for, not when costs are.

    Args:
        layer: the layer.
        size: as in `spaces.costs.Step`.
    """
    operations = block_of(layer.block).operations_of(layer, size)
    if operations is None:
        return None
    counts = (layer.in_channels,) if isinstance(layer.in_channels, int) else layer.in_channels
    tracer = _Tracer(counts)
    for operation in operations:
        tracer.run(operation)
    return tracer.finish(len(counts))


class _Tracer:
    """Follows channels, by numbers, through operations."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        self._tied_to: list[int] = []
        self._origins: list[str] = []
        self._parts: list[tuple[int, int, int]] = []
        """(channel, map, part)."""
        self._fixed: dict[int, str] = {}
        names = ["input"] if len(in_channels) == 1 else [f"input {i}" for i in range(len(in_channels))]
        self._maps = [self._new(name, count) for name, count in zip(names, in_channels, strict=True)]
        self._parameters: dict[str, tuple[tuple[list[int], ...], int]] = {}

    def run(self, operation: Operation) -> None:
        """Adds the map that an operation makes."""
        maps = [self._maps[number] for number in operation.reads]
        self._maps.append(self._made(operation, maps))

    def _made(self, operation: Operation, maps: list[list[int]]) -> list[int]:
        x = maps[0]
        match operation:
            case Convolution() | Linear():
                return self._weighted(operation, x)
            case Norm(path):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    self._parameters[f"{path}.{name}"] = (x,), 1
                self._parameters[f"{path}.num_batches_tracked"] = (), 1
            case Elementwise():
                return self._elementwise(operation, maps)
            case Pool():
                if operation.corners:
                    self._divide(operation.makes, x, [i % CORNERS for i in range(len(x))])
            case Bins(levels):
                return [channel for level in levels for channel in x for _ in range(level * level)]
            case Concat():
                return [channel for part in maps for channel in part]
            case Slice(start, stop):
                self._divide(operation.makes, x, [int(start <= i < stop) for i in range(len(x))])
                return x[start:stop] + [NOTHING] * (stop - len(x))
            case Shuffle(groups):
                n = len(x) // groups
                self._divide(operation.makes, x, [i // n for i in range(len(x))])
                return [x[i * n + j] for j in range(n) for i in range(groups)]
            case Rearrange(kind, fixed):
                made = self._new(f"{kind} {operation.makes}", operation.out_channels)
                self._fixed |= dict.fromkeys([*x, *made], fixed)
                return made
        return x

    def _weighted(self, operation: Convolution | Linear, x: list[int]) -> list[int]:
        made, groups, path = self._new(operation.path, operation.out_channels), operation.groups, operation.path
        into, out = len(x) // groups, len(made) // groups
        if isinstance(operation, Convolution) and operation.corners:
            path += ".1"
            self._divide(operation.makes, x, [i % CORNERS for i in range(len(x))])
        if isinstance(operation, Convolution) and operation.whole_groups:
            for group in range(groups):
                self._tie([*x[group * into : (group + 1) * into], *made[group * out : (group + 1) * out]])
        elif groups > 1:
            self._divide(operation.makes, x, [i // into for i in range(len(x))])
            self._divide(operation.makes, made, [i // out for i in range(len(made))])
        self._parameters[path + ".weight"] = (made, x), groups
        if operation.bias:
            self._parameters[path + ".bias"] = (made,), 1
        return made

    def _elementwise(self, operation: Elementwise, maps: list[list[int]]) -> list[int]:
        made = []
        for channels in zip(*maps, strict=True):
            some = [channel for channel in channels if channel != NOTHING]
            self._tie(some)
            made.append(some[0] if some else NOTHING)
        if operation.params:
            self._parameters[operation.path + ".weight"] = (made,), 1
        if operation.fixed:
            self._fixed |= dict.fromkeys(made, operation.fixed)
        return made

    def _new(self, origin: str, count: int) -> list[int]:
        start = len(self._tied_to)
        self._tied_to += range(start, start + count)
        self._origins += [origin] * count
        return list(range(start, start + count))

    def _root(self, channel: int) -> int:
        while self._tied_to[channel] != channel:
            channel = self._tied_to[channel]
        return channel

    def _tie(self, channels: Sequence[int]) -> None:
        roots = [self._root(channel) for channel in channels]
        for root in roots:
            self._tied_to[root] = min(roots)

    def _divide(self, number: int, x: Sequence[int], parts: Iterable[int]) -> None:
        self._parts += [(channel, number, part) for channel, part in zip(x, parts, strict=True) if channel != NOTHING]

    def finish(self, num_inputs: int) -> WidthMap:
        """The widths, now that it is known which channels are tied."""
        channels, widths = self._name_channels()

        def layout(x: Sequence[int]) -> Layout:
            return tuple(channels[self._root(number)] if number != NOTHING else Channel("", 0) for number in x)

        parameters = {
            name: Parameter(tuple(layout(axis) for axis in axes), groups)
            for name, (axes, groups) in self._parameters.items()
        }
        inputs = tuple(layout(x) for x in self._maps[:num_inputs])
        return WidthMap(widths, parameters, inputs, layout(self._maps[-1]))

    def _name_channels(self) -> tuple[dict[int, Channel], dict[str, Width]]:
        """The channels by the number of the first of those tied, and their widths."""
        origins: dict[int, Counter[str]] = defaultdict(Counter)
        parts: dict[int, list[tuple[int, int]]] = defaultdict(list)
        fixed: dict[int, str] = {}
        for number, origin in enumerate(self._origins):
            origins[self._root(number)][origin] += 1
        for number, divided, part in self._parts:
            parts[self._root(number)].append((divided, part))
        for number, reason in self._fixed.items():
            fixed[self._root(number)] = reason
        channels: dict[int, Channel] = {}
        members: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        for root in sorted(origins):
            name = "+".join(origin if count == 1 else f"{origin}*{count}" for origin, count in origins[root].items())
            if root in parts:
                name += f"[{', '.join(f'{divided}:{part}' for divided, part in parts[root])}]"
            if root in fixed:
                name += " fixed"
            channels[root] = Channel(name, members[name])
            members[name] += 1
            reasons[name] = fixed.get(root, "")
        return channels, {name: Width(count, reasons[name]) for name, count in members.items()}
