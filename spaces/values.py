"""Open values: what a search may decide.

Three forms, written in place of a plain value anywhere in a network or a training description:

    {choice: [2, 3, 5]}        {int: [1, 3]}        {float: [1e-3, 1e-1], log: true}

A `name` beside them ties every open value of that name into one decision. An option of a choice may hold open values itself; they
exist only while that option is chosen.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np

from spaces.architecture import freeze
from spaces.checks import is_integer, is_number
from spaces.errors import InputError, did_you_mean

FORMS = ("choice", "int", "float")

MAX_OPTIONS = 1000
"""The most options of a choice: a space is checked by building each of them."""

Value = bool | int | float | str | None
"""A decided value: a number, a switch, or the label of a structured option."""


@dataclass(frozen=True)
class Choice:
    """One of several options, in no order unless all are numbers."""

    options: tuple[Any, ...]
    """Plain values, or structures that may hold open values themselves."""
    name: str | None = None
    """Ties it to the open values of the same name."""

    @cached_property
    def labels(self) -> tuple[Value, ...]:
        """What stands for each option in a decision: the value itself, or a text for a structured one."""
        labels = [_label(option) for option in self.options]
        times = Counter(labels)
        return tuple(f"{label}#{i + 1}" if times[label] > 1 else label for i, label in enumerate(labels))

    @cached_property
    def ordered(self) -> bool:
        """Whether all options are numbers, which have an order."""
        return all(is_number(option) for option in self.options)

    @cached_property
    def _ranks(self) -> dict[Value, int]:
        return {label: rank for rank, label in enumerate(sorted(self.labels) if self.ordered else self.labels)}  # type: ignore[type-var]

    @property
    def num_values(self) -> float:
        """How many values there are."""
        return len(self.options)

    @property
    def num_columns(self) -> int:
        """Columns of its encoding: one where it is ordered or a switch between two, else one an option."""
        return 1 if self.ordered or len(self.options) <= 2 else len(self.options)

    def contains(self, value: Value) -> bool:
        """Whether it is one of the labels."""
        return isinstance(value, Hashable) and value in self._ranks

    def sample(self, rng: np.random.Generator) -> Value:
        """A label, all equally likely."""
        return self.labels[int(rng.random() * len(self.labels))]

    def encode(self, value: Value) -> list[float]:
        """(num_columns,) numbers in [0, 1]: the rank, or one-hot."""
        rank = self._ranks[value]
        if self.num_columns == 1:
            return [rank / max(1, len(self.labels) - 1)]
        return [float(rank == i) for i in range(len(self.labels))]

    def neighbours(self, value: Value, rng: np.random.Generator) -> list[Value]:
        """All other labels."""
        return [label for label in self.labels if label != value]

    def __str__(self) -> str:
        return f"one of {', '.join(map(_text, self.labels))}"


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    name: str | None = None

    num_columns = 1

    @property
    def num_values(self) -> float:
        """How many values there are."""
        return self.high - self.low + 1

    def contains(self, value: Value) -> bool:
        """Whether it is a whole number in the range."""
        return is_integer(value) and self.low <= value <= self.high

    def sample(self, rng: np.random.Generator) -> int:
        """A number, all equally likely."""
        return self.low + int(rng.random() * (self.high - self.low + 1))

    def encode(self, value: Value) -> list[float]:
        """(1,) position in the range, in [0, 1]."""
        assert isinstance(value, int)
        return [(value - self.low) / max(1, self.high - self.low)]

    def neighbours(self, value: Value, rng: np.random.Generator) -> list[Value]:
        """The next lower and the next higher number."""
        assert isinstance(value, int)
        return [near for near in (value - 1, value + 1) if self.low <= near <= self.high]

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Float:
    """A real number from `low` to `high`, uniform or (`log`) uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    name: str | None = None

    num_columns = 1

    @property
    def num_values(self) -> float:
        """How many values there are."""
        return 1 if self.low == self.high else math.inf

    def contains(self, value: Value) -> bool:
        """Whether it is a number in the range."""
        return is_number(value) and self.low <= value <= self.high

    def sample(self, rng: np.random.Generator) -> float:
        """A number, uniform or log-uniform."""
        return self._at(rng.random())

    def encode(self, value: Value) -> list[float]:
        """(1,) position in the range, in [0, 1], on its own scale."""
        assert isinstance(value, int | float)
        if self.low == self.high:
            return [0.0]
        if self.log:
            return [math.log(value / self.low) / math.log(self.high / self.low)]
        return [(value - self.low) / (self.high - self.low)]

    def neighbours(self, value: Value, rng: np.random.Generator) -> list[Value]:
        """Two numbers about a tenth of the range away, one on either side."""
        if self.low == self.high:
            return []
        (position,) = self.encode(value)
        steps = np.abs(rng.normal(0, 0.1, 2)) * (-1, 1)
        return [self._at(min(1.0, max(0.0, position + step))) for step in steps]

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def _at(self, position: float) -> float:
        if self.log:
            value = self.low * (self.high / self.low) ** position
        else:
            value = self.low + (self.high - self.low) * position
        return min(self.high, max(self.low, value))


Domain = Choice | Int | Float


@dataclass(frozen=True)
class Decision:
    """One open value, or all open values tied by one name."""

    name: str
    """Its name, or the path to it: `layers.1.block.shuffle_agg.groups`."""
    domain: Domain


def _label(option: Any) -> Value:
    """A plain option itself; a block's name for a block with options or a whole layer; else the text of a structure."""
    if isinstance(option, dict):
        body = next(iter(option.values()), None)
        if len(option) == 1 and isinstance(body, dict | None):
            return str(next(iter(option)))
        if isinstance(option.get("block"), dict | str):
            return _label(option["block"])
    return _text(option) if isinstance(option, dict | list | Domain) else option


def _text(data: Any) -> str:
    """As it is written in YAML, in one line; of an open value its form."""
    if isinstance(data, dict):
        return f"{{{', '.join(f'{key}: {_text(value)}' for key, value in data.items())}}}"
    if isinstance(data, list):
        return f"[{', '.join(map(_text, data))}]"
    if isinstance(data, Domain):
        return type(data).__name__.lower()
    return data if isinstance(data, str) else json.dumps(data, default=str)


def is_open(data: Any) -> bool:
    """Whether it is written in one of the three forms."""
    return isinstance(data, Mapping) and any(form in data for form in FORMS)


def parse_value(data: Mapping[str, Any], where: str) -> Domain:
    """The open value written as `data`.

    Args:
        data: a mapping with one of the keys choice, int, float.
        where: the key that holds it, for the error.

    Raises:
        InputError: an empty choice, low > high, a log range that touches zero, an unknown key, ...
    """
    forms = [form for form in FORMS if form in data]
    if len(forms) != 1:
        raise InputError(f"{where}: an open value has one of choice, int, float; got {', '.join(forms)}")
    form = forms[0]
    allowed = (form, "name", "log") if form == "float" else (form, "name")
    for key in data:
        if key not in allowed:
            raise InputError(f"{where}: unknown key '{key}' beside {form}{did_you_mean(key, allowed)}")
    name = data.get("name")
    if name is not None and (not isinstance(name, str) or not name):
        raise InputError(f"{where}: name ties open values together and must be a text; got {name!r}")
    if form == "choice":
        return _parse_choice(data["choice"], name, where)
    low, high = _parse_range(data[form], form, where)
    if form == "int":
        return Int(int(low), int(high), name)
    log = data.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{where}: log must be true or false; got {log!r}")
    if log and low <= 0:
        raise InputError(f"{where}: a log range must stay above zero; got [{low}, {high}]")
    return Float(float(low), float(high), log, name)


def _parse_choice(options: Any, name: str | None, where: str) -> Choice:
    if not isinstance(options, list | tuple):
        raise InputError(f"{where}: choice takes a list of options; got {options!r}")
    if not options:
        raise InputError(f"{where}: choice is empty; list at least one option")
    if len(options) > MAX_OPTIONS:
        raise InputError(f"{where}: choice has {len(options):,} options; {MAX_OPTIONS:,} are the most")
    seen: dict[Any, Any] = {}
    for option in options:
        frozen = freeze(option)
        if frozen in seen:  # 1, 1.0 and true are equal
            twin = seen[frozen]
            raise InputError(f"{where}: choice has the equal options {_text(twin)} and {_text(option)}; list each once")
        seen[frozen] = option
    parsed = (parse_tree(option, f"{where}[{i}]") for i, option in enumerate(options))
    return Choice(tuple(parsed), name)


def _parse_range(bounds: Any, form: str, where: str) -> tuple[float, float]:
    fits = is_integer if form == "int" else is_number
    numbers = isinstance(bounds, list | tuple) and len(bounds) == 2
    if not numbers or any(not fits(b) or not math.isfinite(b) for b in bounds):
        whole = "whole " if form == "int" else ""
        raise InputError(f"{where}: {form} takes two {whole}numbers [low, high]; got {bounds!r}")
    low, high = bounds
    if low > high:
        raise InputError(f"{where}: low must not exceed high; got [{low}, {high}]")
    return low, high


def find_open(data: Any, where: str) -> str | None:
    """The path of the first open value in it, None where nothing is open."""
    if is_open(data):
        return where
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list | tuple) else ()
    paths = (find_open(value, f"{where}.{key}" if where else str(key)) for key, value in items)
    return next((path for path in paths if path is not None), None)


def _check_form(data: Mapping[str, Any], where: str) -> None:
    """Raises InputError for an open value whose form is misspelt: elsewhere it would be called no number."""
    others = [key for key in data if key not in ("name", "log")]
    if len(others) != 1 or not isinstance(data[others[0]], list | tuple):
        return
    if get_close_matches(str(others[0]), FORMS, cutoff=0.75):
        raise InputError(f"{where}: unknown key '{others[0]}'{did_you_mean(others[0], FORMS)}")


def parse_tree(data: Any, where: str) -> Any:
    """`data` with every open value in it, at any depth, replaced by its Choice, Int or Float."""
    if is_open(data):
        return parse_value(data, where)
    if isinstance(data, Mapping):
        _check_form(data, where)
        return {key: parse_tree(value, f"{where}.{key}" if where else str(key)) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [parse_tree(value, f"{where}.{i}" if where else str(i)) for i, value in enumerate(data)]
    return data
