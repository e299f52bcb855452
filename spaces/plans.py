"""One entry of `layers` with every value decided: checked, and its block's options brought into canonical form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from spaces.architecture import Options, freeze, thaw
from spaces.blocks import BLOCKS, block_of
from spaces.blocks.protocol import NO_DEFAULT
from spaces.checks import is_count, is_integer
from spaces.errors import BLOCK_ERRORS, InputError, did_you_mean, reason
from spaces.widths import RULES, Widths, depend_on_width, options_at

LAYER_KEYS = ("block", "channels", "stride", "repeat", "name", "inputs", "width")
# written as a number or a pair of equal numbers, they mean the same
_PAIRS = ("kernel_size", "dilation", "padding")

_GROWTH = {"base", "increment", "period", "position"}

Multiples = tuple[tuple[int, ...], int]
"""Numbers that must divide the channels of each input (or of the first ones), and those of the output."""


@dataclass(frozen=True, eq=False)  # compared by identity, for speed
class LayerPlan:
    """A layer before its channels are multiplied and its repetitions written out."""

    where: str
    """The file and the key that hold it, for errors."""
    block: str
    options: Options
    channels: Any
    """A number, "num_classes", {"at_width": table}, or None for what the block makes of its input."""
    stride: int
    repeat: int | None
    """None where none is stated, which the depth multiplier leaves alone."""
    name: str | None
    inputs: tuple[int | str, ...]
    """What it reads: -1 is the layer before it; names of layers; "image"."""
    width: str
    """How it follows the width multiplier."""
    multiples: Multiples
    by_width: bool
    """Whether the options too depend on the width multiplier."""
    open_channels: bool = False
    open_block: bool = False

    def at(self, widths: Widths) -> LayerPlan:
        """The plan with its options as they are at that width."""
        if not self.by_width:
            return self
        scaled = options_at(self.block, self.options, widths, self.width, self.where)
        options = _without_defaults(self.block, scaled)
        return replace(self, options=options, multiples=_multiples(self.block, options, self.where), by_width=False)


def plan_layer(
    entry: Any, where: str, activation: Any = None, *, open_channels: bool = False, open_block: bool = False
) -> LayerPlan:
    """Checks one decided entry of `layers`.

    Args:
        entry: plain data in the language of network files.
        where: the file and the key that hold it, for errors.
        activation: of every block that has the option and does not state it; None leaves the blocks' own.
        open_channels: whether the number of channels was open, so that it is rounded.
        open_block: whether the block or one of its options was open, so that fixed numbers of channels make room for its groups.

    Raises:
        InputError: an unknown block or option, or a value that no layer can have.
    """
    if not isinstance(entry, Mapping) or "block" not in entry:
        raise InputError(f"{where}: a layer is a mapping with a block, as {{block: conv, channels: 16}}; got {entry!r}")
    block, stated = _block_and_options(entry, where)
    options = _canonical(block, stated, activation, where)
    by_width = depend_on_width(block, options)
    repeat, stride = entry.get("repeat"), entry.get("stride", 1)
    for key, value in (("repeat", 1 if repeat is None else repeat), ("stride", stride)):
        if not is_count(value):
            raise InputError(f"{where}: {key} must be a whole number of at least 1; got {value!r}")
    width, name = entry.get("width", "scaled"), entry.get("name")
    if width not in RULES:
        raise InputError(f"{where}: unknown width '{width}'{did_you_mean(width, RULES)}")
    if name is not None and not isinstance(name, str):
        raise InputError(f"{where}: a name is a text; got {name!r}")
    return LayerPlan(
        where,
        block,
        options,
        _checked_channels(entry.get("channels"), where),
        stride,
        repeat,
        name,
        _checked_inputs(entry.get("inputs", [-1]), where),
        width,
        ((1,), 1) if by_width else _multiples(block, options, where),  # `at` finds those of a width
        by_width,
        open_channels,
        open_block,
    )


def plan_head(head: Any, where: str, activation: Any = None, *, open_block: bool = False) -> LayerPlan:
    """The head as a layer: `channels` is the number of classes."""
    head = {} if head is None else head
    if not isinstance(head, Mapping):
        raise InputError(f"{where}: a head is a mapping of options, as {{pool: avg, dropout: 0.1}}; got {head!r}")
    activation = activation if head.get("hidden") else None  # no other part of a head has one
    entry = {"block": {"head": dict(head)}, "channels": "num_classes"}
    return plan_layer(entry, where, activation, open_block=open_block)


def _block_and_options(entry: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """The block's name and its options: those beside `block`, then those inside it."""
    options = {key: value for key, value in entry.items() if key not in LAYER_KEYS}
    block = entry["block"]
    if isinstance(block, Mapping):
        if len(block) != 1:
            raise InputError(f"{where}.block: names one block, as {{conv: {{kernel_size: 3}}}}; got {block!r}")
        block, inside = next(iter(block.items()))
        if inside is not None and not isinstance(inside, Mapping):
            raise InputError(f"{where}.block.{block}: options are a mapping; got {inside!r}")
        for key in inside or {}:
            if key in LAYER_KEYS:
                raise InputError(f"{where}.block.{block}: '{key}' is no option of a block; it stands beside `block:`")
        options |= dict(inside or {})
    if not isinstance(block, str) or block not in BLOCKS:
        raise InputError(f"{where}.block: unknown block '{block}'{did_you_mean(block, BLOCKS)}")
    return block, options


def _canonical(block: str, options: dict[str, Any], activation: Any, where: str) -> Options:
    """The options without those that equal the default."""
    made = block_of(block)
    known = made.options
    for name in options:
        if name not in known and not made.takes_others:
            raise InputError(
                f"{where}: block '{block}' has no option '{name}'{did_you_mean(name, [*known, *LAYER_KEYS])}"
            )
    for name, default in known.items():
        if name in LAYER_KEYS:
            raise InputError(f"{where}: block '{block}' calls an option '{name}', which is a word of the layer itself")
        if default is NO_DEFAULT and name not in options:
            raise InputError(f"{where}: block '{block}' needs the option '{name}'")
    _check_switches(block, options, where)
    if activation is not None and "activation" in known:
        options = {"activation": activation, **options}
    return _without_defaults(block, ((name, freeze(value)) for name, value in options.items()))


def _check_switches(block: str, options: Mapping[str, Any], where: str) -> None:
    """Refuses true and false for a number, and a number for true and false, as the block's annotations have it."""
    made_by: Any = BLOCKS[block]
    for name, kinds in _annotated(made_by).items():
        value = options.get(name)
        if not isinstance(value, bool | int | float):
            continue
        if isinstance(value, bool) and "bool" not in kinds and kinds & {"int", "float", "Pair"}:
            raise InputError(f"{where}: {name} of block '{block}' is a number; got {value!r}")
        if not isinstance(value, bool) and kinds == {"bool"}:
            raise InputError(f"{where}: {name} of block '{block}' is true or false; got {value!r}")


@lru_cache(maxsize=1024)
def _annotated(made_by: Any) -> dict[str, set[str]]:
    """The words of each parameter's annotation, remembered: reading them takes longer than all else a plan needs."""
    parameters = inspect.signature(made_by).parameters.values()
    return {p.name: set(re.findall(r"\w+", str(p.annotation))) - {"class", "None"} for p in parameters}


def _without_defaults(block: str, options: Any) -> Options:
    """Sorted, in one way of writing each value, without those that equal the block's default."""
    known = block_of(block).options
    kept = []
    for name, value in options:
        default = known.get(name, NO_DEFAULT)
        pair = name in _PAIRS and not isinstance(default, list | tuple) and isinstance(value, tuple)
        if pair and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        same = value == freeze(default) and isinstance(value, bool) == isinstance(default, bool)
        if not same:
            kept.append((name, value))
    return tuple(sorted(kept, key=lambda item: item[0]))


def _multiples(block: str, options: Options, where: str) -> Multiples:
    """What the block's rule says; 1 where it has none."""
    made = block_of(block)
    rule = made.channel_multiples
    if rule is None:
        return (1,), 1
    stated = {name: thaw(value) for name, value in options}
    keywords = made.arguments(rule, stated)
    refused = f"{where}: block '{block}' cannot take { {n: v for n, v in keywords.items() if n in stated} }"
    try:
        into, out = rule(**keywords)
    except BLOCK_ERRORS as error:
        raise InputError(f"{refused}: {reason(error)}") from error
    divisors = tuple(into) if isinstance(into, list | tuple) else (into,)
    if not all(map(is_count, (*divisors, out))):
        raise InputError(f"{refused}: groups are whole numbers of at least 1")
    return divisors, out


def _checked_channels(channels: Any, where: str) -> Any:
    if isinstance(channels, Mapping) and set(channels) == _GROWTH:
        return _grown(**channels, where=where)
    if isinstance(channels, Mapping) and set(channels) == {"at_width"}:
        table = channels["at_width"]
        if isinstance(table, Mapping) and table and all(is_count(count) for count in table.values()):
            return channels
        raise InputError(
            f"{where}: at_width maps width multipliers to channels, as {{0.5: 48, 1.0: 116}}; got {table!r}"
        )
    if channels is None or channels == "num_classes" or is_count(channels):
        return channels
    raise InputError(
        f"{where}: channels must be a whole number of at least 1, num_classes, {{at_width: ...}} or "
        f"{{base: 128, increment: 128, period: 2, position: 0}}; got {channels!r}"
    )


def _grown(base: Any, increment: Any, period: Any, position: Any, where: str) -> int:
    """base + increment · ⌊position / period⌋, by which SqueezeNet's modules grow (section 5.1 of its paper)."""
    if not (is_count(base) and is_count(period) and all(is_count(n) or n == 0 for n in (increment, position))):
        stated = {"base": base, "increment": increment, "period": period, "position": position}
        raise InputError(f"{where}: channels that grow need whole numbers, base and period of at least 1; got {stated}")
    return base + increment * (position // period)


def _checked_inputs(inputs: Any, where: str) -> tuple[int | str, ...]:
    if isinstance(inputs, list | tuple) and inputs and all(isinstance(i, str) or is_count(_negated(i)) for i in inputs):
        return tuple(inputs)
    raise InputError(
        f"{where}: inputs lists names of layers, 'image', or -1, -2, ... for layers before; got {inputs!r}"
    )


def _negated(value: Any) -> Any:
    return -value if is_integer(value) else None
