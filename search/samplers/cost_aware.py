"""The cost-aware sampler: a surrogate for the accuracy alone, and costs that are exact.

Multi-objective samplers learn cost trial by trial, as if it were unknown. Here a Gaussian process models the accuracy
(`surrogate`), costs are computed, and among many candidates (`pool`) the one is proposed whose expected improvement of the
reward, averaged over the targets, is greatest (`acquisition`).

- The first candidates are spread over log cost, and in each part of it far from one another.
- A candidate still in training counts as if it had come out as predicted, so workers do not train neighbours of one spot.
- What was trained again under other seeds is as many observations, from which the surrogate learns how noisy one is.
- What was stopped early is an observation of its extrapolated end, with the variance of the extrapolation.
- One lucky training is believed no further than the noise that the surrogate has learnt.
- What an earlier study has found of this space is observed too; where it trained otherwise, a column says so, one for all such
  studies, and the surrogate learns how far they agree with this one.
- What failed is an observation of the worst accuracy so far with great variance: a reason to look elsewhere first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.samplers.acquisition import Incumbents, accuracy_of, log_error
from search.samplers.base import Array, Earlier, Past, Point, Result, SpaceSampler
from search.samplers.design import van_der_corput
from search.samplers.pool import Pool
from search.samplers.surrogate import Hyperparameters, Layout, Posterior, fit
from search.system.threads import one_blas_thread
from spaces.space import Decisions

MAX_FITTED = 160
"""Observations that hyperparameters are fitted to."""
FIT_ALWAYS = 24
"""Observations up to which each new one brings a new fit."""
MAX_OBSERVED = 800
"""Observations that the surrogate holds: the nearest to the front, and others evenly from all trials."""


class Model(NamedTuple):
    """The surrogate, and the scale of what it models."""

    posterior: Posterior
    mean: float
    std: float
    results: list[Result]
    """What it was told, in the order of the posterior's inputs."""

    def predict(self, x: Array) -> tuple[Array, Array]:
        """(m,) mean and (m,) standard deviation of the log error, without the noise of one training."""
        mean, std = self.posterior.predict(x)
        return self.mean + self.std * mean, self.std * std

    @property
    def noise(self) -> float:
        """Standard deviation of the log error of one training."""
        return self.std * math.sqrt(self.posterior.hyperparameters.noise)

    def believed(self, x: Array, accuracy: Sequence[float]) -> Array:
        """(m,) log errors of evaluated networks: what they came to, but no better than the surrogate makes of them less its noise.

        So the luckiest of many trainings is not taken for the best network.

        Args:
            x: (m, d) inputs.
            accuracy: (n,) of the first n of them; the others are believed to be as predicted.
        """
        mean, _ = self.predict(x)
        told = log_error(accuracy)
        mean[: len(told)] = np.maximum(told, mean[: len(told)] - self.noise)
        return mean

    def believe(self, x: Array) -> Model:
        """As if (m, d) more inputs had come out as predicted."""
        return self._replace(posterior=self.posterior.believe(x))


class CostAwareSampler(SpaceSampler):
    """Proposes the candidate with the greatest expected improvement of the reward at its exact cost.

    Args:
        seed: of everything it draws.
        num_initial: candidates of the space-filling design at the start.
    """

    def __init__(self, seed: int | None = None, num_initial: int = 4) -> None:
        super().__init__(seed)
        if num_initial < 2:
            raise ValueError(f"num_initial must be at least 2, got {num_initial}")
        self._num_initial = num_initial
        self._fitted: dict[tuple[int, ...], Hyperparameters] = {}

    def bind(self, *args: object, **kwargs: object) -> None:
        """Learns what it samples for, and forgets what it knew of another space."""
        super().bind(*args, **kwargs)  # type: ignore[arg-type]
        for name in ("_pool", "_layout", "_chance"):
            self.__dict__.pop(name, None)
        self._fitted.clear()

    def learn_from(self, earlier: Sequence[Earlier]) -> None:
        """Takes what other studies found for knowledge of its space; called after `bind`."""
        super().learn_from(earlier)
        self.__dict__.pop("_layout", None)
        self._fitted.clear()

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self, self._seed)

    @cached_property
    def _chance(self) -> float:
        return 1 / self._pool.base[0].candidate.architecture.num_classes

    @cached_property
    def _layout(self) -> Layout:
        # the same decision of another layer is of the same kind
        kinds = [re.sub(r"(?<=\.)\d+(?=\.|$)", "*", decision.name) for decision in self.space.decisions]
        kinds += [f"cost {name}" for name in self._pool.cost_range]
        kinds += ["another study"] * self._has_others
        widths = [decision.domain.num_columns for decision in self.space.decisions]
        widths += [1] * (len(kinds) - len(widths))
        groups = [list(dict.fromkeys(kinds)).index(kind) for kind in kinds]
        ordered = [width == 1 for width in widths]
        is_cost = [kind.startswith("cost ") for kind in kinds]
        columns = [np.repeat(values, widths) for values in (groups, ordered, is_cost)]
        return Layout(columns[0], columns[1], columns[2], len(kinds))

    @property
    def _has_others(self) -> bool:
        """Whether some observations are of another study that trained otherwise."""
        return not all(result.is_alike for result in self._earlier)

    @one_blas_thread()
    def propose(self, past: Past, number: int, rng: np.random.Generator) -> Decisions:
        """The decisions to evaluate next."""
        candidates = self._pool.feasible(rng)
        accuracy = {result.number: float(np.mean(result.accuracies)) for result in past.of("complete")}
        num_known = len(past.results) + len(past.earlier)
        if num_known < self._num_initial or len(accuracy) + len(past.earlier) < 2:
            return self._spread(candidates, past, rng).decisions
        model = self._model(past)
        complete = [result for result in model.results if result.number in accuracy]
        pending = [result.point for result in past.of("pending")]
        evaluated = [result.point for result in complete] + pending
        beaten = np.array(past.outside).reshape(-1, 2)  # (n, 2) accuracies and costs
        if evaluated:
            inputs = self._inputs(evaluated)
            believed = accuracy_of(model.believed(inputs, [accuracy[result.number] for result in complete]))
            beaten = np.concatenate((beaten, np.column_stack((believed, [*map(self.price, evaluated)]))))
        incumbents = Incumbents.of(self.objective, beaten[:, 0], beaten[:, 1], self._chance)
        if pending:
            model = model.believe(inputs[len(complete) :])

        def score(points: Sequence[Point]) -> Array:
            mean, std = model.predict(self._inputs(points))
            prices = [*map(self.price, points)]
            gain = incumbents.expected_improvement(mean, std, prices, [point.cost_error for point in points])
            # where nothing can be gained any more, the uncertain comes first
            return gain + 1e-12 * std

        candidates += self._pool.children(self._best([*complete, *past.earlier]), rng)
        points, scores = self._pool.climb(candidates, score, rng)
        return self._first_new(points, scores, past).decisions

    def _first_new(self, points: Sequence[Point], scores: Array, past: Past) -> Point:
        """The best that was not evaluated; the best of all where everything was."""
        order = np.argsort(-scores, kind="stable")
        return next((points[i] for i in order if not past.knows(points[i])), points[order[0]])

    def _spread(self, candidates: list[Point], past: Past, rng: np.random.Generator) -> Point:
        """A candidate in a part of log cost of its own, far in its decisions from those before it."""
        new = [point for point in candidates if not past.knows(point)]
        if not new:
            return candidates[int(rng.integers(len(candidates)))]
        logs = np.log([self.price(point) for point in new])
        low, high = logs.min(), min(logs.max(), max(logs.min(), math.log(self.objective.target_range[1])))
        level = low + (high - low) * van_der_corput(len(past.results) + 1)
        near = np.argsort(np.abs(logs - level), kind="stable")[: max(1, min(24, len(new) // 4))]
        if not past.results:
            return new[int(rng.choice(near))]
        rows = np.stack([new[i].row for i in near])
        known = np.stack([result.point.row for result in past.results])
        distance = ((rows[:, None] - known) ** 2).sum(axis=2).min(axis=1)
        return new[int(near[np.argmax(distance)])]

    def _best(self, complete: list[Result]) -> list[Point]:
        """The front and what is nearest to it."""
        order = np.argsort(self._shortfall(complete), kind="stable")
        return [complete[i].point for i in order[:24]]

    def _shortfall(self, results: Sequence[Result]) -> Array:
        """(n,) how far the log error of each is above the best one of no greater cost."""
        errors = log_error([result.accuracy for result in results])
        order = np.lexsort((errors, np.array([self.price(result.point) for result in results])))
        shortfall = np.empty(len(results))
        shortfall[order] = errors[order] - np.minimum.accumulate(errors[order])
        return shortfall

    def _inputs(self, points: Sequence[Point], is_alike: Sequence[bool] | None = None) -> Array:
        """(n, d) encodings with the logarithms of all costs on a scale from 0 to 1, and whether another study trained otherwise."""
        ranges = self._pool.cost_range
        logs = np.log([[point.costs[name] for name in ranges] for point in points])
        low, high = np.array([*ranges.values()]).T
        scaled = np.clip((logs - low) / np.maximum(high - low, 1e-9), -0.5, 1.5)
        parts = [np.stack([point.row for point in points]), scaled]
        if self._has_others:
            parts.append(np.zeros((len(points), 1)) if is_alike is None else 1.0 - np.array([is_alike], dtype=float).T)
        return np.hstack(parts)

    def _model(self, past: Past) -> Model:
        """The surrogate of what has ended."""
        observed, errors, spread = self._observations(past)
        mean, std = float(errors.mean()), float(errors.std())
        std = std if std > 1e-9 else 1.0
        chosen = self._choose(observed, MAX_OBSERVED)
        results = [observed[i] for i in chosen]
        y, extra = (errors - mean) / std, (spread / std) ** 2
        few = self._choose(observed[: _num_fitted(len(observed))], MAX_FITTED)
        key = (*(observed[i].number for i in few),)
        if key not in self._fitted:
            self._fitted.clear()
            x = self._inputs([observed[i].point for i in few], [observed[i].is_alike for i in few])
            self._fitted[key] = fit(self._layout, x, y[few], extra[few], num_starts=1 if len(few) > 64 else 2)
        x = self._inputs([result.point for result in results], [result.is_alike for result in results])
        return Model(Posterior(self._layout, self._fitted[key], x, y[chosen], extra[chosen]), mean, std, results)

    def _choose(self, results: Sequence[Result], count: int) -> NDArray[np.int64]:
        """Indices of up to `count`: half the nearest to the front, half evenly from the rest."""
        if len(results) <= count:
            return np.arange(len(results))
        order = np.argsort(self._shortfall(results), kind="stable")
        rest = np.sort(order[count // 2 :])
        even = rest[np.linspace(0, len(rest) - 1, count - count // 2).astype(int)]
        return np.sort(np.concatenate((order[: count // 2], even)))

    def _observations(self, past: Past) -> tuple[list[Result], Array, Array]:
        """What has ended by number, as log errors with the standard deviation of what is not known of each."""
        ended = [*past.earlier, *past.of("complete")]
        complete = [replace(result, accuracy=accuracy) for result in ended for accuracy in result.accuracies]
        errors = log_error([result.accuracy for result in complete])
        drops = _Drops(ended)
        told = [(result, float(error), 0.0) for result, error in zip(complete, errors, strict=True)]
        for result in past.of("stopped"):
            mean, std = drops.after(len(result.curve))
            told.append((result, float(log_error(result.accuracy)) + mean, std))
        worst, doubt = float(errors.max()), max(float(errors.std()), 1e-3)
        for result in past.of("failed"):
            told.append((replace(result, accuracy=float(accuracy_of(worst))), worst, doubt))
        told.sort(key=lambda one: one[0].number)
        results, ends, unknown = zip(*told, strict=True)
        return list(results), np.array(ends), np.array(unknown)


class _Drops:
    """How the log error changes from some epoch to the end, in trials that went there."""

    def __init__(self, complete: Sequence[Result]) -> None:
        self._complete = complete
        self._known: dict[int, tuple[float, float]] = {}

    def after(self, epochs: int) -> tuple[float, float]:
        """Mean and standard deviation of the change."""
        if epochs not in self._known:
            ends = [result for result in self._complete if 0 < epochs < len(result.curve)]
            drops = log_error([r.accuracy for r in ends]) - log_error([r.curve[epochs - 1] for r in ends])
            # some is still to be learnt, nobody knows how much
            few = len(drops) < 3
            self._known[epochs] = (-0.2, 0.5) if few else (float(drops.mean()), float(drops.std()) + 0.05)
        return self._known[epochs]


def _num_fitted(count: int) -> int:
    """How many of the first observations hyperparameters are fitted to: all of few, then a tenth more each time.

    So a fit serves several proposals, and is still a function of the trials alone.
    """
    if count <= FIT_ALWAYS:
        return count
    return int(FIT_ALWAYS * 1.1 ** math.floor(math.log(count / FIT_ALWAYS, 1.1)))
