"""Samplers that know the space: what they share, so that each is a function from past trials to the next decisions.

Optuna's own samplers see named numbers. Ours see the space (which decisions are active, who is whose neighbour), the
objective and the exact costs, which the study hands over by `bind`. Nothing is remembered between proposals but caches of
what is fixed (finished trials, costs), and the generator is made anew from the seed and the trial's number: a resumed study
goes on as if it had never stopped, and parallel workers need no extra code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from search.objective.costs import Costs
from search.objective.reward import Objective
from search.trials.reader import Reader, read_learnt
from search.trials.trial import State, StoredTrial
from spaces import Architecture, Candidate, Decision, InputError, SearchSpace
from spaces.space import Decisions
from spaces.values import Choice, Float, Value

Array = NDArray[np.float64]
CostFunction = Callable[[Architecture], Mapping[str, float]]

_MAX_POINTS = 50_000


@dataclass(frozen=True, eq=False)
class Point:
    """A candidate with what is known of it before training; its network is assembled where it is asked for."""

    space: SearchSpace = field(repr=False)
    decisions: Decisions
    """Those that are active."""
    costs: Mapping[str, float]
    cost_error: float = 0.0
    """Relative standard deviation of the cost that accuracy is traded against; 0 where that is exact."""
    excess: float = 0.0
    """How far it is beyond the hard limits, as the sum of log ratios; 0 where it keeps them."""
    known_digest: str | None = None
    """Of its architecture, where it is known without assembling it."""

    @cached_property
    def candidate(self) -> Candidate:
        """Its architecture and hyperparameters."""
        return self.space.candidate(self.decisions)

    @cached_property
    def row(self) -> Array:
        """(d,) its encoding."""
        return self.space.encode(self.decisions)

    @cached_property
    def digest(self) -> str:
        """What equal candidates share."""
        return self.candidate.digest

    @property
    def architecture_digest(self) -> str:
        """What candidates share that differ in hyperparameters at the most."""
        return self.known_digest or self.candidate.architecture.digest


@dataclass(frozen=True)
class Result:
    """A trial that has ended, or (state "pending") has been handed out and not yet ended."""

    number: int
    point: Point
    state: str
    """complete, stopped, failed or pending."""
    accuracy: float = math.nan
    """In [0, 1]; of a stopped trial the last one it reached; NaN where there is none."""
    curve: tuple[float, ...] = ()
    """Accuracy after each epoch."""
    ended: float = 0.0
    """When, in seconds since 1970; 0 where it has not, or nobody noted it."""
    repeats: tuple[float, ...] = ()
    """Accuracies of further trainings under other seeds."""
    is_alike: bool = True
    """False where another study trained it on other images or otherwise."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Of all its trainings."""
        return (self.accuracy, *self.repeats)


@dataclass(frozen=True)
class Earlier:
    """A candidate that another study has evaluated."""

    decisions: Decisions
    """In this space."""
    accuracies: tuple[float, ...]
    """Of its trainings."""
    is_alike: bool
    """Whether images and training were this study's; else its accuracies may differ, and only what they have in common counts."""


@dataclass
class Past:
    """The trials of a study that say something about its space, in the order of their numbers."""

    results: list[Result] = field(default_factory=list)
    outside: list[tuple[float, float]] = field(default_factory=list)
    """Accuracy and cost of complete trials whose architecture lies outside the space."""
    earlier: list[Result] = field(default_factory=list)
    """Of other studies; their numbers are below 0."""

    def of(self, state: str) -> list[Result]:
        """Those in one state."""
        return [result for result in self.results if result.state == state]

    def knows(self, point: Point) -> bool:
        """Whether an equal candidate needs no second evaluation."""
        return any(other.digest == point.digest for other in self._by_architecture.get(point.architecture_digest, ()))

    @cached_property
    def _by_architecture(self) -> dict[str, list[Point]]:
        """Found by what is stored, so that thousands of trials need not be assembled to compare them with one."""
        found: dict[str, list[Point]] = {}
        for result in self.results:
            found.setdefault(result.point.architecture_digest, []).append(result.point)
        return found


class SpaceSampler(BaseSampler, ABC):
    """An Optuna sampler that proposes whole candidates of a `SearchSpace`.

    Args:
        seed: of everything it draws; None takes one from the system.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._independent = RandomSampler(seed=self._seed)
        self._space: SearchSpace | None = None
        self._earlier: list[Result] = []

    def learn_from(self, earlier: Sequence[Earlier]) -> None:
        """Takes what other studies found for knowledge of its space; called after `bind`."""
        self._earlier = [
            Result(
                -1 - i,
                self.point(e.decisions),
                "complete",
                e.accuracies[0],
                repeats=e.accuracies[1:],
                is_alike=e.is_alike,
            )
            for i, e in enumerate(earlier)
        ]

    def bind(self, space: SearchSpace, objective: Objective, costs: CostFunction) -> None:
        """Learns what it samples for; called by the study once the objective's targets are known.

        Args:
            space: where candidates come from.
            objective: resolved: its targets are stated.
            costs: exact costs of an architecture by name.
        """
        self._space = space
        self._objective = objective
        self._costs = costs.with_error if isinstance(costs, Costs) else lambda architecture: (costs(architecture), 0.0)
        self._distributions = {decision.name: _distribution(decision) for decision in space.decisions}
        self._reader = Reader()
        self._ended: dict[int, Result | None] = {}
        self._points: dict[tuple[tuple[str, Value], ...], Point] = {}
        self.__dict__.pop("_cost_names", None)

    @abstractmethod
    def propose(self, past: Past, number: int, rng: np.random.Generator) -> Decisions:
        """The decisions to evaluate next.

        Args:
            past: what is known.
            number: of the trial they are for.
            rng: made from the seed and the number.
        """

    @property
    def space(self) -> SearchSpace:
        """The space it is bound to.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._space is None:
            raise RuntimeError(f"{type(self).__name__} proposes candidates of a space: call bind() first")
        return self._space

    @property
    def objective(self) -> Objective:
        """The resolved objective it is bound to."""
        assert self.space is not None
        return self._objective

    def price(self, point: Point) -> float:
        """The cost that accuracy is traded against."""
        return point.costs[self._objective.cost]

    def point(self, decisions: Mapping[str, Value]) -> Point:
        """A candidate with its costs, remembered.

        Raises:
            InputError: an active decision is missing or not in its domain, or no network can be made of them.
        """
        key = tuple(decisions.items())
        known = self._points.get(key)
        if known is None:
            candidate = self.space.candidate(decisions)
            known = self._priced(candidate.decisions, *self._costs(candidate.architecture))
            known.__dict__["candidate"] = candidate
            if len(self._points) >= _MAX_POINTS:
                self._points.clear()
            self._points[key] = known
        return known

    def _priced(
        self, decisions: Decisions, costs: Mapping[str, float], latency_error: float, digest: str | None = None
    ) -> Point:
        """A candidate whose costs are known.

        Args:
            decisions: those that are active.
            costs: by name.
            latency_error: relative standard deviation of the latency, where that is predicted.
            digest: of its architecture.
        """
        error = latency_error if self._objective.cost == "latency_ms" else 0.0
        return Point(self.space, decisions, costs, error, self._objective.excess(costs), digest)

    @cached_property
    def _cost_names(self) -> tuple[str, ...]:
        """Of the costs that every candidate has."""
        return (*self.point(self.space.sample(np.random.default_rng(0))).costs,)

    def reseed_rng(self) -> None:
        """Takes another seed."""
        self._seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every decision of the space; `sample_relative` gives those that are active."""
        assert self.space is not None
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for every active decision; what the trial has already (resumed, enqueued) is kept."""
        fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        fixed = {name: value for name, value in fixed.items() if name in search_space}
        rng = np.random.default_rng((self._seed, trial.number))
        if fixed:
            return self._complete(fixed, rng)
        return self.propose(self.past(study, trial.number), trial.number, rng)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value, for what is not a decision of the space."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def past(self, study: optuna.Study, number: int) -> Past:
        """What the study's trials say, but for the trial of that number.

        Trials that are no candidates of the space (edited by hand, of another space) are passed over.
        """
        past = Past(earlier=self._earlier)
        learnt = read_learnt(study)
        for trial in map(self._reader.read, study.get_trials(deepcopy=False)):
            is_told = trial.is_original or not (trial.is_finished or trial.is_copy)
            if trial.number == number or not is_told:
                continue
            if trial.outside:
                cost = trial.costs.get(self._objective.cost)
                if trial.state is State.COMPLETE and trial.accuracy is not None and cost:
                    past.outside.append((trial.accuracy, cost))
                continue
            if trial.number not in self._ended:
                result = self._read(trial)
                if trial.is_finished:
                    self._ended[trial.number] = result
            else:
                result = self._ended[trial.number]
            if result is not None:
                repeats = learnt.confirmations_of(trial).known
                past.results.append(replace(result, repeats=(*repeats,)) if repeats else result)
        return past

    def _complete(self, fixed: Mapping[str, Value], rng: np.random.Generator) -> Decisions:
        """Random values beside those that are fixed; values outside their domain are left to Optuna's own checks."""
        known = {decision.name: decision.domain for decision in self.space.decisions}
        kept = {name: value for name, value in fixed.items() if known[name].contains(value)}
        return {name: value for name, value in self.space.complete(kept, rng).items() if name not in fixed}

    def _read_point(self, trial: StoredTrial) -> Point:
        """A trial's candidate, priced as the trial was; assembled anew only where a cost is not known of it.

        Raises:
            InputError: its parameters are no decisions of the space.
        """
        known = trial.costs
        if trial.digest is None or not all(known.get(name, 0) > 0 for name in self._cost_names):
            names = [name for name in self._distributions if name in trial.decisions]
            return self.point({name: trial.decisions[name] for name in names})

        def look_up(decision: Decision) -> Value:
            if decision.name not in trial.decisions:
                raise InputError(f"trial {trial.number} has no value for '{decision.name}'")
            return trial.decisions[decision.name]

        costs = {name: float(known[name]) for name in self._cost_names}
        return self._priced(self.space.decide(look_up), costs, trial.latency_error or 0.0, trial.digest)

    def _read(self, trial: StoredTrial) -> Result | None:
        try:
            point = self._read_point(trial)
        except (InputError, TypeError):  # TypeError: a value that cannot even be looked up, such as a list
            return None
        if not trial.is_finished:
            return Result(trial.number, point, "pending")
        curve = tuple(accuracy for accuracy in trial.curve if not math.isnan(accuracy))
        accuracy = trial.accuracy
        if trial.state is State.STOPPED and accuracy is None and curve:
            accuracy = curve[-1]
        ended = trial.ended.timestamp() if trial.ended else 0.0
        if accuracy is None or trial.state is State.FAILED:
            return Result(trial.number, point, "failed", ended=ended)
        return Result(trial.number, point, trial.state.value, float(accuracy), curve, ended)


def _distribution(decision: Decision) -> BaseDistribution:
    """The decision as Optuna describes it."""
    domain = decision.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.labels)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high)
