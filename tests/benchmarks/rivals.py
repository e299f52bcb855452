"""The methods that `replay.py` compares, all behind one ask and tell.

The project's own samplers run in a `Study`, as in a search. Optuna's and BoTorch's are handed what suits them: accuracy and the
logarithm of the multiply-adds, in which the hypervolume is measured, and an encoding of the space, one of three:

- `nested`: a decision exists only where it is active, as Optuna's users write it;
- `flat`: all decisions exist always, options as categories, and inactive ones are ignored;
- `integer`: flat, with every choice as the rank of its option.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import Trial
from problems import Problem

from search.objective.pareto import non_dominated
from search.objective.reward import Objective
from search.samplers import make_sampler
from search.study.study import Outcome, Study
from spaces import Candidate, Decision, SearchSpace
from spaces.values import Choice, Float, Value

Array = NDArray[np.float64]


class Method(ABC):
    """Proposes candidates and is told what they came to."""

    @abstractmethod
    def ask(self) -> Candidate | None:
        """The next candidate; None where it has no more."""

    @abstractmethod
    def tell(self, curve: tuple[float, ...], flops: float, *, stopped: bool = False) -> None:
        """What the last candidate came to: its accuracy after each epoch, its multiply-adds, and whether it was stopped early."""


class Own(Method):
    """One of the project's samplers, in a study."""

    def __init__(self, problem: Problem, sampler: BaseSampler) -> None:
        storage = optuna.storages.InMemoryStorage()
        self._study = Study(problem.space, Objective(), sampler, storage, trials=10**6)
        self._number = -1

    def ask(self) -> Candidate | None:
        proposal = self._study.ask()
        self._number = -1 if proposal is None else proposal.number
        return None if proposal is None else proposal.candidate

    def tell(self, curve: tuple[float, ...], flops: float, *, stopped: bool = False) -> None:
        state: Literal["stopped", "complete"] = "stopped" if stopped else "complete"
        self._study.tell(self._number, Outcome(state, curve[-1], epochs=len(curve), curve=curve))


class Optuna(Method):
    """One of Optuna's samplers, in a study of its own."""

    def __init__(self, problem: Problem, sampler: BaseSampler, encoding: str) -> None:
        self._space = problem.space
        self._study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
        self._encoding = encoding
        self._distributions = distributions(problem.space, encoding)

    def ask(self) -> Candidate:
        self._trial = self._study.ask(None if self._encoding == "nested" else self._distributions)
        return self._space.candidate(self._space.decide(self._value))

    def _value(self, decision: Decision) -> Value:
        if self._encoding == "nested":
            return suggest(self._trial, decision.name, self._distributions[decision.name])
        value = self._trial.params[decision.name]
        if self._encoding == "integer" and isinstance(decision.domain, Choice):
            return ranked(decision.domain)[value]
        return value

    def tell(self, curve: tuple[float, ...], flops: float, *, stopped: bool = False) -> None:
        assert not stopped
        self._study.tell(self._trial, (curve[-1], math.log(flops)))


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, IntDistribution)
    return trial.suggest_int(name, distribution.low, distribution.high)


def ranked(choice: Choice) -> list[Value]:
    """Its labels in order, numbers by size."""
    return sorted(choice.labels) if choice.ordered else list(choice.labels)  # type: ignore[type-var]


def distributions(space: SearchSpace, encoding: str) -> dict[str, BaseDistribution]:
    """Every decision as Optuna describes it."""
    found: dict[str, BaseDistribution] = {}
    for decision in space.decisions:
        domain = decision.domain
        if isinstance(domain, Choice) and encoding == "integer":
            found[decision.name] = IntDistribution(0, len(domain.labels) - 1)
        elif isinstance(domain, Choice):
            found[decision.name] = CategoricalDistribution(domain.labels)
        elif isinstance(domain, Float):
            found[decision.name] = FloatDistribution(domain.low, domain.high, log=domain.log)
        else:
            found[decision.name] = IntDistribution(domain.low, domain.high)
    return found


class Botorch(Method):
    """Log noisy expected hypervolume improvement (Daulton et al. 2021, Ament et al. 2023) over ranks, with two Gaussian processes.

    Accuracy and the logarithm of the multiply-adds are both modelled, as by anyone who takes costs for unknown. In a table, every
    candidate that is left is looked at; in a large space random ones, then the neighbours of the best of them and of the front.
    """

    NUM_INITIAL = 8
    NUM_POOL = 1024
    NUM_STARTS = 4
    NUM_ROUNDS = 8

    def __init__(self, problem: Problem, seed: int) -> None:
        self._space, self._seed = problem.space, seed
        self._rng = np.random.default_rng(seed)
        self._left = dict(problem.candidates)
        self._is_table = bool(self._left)
        self._reference = [problem.chance, -math.log(problem.cost_range[1])]
        self._asked: list[Candidate] = []
        self._values: list[tuple[float, float]] = []

    def ask(self) -> Candidate | None:
        if self._is_table and not self._left:
            return None
        candidate = self._random(1)[0] if len(self._asked) < self.NUM_INITIAL else self._best()
        self._left.pop(candidate.digest, None)
        self._asked.append(candidate)
        return candidate

    def tell(self, curve: tuple[float, ...], flops: float, *, stopped: bool = False) -> None:
        assert not stopped
        self._values.append((curve[-1], -math.log(flops)))

    def _random(self, count: int) -> list[Candidate]:
        if not self._is_table:
            return [self._space.random(self._rng) for _ in range(count)]
        left = [*self._left.values()]
        return [left[i] for i in self._rng.permutation(len(left))[:count]]

    def _row(self, candidate: Candidate) -> Array:
        """(d,) ranks from 0 to 1; an inactive decision is in the middle."""
        row = []
        for decision in self._space.decisions:
            domain, value = decision.domain, candidate.decisions.get(decision.name)
            if decision.name not in candidate.decisions:
                row.append(0.5)
            elif isinstance(domain, Choice):
                row.append(ranked(domain).index(value) / max(1, len(domain.labels) - 1))
            else:
                row += domain.encode(value)
        return np.array(row)

    def _best(self) -> Candidate:
        import torch

        torch.manual_seed(self._seed * 10_000 + len(self._asked))
        acquisition = self._acquisition()

        def score(candidates: list[Candidate]) -> Array:
            rows = torch.as_tensor(np.stack([*map(self._row, candidates)]))
            with torch.no_grad():
                return torch.cat([acquisition(part[:, None]) for part in rows.split(256)]).numpy()

        pool = self._random(len(self._left) if self._is_table else self.NUM_POOL)
        scores = score(pool)
        best = pool[int(np.argmax(scores))]
        if self._is_table:
            return best
        known = {candidate.digest for candidate in self._asked}
        value = scores.max()
        for start in [pool[i] for i in np.argsort(-scores)[: self.NUM_STARTS]] + self._front():
            here, height = start, -math.inf
            for _ in range(self.NUM_ROUNDS):
                near = [self._space.candidate(d) for d in self._space.neighbours(here.decisions, self._rng)]
                near = [candidate for candidate in near if candidate.digest not in known]
                heights = score(near)
                if heights.max() <= height:
                    break
                here, height = near[int(np.argmax(heights))], heights.max()
            if height > value:
                best, value = here, height
        return best

    def _front(self) -> list[Candidate]:
        """Some of the front so far."""
        on_front = np.flatnonzero(non_dominated(-np.array(self._values)))
        return [self._asked[i] for i in self._rng.permutation(on_front)[: self.NUM_STARTS]]

    def _acquisition(self) -> Any:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.sampling import SobolQMCNormalSampler
        from gpytorch.mlls import ExactMarginalLogLikelihood

        x = torch.as_tensor(np.stack([*map(self._row, self._asked)]))
        y = torch.as_tensor(np.array(self._values))
        models = [SingleTaskGP(x, y[:, i : i + 1], outcome_transform=Standardize(1)) for i in range(2)]
        for model in models:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return qLogNoisyExpectedHypervolumeImprovement(
            ModelListGP(*models),
            ref_point=self._reference,
            X_baseline=x,
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=self._seed),
            prune_baseline=True,
        )


class Entry(NamedTuple):
    """How a method is made, how many evaluations it is given at most, and whether it stops trainings early."""

    make: Callable[[Problem, int], Method]
    most: int
    halving: bool = False


def own(name: str, most: int, *, halving: bool = False, **settings: Any) -> Entry:
    """One of the project's samplers by name."""
    return Entry(lambda problem, seed: Own(problem, make_sampler({"name": name, **settings}, seed)), most, halving)


def optunas(kind: Callable[..., BaseSampler], encoding: str, most: int, **settings: Any) -> Entry:
    """One of Optuna's samplers."""
    return Entry(lambda problem, seed: Optuna(problem, kind(seed=seed, **settings), encoding), most)


METHODS: dict[str, Entry] = {
    "cost_aware": own("cost_aware", 300),
    "cost_aware_halving": own("cost_aware", 300, halving=True),
    "random_halving": own("random", 1000, halving=True),
    "random": optunas(RandomSampler, "flat", 1000),
    "tpe": optunas(TPESampler, "flat", 1000),
    "tpe_multivariate": optunas(TPESampler, "flat", 1000, multivariate=True),
    "tpe_nested": optunas(TPESampler, "nested", 1000, multivariate=True, group=True),
    "nsga2": optunas(NSGAIISampler, "flat", 1000, population_size=20),
    "nsga3": optunas(NSGAIIISampler, "flat", 1000, population_size=20),
    "gp_categories": optunas(GPSampler, "flat", 150),
    "gp_integers": optunas(GPSampler, "integer", 150),
    "regularized_evolution": own("regularized_evolution", 1000, population_size=16, sample_size=4),
    "reinforce": own("reinforce", 1000),
    "botorch_qlognehvi": Entry(Botorch, 80),
}
