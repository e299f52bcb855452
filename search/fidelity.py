"""How far each candidate is trained: fully, or only as far as it shows promise.

`Halving` is asynchronous successive halving for two objectives, in its stopping variant (Schmucker et al. 2021, "Multi-objective
Asynchronous Successive Halving", https://arxiv.org/abs/2106.12639; Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", https://arxiv.org/abs/1810.05934). At a rung (a share of its epochs) a training is compared with all that were there before
it. It trains on where

- its rank, the layer of the non-dominated sorting in (cost, accuracy so far), is among the best 1 / `reduction` of candidates of
  comparable cost, and
- its optimistic end, extrapolated from trainings that ended, can still reach the front at its cost.

Nobody waits for anybody: who comes early is compared with few. A training that is stopped is never on a front, so a stop that was
wrong costs a network, and never the truth of the front.

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

from search.objective import Objective
from search.samplers.acquisition import accuracy_of, log_error
from spaces.errors import InputError, did_you_mean

Array = NDArray[np.float64]

NUM_PEERS = 12
"""Candidates that are of comparable cost: as many as are nearest in log cost, ..."""
LIKE = math.log(1.1)
"""... and all that are nearer than this."""
MIN_ENDED = 5
"""Trainings that ended, below which no end is extrapolated."""
OPTIMISM = 1.0
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
        reduction: about one in so many goes on at a rung, and epochs grow by this factor from rung to rung.
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
        return self._is_promoted(trial, peers) and self._can_reach_front(trial, ended)

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

    def _is_promoted(self, trial: Curve, peers: Sequence[tuple[float, float]]) -> bool:
        """Whether fewer than 1 / reduction of those of comparable cost are better, itself among them."""
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
        return int(better.sum()) < int(near.sum()) / self._reduction

    def _can_reach_front(self, trial: Curve, ended: Sequence[tuple[Curve, float]]) -> bool:
        """Whether no training that ended dominates the trial's optimistic end."""
        if len(ended) < MIN_ENDED:
            return True
        cost = np.array([curve.cost for curve, _ in ended])
        final = np.array([curve.accuracies[-1] for curve, _ in ended])
        end = optimistic_end(trial.accuracies[-1], np.array([accuracy for _, accuracy in ended]), final)
        known, hoped = self._points(cost, final), self._points(np.array([trial.cost]), np.array([end]))
        return not bool((known <= hoped).all(axis=1).any())

    def _points(self, cost: Array, accuracy: Array) -> Array:
        """(n, 2) costs and errors, or (n, 1) rewards for one target; lower is better."""
        if self._objective.has_one_target:
            return -self._objective.mean_reward(accuracy, cost)[:, None]
        low, _ = self._objective.target_range
        return np.column_stack((np.maximum(cost, low), -accuracy))


def optimistic_end(accuracy: float, at_rung: Array, at_end: Array) -> float:
    """How good a training may become at the best, going by others.

    A line from log error at the rung to log error at the end, fitted to trainings that ended, and `OPTIMISM` standard deviations
    of what lies beside it. Its slope is between 0 and 1: who was better at a rung is not expected to be worse at the end, nor to
    pull ahead.

    Args:
        accuracy: at the rung.
        at_rung: (n,) accuracies of the others there, n >= 2.
        at_end: (n,) their accuracies at the end.
    """
    x, y = log_error(at_rung), log_error(at_end)
    spread = float(np.var(x))
    slope = float(np.clip(np.mean((x - x.mean()) * (y - y.mean())) / spread, 0, 1)) if spread > 0 else 0.0
    beside = y - y.mean() - slope * (x - x.mean())
    std = math.sqrt(float(np.sum(beside**2)) / max(1, len(y) - 2))
    end = float(y.mean()) + slope * (float(log_error(accuracy)) - float(x.mean()))
    return float(accuracy_of(end - OPTIMISM * std))


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
