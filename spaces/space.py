"""A search space: a description with some values left open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from spaces.architecture import Architecture, freeze, thaw
from spaces.costs import build_block, layer_costs, walk
from spaces.decoding import assemble, check_network_keys
from spaces.errors import InputError
from spaces.plans import LayerPlan, plan_head, plan_layer
from spaces.tree import Container, Open, Part, compile_tree, count_decisions
from spaces.values import Choice, Decision, Value, is_open, parse_tree

Decisions = dict[str, Value]
"""A value for every decision that is active, by name."""

_MAX_PLANS = 10_000


@dataclass(frozen=True)
class Candidate:
    """One point of a space: what was decided, and what follows from it."""

    decisions: Decisions
    architecture: Architecture
    hyperparameters: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that equal networks with equal hyperparameters share."""
        text = self.architecture.digest + json.dumps(thaw(freeze(self.hyperparameters)), sort_keys=True)
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
        InputError: an unknown key, or an open value that is not one. What its layers make of the values, `check` finds out.
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
        settings = {**description, **{key: value for key, value in given.items() if value is not None}}
        self.source = source
        self._known: dict[str, Open] = {}
        settings.pop("published", None)
        self._check_parameters(settings.pop("parameters", None) or {})
        layers, head = settings.pop("layers"), settings.pop("head", None)
        self._settings = self._compile(settings, "")
        self._layers = [
            _LayerTemplate(self._compile(entry, f"layers.{i}"), f"{source}: layers.{i}")
            for i, entry in enumerate(layers)
        ]
        self._layers.append(_LayerTemplate(self._compile(head, "head"), f"{source}: head", is_head=True))
        self._train = self._compile(dict(hyperparameters or {}), "train")
        self._parts = [self._settings, *(layer.tree for layer in self._layers), self._train]
        self._opens = tuple(opened for part in self._parts for opened in part.opens)
        self._open_width = is_open(description.get("width_multiplier"))

    def _compile(self, data: Any, path: str) -> Part:
        try:
            return compile_tree(parse_tree(data, path), path, self._known)
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from error

    def _check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """References to a parameter have become copies of it: only a name keeps those of an open one together."""
        if not isinstance(parameters, Mapping):
            raise InputError(f"{self.source}: parameters is a mapping from names to values; got {parameters!r}")
        for key, value in parameters.items():
            if is_open(value) and "name" not in value:
                raise InputError(f"{self.source}: parameters.{key} is open: a `name:` must tie its uses together")

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision of the space, also those that exist only under some choice."""
        return tuple(opened.decision for opened in self._known.values())

    @cached_property
    def size(self) -> float:
        """Number of different sets of decisions; inf where a real number is open."""
        return count_decisions(self._parts)

    def decide(self, choose: Callable[[Decision], Value]) -> Decisions:
        """Asks `choose` for every decision that is active, each once; an open value inside an option after that option.

        Raises:
            InputError: it gives a value that is not in the decision's domain.
        """
        decided: Decisions = {}
        self._visit(self._opens, choose, decided, [])
        return decided

    def _visit(
        self, opens: Iterable[Open], choose: Callable[[Decision], Value], decided: Decisions, values: list[Value]
    ) -> None:
        """Decides what is not yet decided among `opens` and inside them; adds the value of each to `values`."""
        for opened in opens:
            decision = opened.decision
            name = decision.name
            if name in decided:
                value = decided[name]
            else:
                value = choose(decision)
                if not decision.domain.contains(value):
                    raise InputError(f"{self.source}: {name} cannot be {value!r}; it is {decision.domain}")
                decided[name] = value
            values.append(value)
            if opened.options:
                inside = opened.options[value].opens
                if inside:
                    self._visit(inside, choose, decided, values)

    def sample(self, rng: np.random.Generator) -> Decisions:
        """Random decisions: every option of an active decision equally likely."""
        return self.decide(lambda decision: decision.domain.sample(rng))

    def candidate(self, decisions: Mapping[str, Value]) -> Candidate:
        """The architecture and hyperparameters of some decisions; those that are inactive are dropped.

        Raises:
            InputError: an active decision is missing or its value not in its domain; the network cannot be assembled.
        """

        def look_up(decision: Decision) -> Value:
            return self._look_up(decision, decisions)

        active: Decisions = {}
        self._visit(self._settings.opens, look_up, active, [])
        settings = self._settings.fill(active)
        plans = []
        for layer in self._layers:
            values: list[Value] = [settings.get("activation")]
            self._visit(layer.tree.opens, look_up, active, values)
            plans.append(layer.plan(active, tuple(values)))
        self._visit(self._train.opens, look_up, active, [])
        architecture = assemble(settings, plans, self.source, open_width=self._open_width)
        return Candidate(active, architecture, self._train.fill(active))

    def _look_up(self, decision: Decision, decisions: Mapping[str, Value]) -> Value:
        if decision.name not in decisions:
            raise InputError(f"{self.source}: no value for the decision '{decision.name}'")
        return decisions[decision.name]

    def decide_hyperparameters(self, choose: Callable[[Decision], Value]) -> Decisions:
        """Asks `choose` for every active decision of the training alone."""
        decided: Decisions = {}
        self._visit(self._train.opens, choose, decided, [])
        return decided

    def candidate_outside(self, architecture: Architecture, decisions: Mapping[str, Value]) -> Candidate:
        """An architecture that need not lie in the space, trained as some decisions of the training say.

        Raises:
            InputError: an active decision of the training is missing or its value not in its domain.
        """
        active = self.decide_hyperparameters(lambda decision: self._look_up(decision, decisions))
        return Candidate(active, architecture, self._train.fill(active))

    def random(self, rng: np.random.Generator) -> Candidate:
        """A random candidate."""
        return self.candidate(self.sample(rng))

    def complete(self, decisions: Mapping[str, Value], rng: np.random.Generator) -> Decisions:
        """Those decisions that are active, and random ones where active decisions have no value."""
        return self.decide(lambda d: decisions[d.name] if d.name in decisions else d.domain.sample(rng))

    def neighbours(self, decisions: Decisions, rng: np.random.Generator) -> list[Decisions]:
        """Decisions that differ in one active decision; what such a change newly activates is drawn at random."""
        return [near for name in decisions for near in self._changes(decisions, name, rng)]

    def _changes(self, decisions: Decisions, name: str, rng: np.random.Generator) -> Iterator[Decisions]:
        for other in self._known[name].decision.domain.neighbours(decisions[name], rng):
            yield self.complete({**decisions, name: other}, rng)

    @cached_property
    def num_columns(self) -> int:
        """d, the length of an encoding."""
        return sum(decision.domain.num_columns for decision in self.decisions)

    def encode(self, decisions: Decisions) -> np.ndarray:
        """(d,) numbers in [0, 1]: ordered decisions by position, others one-hot; inactive ones 0.5 or all zeros."""
        row: list[float] = []
        for name, opened in self._known.items():
            domain = opened.decision.domain
            if name in decisions:
                row += domain.encode(decisions[name])
            else:
                row += [0.5] if domain.num_columns == 1 else [0.0] * domain.num_columns
        return np.array(row)

    def check(self, seed: int = 0) -> None:
        """Builds, on the meta device, architectures that together hold every option, and the one with the smallest maps.

        Raises:
            InputError: one of them cannot be built.
        """
        rng = np.random.default_rng(seed)
        built: set[Any] = set()
        for candidate in (*self.coverage(seed), self._smallest_maps(rng), self.random(rng)):
            for layer, size, _ in walk(candidate.architecture):
                # what a block makes of the image's size was found by its cost; building it asks for channels and options
                parts = (layer.block, layer.in_channels, layer.out_channels, layer.options)
                if parts not in built:
                    built.add(parts)
                    with torch.device("meta"):
                        build_block(layer, size)

    def coverage(self, seed: int = 0) -> Iterator[Candidate]:
        """Candidates that together hold both ends of every range and every option of every choice."""
        rng = np.random.default_rng(seed)
        wanted = {(name, end) for name, opened in self._known.items() for end in _ends(opened)}

        def most_wanted(decision: Decision) -> Value:
            opened = self._known[decision.name]
            ends = _ends(opened)
            order = rng.permutation(len(ends))
            return max((ends[i] for i in order), key=lambda value: _num_wanted(opened, value, wanted))

        while wanted:
            decisions = self.decide(most_wanted)
            wanted.difference_update(decisions.items())
            yield self.candidate(decisions)

    def _smallest_maps(self, rng: np.random.Generator) -> Candidate:
        """The candidate whose maps are smallest, found by changing one decision at a time: if strides eat an image, it is there."""
        best = self.random(rng)
        improves = True
        while improves:
            improves = False
            for name in [*best.decisions]:
                # a change before may have made it inactive
                for near in self._changes(best.decisions, name, rng) if name in best.decisions else ():
                    candidate = self.candidate(near)
                    if _map_sizes(candidate.architecture) < _map_sizes(best.architecture):
                        best, improves = candidate, True
        return best


def _map_sizes(architecture: Architecture) -> tuple[int, int]:
    """Pixels of the last map before the head, and of all maps."""
    pixels = [height * width for height, width in (cost.size for cost in layer_costs(architecture))]
    return pixels[-2] if len(pixels) > 1 else 0, sum(pixels)


def _ends(opened: Open) -> tuple[Value, ...]:
    """Every option of a choice, both ends of a range."""
    domain = opened.decision.domain
    return domain.labels if isinstance(domain, Choice) else (domain.low, domain.high)


def _num_wanted(opened: Open, value: Value, wanted: set[tuple[str, Value]]) -> int:
    """How much of what is wanted the value holds, and may hold inside."""
    inside = (_num_wanted(inner, end, wanted) for inner in opened.inside(value) for end in _ends(inner))
    return ((opened.decision.name, value) in wanted) + sum(inside)


class _LayerTemplate:
    """An entry of `layers`, or the head, that remembers what each set of its decisions makes of it."""

    def __init__(self, tree: Part, where: str, *, is_head: bool = False) -> None:
        self.tree = tree
        self._where = where
        self._is_head = is_head
        self._plans: dict[tuple[Value, ...], LayerPlan] = {}

    def plan(self, decided: Decisions, values: tuple[Value, ...]) -> LayerPlan:
        """The plan under some decisions.

        Args:
            decided: all decisions so far.
            values: the network's activation, then what was decided in this entry, in order.
        """
        plan = self._plans.get(values)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[values] = self._make(decided, values[0])
        return plan

    def _make(self, decided: Decisions, activation: Value) -> LayerPlan:
        entry = self.tree.fill(decided)
        if self._is_head:
            return plan_head(entry, self._where, activation, open_block=bool(self.tree.opens))
        part, is_alternative = self.tree, isinstance(self.tree, Open)
        while isinstance(part, Open):
            part = part.options[decided[part.decision.name]]
        children = part.children if isinstance(part, Container) else {}
        block = [child for key, child in children.items() if key not in ("channels", "repeat", "stride", "width")]
        return plan_layer(
            entry,
            self._where,
            activation,
            open_channels="channels" in children and bool(children["channels"].opens),
            open_block=is_alternative or any(child.opens for child in block),
        )
