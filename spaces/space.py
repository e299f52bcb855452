"""A search space: a description with some values left open."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spaces.architecture import Architecture
from spaces.costs import build_block, input_sizes, layer_costs
from spaces.decoding import LayerPlan, assemble, check_network_keys, plan_head, plan_layer
from spaces.errors import InputError
from spaces.values import Choice, Domain, Value, parse_tree

Decisions = dict[str, Value]
"""A value for every decision that is active, by name."""

_MAX_PLANS = 20_000


@dataclass(frozen=True)
class Decision:
    """One open value, or all open values tied by one name."""

    name: str
    """Its name, or the path to it: `layers.1.block.shuffle_agg.groups`."""
    domain: Domain


@dataclass(frozen=True)
class Candidate:
    """One point of a space: what was decided, and what follows from it."""

    decisions: Decisions
    architecture: Architecture
    hyperparameters: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that equal networks with equal hyperparameters share."""
        text = self.architecture.digest + json.dumps(self.hyperparameters, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SearchSpace:
    """All networks, and ways to train them, that a description with open values leaves possible.

    Args:
        description: a network in the language of `conf/network/`, with any value open.
        hyperparameters: a training description, with any value open; its decisions are named `train.<key>`.
        in_channels: channels of the image; None takes the description's.
        num_classes: classes; None takes the description's.
        resolution: native side or (height, width) of the image in pixels; None takes the description's.
        source: what to call the description in errors, usually its file.

    Raises:
        InputError: anything in the description that is not right.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        hyperparameters: Mapping[str, Any] | None = None,
        *,
        in_channels: int | None = None,
        num_classes: int | None = None,
        resolution: int | tuple[int, int] | None = None,
        source: str = "space",
    ) -> None:
        check_network_keys(description, source)
        given = {"in_channels": in_channels, "num_classes": num_classes, "resolution": resolution}
        described = {**description, **{key: value for key, value in given.items() if value is not None}}
        self.source = source
        layers = described.pop("layers")
        self._decisions: dict[str, Decision] = {}
        self._layers = [
            _LayerTemplate(self._compile(e, f"layers.{i}"), f"{source}: layers.{i}") for i, e in enumerate(layers)
        ]
        self._head = _LayerTemplate(self._compile(described.pop("head", None), "head"), f"{source}: head", is_head=True)
        described.pop("published", None)
        self._settings = self._compile(described, "")
        self._open_width = isinstance(self._settings.children.get("width_multiplier"), _Open)
        self._train = self._compile(dict(hyperparameters or {}), "train")

    def _compile(self, data: Any, path: str) -> _Node:
        try:
            return _compile(parse_tree(data, path), path, self._decisions)
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from error

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision of the space, also those that exist only under some choice."""
        return tuple(self._decisions.values())

    @cached_property
    def size(self) -> float:
        """Number of different sets of decisions; inf where a real number is open."""
        roots = [self._settings, *(layer.tree for layer in self._layers), self._head.tree, self._train]
        return _count_all(roots)

    def decide(self, choose: Callable[[Decision], Value]) -> Decisions:
        """Asks `choose` for every decision that is active, each once; an open value inside an option after that option."""
        decided: Decisions = {}

        def ask(decision: Decision) -> Value:
            if decision.name not in decided:
                decided[decision.name] = choose(decision)
            return decided[decision.name]

        for tree in (self._settings, *(layer.tree for layer in self._layers), self._head.tree, self._train):
            tree.visit(ask)
        return decided

    def sample(self, rng: np.random.Generator) -> Decisions:
        """Random decisions: every option of an active decision equally likely."""
        return self.decide(lambda decision: decision.domain.sample(rng))

    def candidate(self, decisions: Mapping[str, Value]) -> Candidate:
        """The architecture and hyperparameters of some decisions; those that are inactive are dropped.

        Raises:
            InputError: an active decision is missing or its value not in its domain; the network cannot be assembled.
        """
        active: Decisions = {}

        def look_up(decision: Decision) -> Value:
            name = decision.name
            if name not in active:
                if name not in decisions:
                    raise InputError(f"{self.source}: no value for the decision '{name}'")
                if not decision.domain.contains(decisions[name]):
                    raise InputError(f"{self.source}: {name} cannot be {decisions[name]!r}; it is {decision.domain}")
                active[name] = decisions[name]
            return active[name]

        settings = self._settings.fill(look_up)
        activation = settings.get("activation")
        plans = [layer.plan(look_up, activation) for layer in (*self._layers, self._head)]
        architecture = assemble(settings, plans, self.source, open_width=self._open_width)
        return Candidate(active, architecture, self._train.fill(look_up))

    def random(self, rng: np.random.Generator) -> Candidate:
        """A random candidate."""
        return self.candidate(self.sample(rng))

    def neighbours(self, decisions: Decisions, rng: np.random.Generator) -> list[Decisions]:
        """Decisions that differ in one active decision; what such a change newly activates is drawn at random."""
        near = []
        for name, value in decisions.items():
            for other in self._decisions[name].domain.neighbours(value, rng):
                near.append(self.complete({**decisions, name: other}, rng))
        return near

    def complete(self, decisions: Mapping[str, Value], rng: np.random.Generator) -> Decisions:
        """Those decisions that are active, and random ones where active decisions have no value."""
        return self.decide(lambda d: decisions[d.name] if d.name in decisions else d.domain.sample(rng))

    @cached_property
    def _columns(self) -> dict[str, int]:
        """First column of every decision in the encoding, which starts with whether it is active where that can change."""
        starts, column = {}, 0
        for decision in self.decisions:
            starts[decision.name] = column
            column += decision.domain.num_columns
        return starts

    @property
    def num_columns(self) -> int:
        """d, the length of an encoding."""
        return sum(decision.domain.num_columns for decision in self.decisions)

    def encode(self, decisions: Decisions) -> np.ndarray:
        """(d,) numbers in [0, 1]: ordered decisions by position, others one-hot; inactive ones 0.5 and all zeros."""
        row = np.zeros(self.num_columns)
        for name, decision in self._decisions.items():
            start, domain = self._columns[name], decision.domain
            if name in decisions:
                row[start : start + domain.num_columns] = domain.encode(decisions[name])
            elif domain.num_columns == 1:
                row[start] = 0.5
        return row

    def check(self, seed: int = 0) -> None:
        """Builds, on the meta device, at least one architecture with every option of every decision.

        Raises:
            InputError: one of them cannot be built.
        """
        seen = set()
        for candidate in self.coverage(seed):
            architecture = candidate.architecture
            sizes = [architecture.resolution]
            for position, (layer, layer_cost) in enumerate(
                zip(architecture.layers, layer_costs(architecture), strict=True)
            ):
                size = input_sizes(layer, position, sizes)
                sizes.append(layer_cost.size)
                if (layer, size) not in seen:
                    seen.add((layer, size))
                    _check_block(layer, size, f"{self.source}: layer {position} ({layer.block})")

    def coverage(self, seed: int = 0) -> Iterator[Candidate]:
        """Candidates that together hold both ends of every range and every option of every choice."""
        rng = np.random.default_rng(seed)
        wanted: Counter[tuple[str, Value]] = Counter()
        for decision in self.decisions:
            domain = decision.domain
            ends = domain.labels if isinstance(domain, Choice) else (domain.low, domain.high)
            wanted.update((decision.name, end) for end in ends)
        tries = 0
        while wanted and tries < 50 * len(self.decisions) + 50:
            tries += 1
            decisions = self.decide(lambda d: self._most_wanted(d, wanted, rng))
            hits = [item for item in decisions.items() if item in wanted]
            for item in hits:
                del wanted[item]
            if hits:
                yield self.candidate(decisions)
        yield self.random(rng)

    @staticmethod
    def _most_wanted(decision: Decision, wanted: Mapping[Any, int], rng: np.random.Generator) -> Value:
        missing = [value for name, value in wanted if name == decision.name]
        # now and then another one, since what is missing may lie below an option that has been seen
        if missing and rng.uniform() < 0.8:
            return missing[int(rng.integers(len(missing)))]
        return decision.domain.sample(rng)


def _check_block(layer: Any, size: Any, where: str) -> None:
    import torch

    try:
        with torch.device("meta"):
            build_block(layer, size)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error


class _LayerTemplate:
    """An entry of `layers` that remembers what each set of its decisions makes of it."""

    def __init__(self, tree: _Node, where: str, *, is_head: bool = False) -> None:
        self.tree = tree
        self.where = where
        self.is_head = is_head
        children = tree.children
        self.open_channels = isinstance(children.get("channels"), _Open)
        self.open_block = any(c.is_open for key, c in children.items() if key not in ("channels", "repeat", "stride"))
        self._plans: dict[tuple[Any, ...], LayerPlan] = {}

    def plan(self, choose: Callable[[Decision], Value], activation: Any) -> LayerPlan:
        values: list[Any] = [activation]

        def note(decision: Decision) -> Value:
            value = choose(decision)
            values.append(value)
            return value

        self.tree.visit(note)
        key = tuple(values)
        plan = self._plans.get(key)
        if plan is None:
            filled = self.tree.fill(choose)
            if self.is_head:
                plan = plan_head(filled, self.where, activation)
            else:
                plan = plan_layer(
                    filled, self.where, activation, open_channels=self.open_channels, open_block=self.open_block
                )
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan


class _Node:
    """A part of a description: fixed data, a container of parts, or an open value."""

    is_open = False
    children: Mapping[str, _Node] = {}

    def visit(self, choose: Callable[[Decision], Value]) -> None:
        """Asks for every active decision in it."""

    def fill(self, choose: Callable[[Decision], Value]) -> Any:
        """Plain data with every open value decided."""
        raise NotImplementedError

    def count(self) -> Counter[frozenset[_Open]]:
        """Sets of decisions in it: for each set of tied values that occur, in how many ways the others can be decided."""
        return Counter({frozenset(): 1})


class _Fixed(_Node):
    def __init__(self, data: Any) -> None:
        self.data = data

    def fill(self, choose: Callable[[Decision], Value]) -> Any:
        return self.data


class _Container(_Node):
    is_open = True

    def __init__(self, children: dict[str, _Node], *, is_list: bool) -> None:
        self.children = children
        self.is_list = is_list
        self.open_children = [child for child in children.values() if child.is_open]

    def visit(self, choose: Callable[[Decision], Value]) -> None:
        for child in self.open_children:
            child.visit(choose)

    def fill(self, choose: Callable[[Decision], Value]) -> Any:
        filled = {key: child.fill(choose) for key, child in self.children.items()}
        return list(filled.values()) if self.is_list else filled

    def count(self) -> Counter[frozenset[_Open]]:
        return _product(child.count() for child in self.open_children)


class _Open(_Node):
    is_open = True

    def __init__(self, decision: Decision, options: dict[Value, _Node] | None) -> None:
        self.decision = decision
        self.options = options
        self.tied = decision.domain.name is not None

    def visit(self, choose: Callable[[Decision], Value]) -> None:
        value = choose(self.decision)
        if self.options is not None and self.options[value].is_open:
            self.options[value].visit(choose)

    def fill(self, choose: Callable[[Decision], Value]) -> Any:
        value = choose(self.decision)
        return value if self.options is None else self.options[value].fill(choose)

    def count(self) -> Counter[frozenset[_Open]]:
        return Counter({frozenset([self]): 1}) if self.tied else self.count_inside()

    def count_inside(self) -> Counter[frozenset[_Open]]:
        """As `count`, of the value itself."""
        if self.options is None:
            return Counter({frozenset(): self.decision.domain.num_values})
        total: Counter[frozenset[_Open]] = Counter()
        for option in self.options.values():
            total.update(option.count())
        return total

    # all open values of one name are one decision
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Open) and self.decision == other.decision

    def __hash__(self) -> int:
        return hash(self.decision.name)


def _product(counts: Any) -> Counter[frozenset[_Open]]:
    total: Counter[frozenset[_Open]] = Counter({frozenset(): 1})
    for count in counts:
        grown: Counter[frozenset[_Open]] = Counter()
        for left, a in total.items():
            for right, b in count.items():
                grown[left | right] += a * b
        total = grown
    return total


def _count_all(roots: list[_Node]) -> float:
    """Different sets of decisions, each tied value counted once wherever it occurs."""
    pending = [(tied, frozenset[_Open](), ways) for tied, ways in _product(root.count() for root in roots).items()]
    total: float = 0
    while pending:
        tied, done, ways = pending.pop()
        left = tied - done
        if not left:
            total += ways
            continue
        value = next(iter(left))
        for more, times in value.count_inside().items():
            pending.append((tied | more, done | {value}, ways * times))
    return total if math.isinf(total) else int(total)


def _compile(data: Any, path: str, decisions: dict[str, Decision]) -> _Node:
    """The node of parsed data; adds what it leaves open to `decisions`."""
    if isinstance(data, Domain):
        return _compile_open(data, path, decisions)
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        children = {str(key): _compile(value, f"{path}.{key}" if path else str(key), decisions) for key, value in items}
        container = _Container(children, is_list=isinstance(data, list))
        if container.open_children:
            return container
        fixed = _Fixed(data)
        fixed.children = children
        return fixed
    return _Fixed(data)


def _compile_open(domain: Domain, path: str, decisions: dict[str, Decision]) -> _Open:
    name = domain.name or path
    decision = decisions.setdefault(name, Decision(name, domain))
    if decision.domain != domain:
        raise InputError(f"{path}: tied values of the name '{name}' differ: {domain} and {decision.domain}")
    if not isinstance(domain, Choice):
        return _Open(decision, None)
    options: dict[Value, _Node] = {}
    for label, option in zip(domain.labels, domain.options, strict=True):
        inside = f"{name}.{label}"
        if isinstance(option, dict) and len(option) == 1:
            ((key, body),) = option.items()
            inner = _compile(body, inside, decisions)
            options[label] = _Container({key: inner}, is_list=False) if inner.is_open else _Fixed(option)
        else:
            options[label] = _compile(option, inside, decisions)
    return _Open(decision, options)
