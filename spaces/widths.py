"""What the width multiplier does to a network's counts of channels.

It multiplies and rounds `channels`, and those options of a block that count channels and that it names in `channel_options`. A
published table, `{at_width: {0.5: 48, 1.0: 116}}`, may stand for `channels` or for any value of an option instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.architecture import Options, freeze, thaw
from spaces.blocks import block_of
from spaces.blocks.ops import make_divisible
from spaces.checks import is_integer
from spaces.errors import InputError

RULES = ("scaled", "fixed", "at_least_one")
"""How a layer follows the multiplier: always, never, or only upwards."""


@dataclass(frozen=True)
class Widths:
    """A network's width multiplier and what its products are rounded to."""

    multiplier: float
    divisor: int
    is_open: bool = False
    """Whether the multiplier was open, so that rounding applies at 1.0 too."""

    def factor(self, rule: str) -> float:
        """What a layer of that rule multiplies its counts by."""
        if rule == "fixed":
            return 1.0
        return self.multiplier if rule == "scaled" else max(1.0, self.multiplier)

    def multiplies(self, rule: str) -> bool:
        """Whether a layer of that rule has its counts multiplied and rounded; else they stay as they are written."""
        return self.factor(rule) != 1 or (self.is_open and rule != "fixed")

    def scale(self, count: int, rule: str, where: str, multiple: int = 1) -> int:
        """The multiplied count, rounded to the least common multiple of the divisor and `multiple`.

        Raises:
            InputError: less than one channel is left.
        """
        scaled = count * self.factor(rule)
        if scaled < 1:
            raise InputError(
                f"{where}: width_multiplier {self.multiplier} leaves no channel of {count}; at least {1 / count:.4g}"
            )
        return make_divisible(scaled, math.lcm(self.divisor, multiple))


def depend_on_width(block: str, options: Options) -> bool:
    """Whether some option of the block changes with the width multiplier."""
    counts = block_of(block).channel_options
    return any(name in counts or _has_table(thaw(value)) for name, value in options)


def options_at(block: str, options: Options, widths: Widths, rule: str, where: str) -> Options:
    """The options as they are at a width multiplier.

    Args:
        block: whose options they are.
        options: with tables and unscaled counts.
        widths: the multiplier and the rounding.
        rule: how the layer follows it.
        where: the layer, for errors.
    """
    counts = block_of(block).channel_options
    decided = []
    for name, value in options:
        plain = _look_up(thaw(value), widths.multiplier, where)
        if name in counts and widths.multiplies(rule):
            plain = _scaled(plain, widths, rule, where)
        decided.append((name, freeze(plain)))
    return tuple(decided)


def at_width(table: Mapping[Any, Any], multiplier: float, where: str) -> Any:
    """The entry of a published table.

    Raises:
        InputError: there is none at this width multiplier.
    """
    if multiplier in table:
        return table[multiplier]
    entries = {float(width): entry for width, entry in table.items()}  # a command line may have made its keys texts
    if multiplier not in entries:
        raise InputError(
            f"{where}: no published width at width_multiplier {multiplier}; "
            f"there are {', '.join(f'{width:g}' for width in entries)}"
        )
    return entries[multiplier]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"at_width"}


def _has_table(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_table(value) or any(_has_table(item) for item in value.values())
    return isinstance(value, list) and any(_has_table(item) for item in value)


def _look_up(value: Any, multiplier: float, where: str) -> Any:
    if _is_table(value):
        return at_width(value["at_width"], multiplier, where)
    if isinstance(value, dict):
        return {key: _look_up(item, multiplier, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_look_up(item, multiplier, where) for item in value]
    return value


def _scaled(value: Any, widths: Widths, rule: str, where: str) -> Any:
    if isinstance(value, list):
        return [_scaled(item, widths, rule, where) for item in value]
    return widths.scale(value, rule, where) if is_integer(value) else value
