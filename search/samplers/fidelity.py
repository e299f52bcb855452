"""How far each candidate is trained: fully, or only as far as it shows promise.

`Halving` is asynchronous successive halving for two objectives, in its stopping variant (Schmucker et al. 2021, "Multi-objective
Asynchronous Successive Halving", https://arxiv.org/abs/2106.12639; Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", https://arxiv.org/abs/1810.05934). At a rung (a share of its epochs) a training is compared with all that were there before
it. It trains on where

- its rank, the layer of the non-dominated sorting in (cost, accuracy so far), is among the best 1 / `reduction` of candidates of
  comparable cost, and
- its optimistic end, extrapolated from trainings that ended at their costs, can still reach the front at its cost.

A rung need not say much of the end: under a learning rate that falls to nought, a network's accuracy half-way is mostly its cost
and luck. So (where we depart from the paper) the share that goes on is 1 / `reduction` to the power of the rung's foresight: how
much of the variance of the ends it foretold, beside cost, among trainings that ended. Where that is nothing, no rank stops anybody.

Nobody waits for anybody: who comes early is compared with few, and the first ones are trained to their end. A training that is
stopped is never on a front, so a stop that was wrong costs a network, and never the truth of the front.

Everything here is a function of numbers that were seen, without clocks, threads or files: a driver asks it with what workers
report, and a benchmark replays recorded curves through it, rung by rung:

    rungs = fidelity.rungs(len(recorded))
    for epoch in rungs:
        if not fidelity.goes_on(Curve(cost, recorded[:epoch], len(recorded)), others):
            outcome = Outcome("stopped", recorded[epoch - 1], epochs=epoch, curve=recorded[:epoch])

where `others` are the `Curve`s of all trials before, each as far as it was trained.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.objective.reward import Objective
from search.samplers.acquisition import accuracy_of, log_error
from spaces.errors import InputError, did_you_mean

Array = NDArray[np.float64]

NUM_PEERS = 12
"""Candidates that are of comparable cost: as many as are nearest in log cost, ..."""
LIKE = math.log(1.1)
"""... and all that are nearer than this."""
MIN_ENDED = 8
"""Trainings that ended, below which nobody is stopped: nothing says yet what a rung foretells."""
OPTIMISM = 2.0
"""Standard deviations by which an extrapolated end is better than expected, for the benefit of the doubt."""


@dataclass(frozen=True)
class Curve:
    """What a training has shown so far."""

    cost: float
    """What accuracy is traded against, above 0."""
    accuracies: tuple[float, ...]
    """After each epoch that it reached."""
    epochs: int
    """Of the whole training."""

    @property
    def has_ended(self) -> bool:
        """Whether it was trained in full."""
        return len(self.accuracies) >= self.epochs


class Fidelity(Protocol):
    """Says how far candidates are trained."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """After which of its epochs a training must ask whether it goes on; rising, never the last one."""
        ...

    def goes_on(self, trial: Curve, others: Sequence[Curve]) -> bool:
        """Whether a training at one of its rungs goes on.

        Args:
            trial: its last accuracy is that of the rung.
            others: all other trainings, running ones too, each as far as it came.
        """
        ...


class Full:
    """Every candidate is trained to its end."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """None."""
        return ()

    def goes_on(self, trial: Curve, others: Sequence[Curve]) -> bool:
        """Always."""
        return True


class Halving:
    """Asynchronous successive halving towards a front; with one target, towards the greatest reward.

    Args:
        objective: resolved.
        reduction: about one in so many goes on at a rung that foretells the end, and epochs grow by this factor from rung to rung.
        min_epochs: of the first rung at the least.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, objective: Objective, reduction: int = 3, min_epochs: int = 1) -> None:
        if not isinstance(reduction, int) or reduction < 2:
            raise ValueError(f"reduction must be a whole number of at least 2, got {reduction!r}")
        if not isinstance(min_epochs, int) or min_epochs < 1:
            raise ValueError(f"min_epochs must be a whole number of at least 1, got {min_epochs!r}")
        self._objective = objective
        self._reduction = reduction
        self._min_epochs = min_epochs

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """epochs / reduction, epochs / reduction^2, ... down to `min_epochs`, rounded, rising."""
        return tuple(reversed(self._levels(epochs)))

    def goes_on(self, trial: Curve, others: Sequence[Curve]) -> bool:
        """Whether its rank is high enough among its peers, and its optimistic end good enough for the front."""
        level = self._levels(trial.epochs).index(len(trial.accuracies))
        seen = [(other, self._at(other, level)) for other in others]
        peers = [(other.cost, accuracy) for other, accuracy in seen if accuracy is not None]
        ended = [(other, accuracy) for other, accuracy in seen if accuracy is not None and other.has_ended]
        share = self._reduction ** -foresight(ended)
        return self._is_promoted(trial, peers, share) and self._can_reach_front(trial, ended)

    def _levels(self, epochs: int) -> list[int]:
        """Epochs of the rungs from the last one down: a level is a share of a training, so of a learning rate's schedule too."""
        levels = []
        share = epochs / self._reduction
        while round(share) >= self._min_epochs and round(share) >= 1:
            levels.append(round(share))
            share /= self._reduction
        return [level for i, level in enumerate(levels) if level < (levels[i - 1] if i else epochs)]

    def _at(self, curve: Curve, level: int) -> float | None:
        """Its accuracy at a level; None where it has none, or did not reach it."""
        levels = self._levels(curve.epochs)
        reached = level < len(levels) and levels[level] <= len(curve.accuracies)
        return curve.accuracies[levels[level] - 1] if reached else None

    def _is_promoted(self, trial: Curve, peers: Sequence[tuple[float, float]], share: float) -> bool:
        """Whether less than a share of those of comparable cost are better, itself among them."""
        if len(peers) + 1 < self._reduction:
            return True
        cost, accuracy = np.array([*peers, (trial.cost, trial.accuracies[-1])]).T
        points = self._points(cost, accuracy)
        ranks = non_dominated_ranks(points)
        if ranks[-1] == 0:
            return True
        distance = np.abs(np.log(cost / trial.cost))
        near = distance <= max(LIKE, np.sort(distance)[:NUM_PEERS][-1])
        error = points[:, -1]
        better = near & ((ranks < ranks[-1]) | ((ranks == ranks[-1]) & (error < error[-1])))
        return int(better.sum()) < int(near.sum()) * share

    def _can_reach_front(self, trial: Curve, ended: Sequence[tuple[Curve, float]]) -> bool:
        """Whether no training that ended dominates the trial's optimistic end."""
        if len(ended) < MIN_ENDED:
            return True
        cost = np.array([curve.cost for curve, _ in ended])
        final = np.array([curve.accuracies[-1] for curve, _ in ended])
        end = optimistic_end(
            trial.cost, trial.accuracies[-1], cost, np.array([accuracy for _, accuracy in ended]), final
        )
        known, hoped = self._points(cost, final), self._points(np.array([trial.cost]), np.array([end]))
        return not bool((known <= hoped).all(axis=1).any())

    def _points(self, cost: Array, accuracy: Array) -> Array:
        """(n, 2) costs and errors, or (n, 1) rewards for one target; lower is better."""
        if self._objective.has_one_target:
            return -self._objective.mean_reward(accuracy, cost)[:, None]
        low, _ = self._objective.target_range
        return np.column_stack((np.maximum(cost, low), -accuracy))


def foresight(ended: Sequence[tuple[Curve, float]]) -> float:
    """The share of the ends' variance that a rung has foretold: the squared correlation beside cost, 0 where that is negative.

    0 where too few have ended to tell.

    Args:
        ended: trainings that ended, with their accuracy at the rung.
    """
    if len(ended) < MIN_ENDED:
        return 0.0
    cost = np.array([curve.cost for curve, _ in ended])
    _, x = _beside_cost(cost, log_error([accuracy for _, accuracy in ended]), cost[0])
    _, y = _beside_cost(cost, log_error([curve.accuracies[-1] for curve, _ in ended]), cost[0])
    spread = float(x @ x) * float(y @ y)
    return max(0.0, float(x @ y)) ** 2 / spread if spread > 1e-18 else 0.0


def optimistic_end(cost: float, accuracy: float, costs: Array, at_rung: Array, at_end: Array) -> float:
    """How good a training may become at the best, going by others.

    Log errors at the rung and at the end are lines in log cost, fitted to trainings that ended. A training that lies beside the
    line at the rung is expected to lie beside it at the end, by a slope between 0 and 1 that is fitted too: who was better at a
    rung is not expected to be worse at the end, nor to pull ahead. It may end `OPTIMISM` standard deviations of the rest better.

    Args:
        cost: of the training.
        accuracy: at the rung.
        costs: (n,) of the others, n >= 2.
        at_rung: (n,) their accuracies there.
        at_end: (n,) their accuracies at the end.
    """
    expected_there, x = _beside_cost(costs, log_error(at_rung), cost)
    expected, y = _beside_cost(costs, log_error(at_end), cost)
    spread = float(x @ x)
    slope = float(np.clip(x @ y / spread, 0, 1)) if spread > 1e-12 else 0.0
    left = y - slope * x
    std = math.sqrt(float(left @ left) / max(1, len(y) - 3))
    end = expected + slope * (float(log_error(accuracy)) - expected_there)
    return float(accuracy_of(end - OPTIMISM * std))


def _beside_cost(costs: Array, values: Array, cost: float) -> tuple[float, Array]:
    """The line through (n,) values by log cost: where it is at `cost`, and (n,) how far each value is beside it."""
    x = np.log(costs)
    away = x - x.mean()
    spread = float(away @ away)
    slope = float(away @ values) / spread if spread > 1e-12 else 0.0
    middle = float(values.mean())
    return middle + slope * (math.log(cost) - float(x.mean())), values - middle - slope * away


def non_dominated_ranks(points: Array) -> NDArray[np.int64]:
    """The layer of each of (n, 2) or (n, 1) points, lower is better: 0 for the front, 1 for the front of the others, and so on.

    In O(n log n): taken by rising cost, a point lies behind every layer whose best error so far is no worse than its own.
    """
    distinct, copies = np.unique(points, axis=0, return_inverse=True)
    if points.shape[1] == 1:
        return copies.reshape(-1)
    best: list[float] = []
    ranks = np.empty(len(distinct), dtype=np.int64)
    for i, error in enumerate(distinct[:, 1].tolist()):
        ranks[i] = layer = bisect_right(best, error)
        best[layer : layer + 1] = [error]
    return ranks[copies.reshape(-1)]


FIDELITIES = ("full", "halving")


def make_fidelity(settings: Mapping[str, Any], objective: Objective) -> Fidelity:
    """The fidelity that a file of conf/fidelity/ describes.

    Args:
        settings: its `name`, and arguments of its class.
        objective: resolved.

    Raises:
        InputError: an unknown name, or arguments it does not take.
    """
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in FIDELITIES:
        raise InputError(f"fidelity.name: unknown fidelity '{name}'{did_you_mean(name, FIDELITIES)}")
    try:
        return Full(**arguments) if name == "full" else Halving(objective, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"fidelity={name}: {error}") from error
