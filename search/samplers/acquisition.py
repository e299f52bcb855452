"""Expected improvement of the MnasNet reward, averaged over the targets: pure functions on arrays.

Accuracy is uncertain: error = 1 - accuracy + `OFFSET` is log-normal. Cost is exact. At one target T the reward is
accuracy x f with a known factor f = (cost / T)^w, so the expected improvement over the best reward so far is

    E[max(0, f accuracy - best)] = f E[max(0, strike - error)],   strike = 1 + OFFSET - best / f,

the value of a put option on the error (Black and Scholes 1973) without discount, in closed form.

The average over log-uniform targets is a sum over cells of log T: between two neighbouring front costs, cut further by a
grid. A candidate's cost cuts the cell it falls into once more, since alpha holds above it and beta below. For hard targets
(alpha 0, beta -inf) all is constant inside a cell, so the sum is exact: it is the expected hypervolume improvement in
(log cost, accuracy) divided by the length of the range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from search.objective.pareto import non_dominated
from search.objective.reward import Objective, front_points

Array = NDArray[np.float64]

OFFSET = 1e-3
"""Added to the error, so that a network without a single error has a logarithm."""


_NODES, _WEIGHTS = (
    values / scale for values, scale in zip(np.polynomial.hermite_e.hermegauss(7), (1, math.sqrt(2 * math.pi)))
)
"""Of Gauss-Hermite quadrature over a standard normal number."""


def log_error(accuracy: ArrayLike) -> Array:
    """What the surrogate models; lower is better."""
    return np.log1p(OFFSET - np.asarray(accuracy, dtype=float))


def accuracy_of(log_errors: ArrayLike) -> Array:
    """The inverse of `log_error`, at least 0 and at most 1."""
    return np.clip(1 + OFFSET - np.exp(np.asarray(log_errors, dtype=float)), 0, 1)


@dataclass(frozen=True)
class Incumbents:
    """The best rewards so far, target by target."""

    objective: Objective
    left: Array
    """(k,) lower edges of cells of log target."""
    right: Array
    """(k,) upper edges; the same as the lower one for one target."""
    best: Array
    """(k,) best reward so far at the middle of each cell."""

    @classmethod
    def of(
        cls, objective: Objective, accuracy: ArrayLike, cost: ArrayLike, chance: float = 0.0, num_cells: int = 32
    ) -> Incumbents:
        """The best rewards among evaluated networks.

        Args:
            objective: resolved.
            accuracy: (n,) accuracies, n >= 0.
            cost: (n,) costs above 0.
            chance: accuracy that is worth nothing, the hypervolume's reference: at every target, a network of just that cost
                and this accuracy counts as known.
            num_cells: of the grid, where rewards change inside a cell.
        """
        accuracy, cost = np.asarray(accuracy, dtype=float), np.asarray(cost, dtype=float)
        if objective.has_one_target:
            left = right = np.log(objective.target_range[:1])
        else:
            edges = _edges(objective, accuracy, cost, num_cells)
            left, right = edges[:-1], edges[1:]
        best = np.full(len(left), chance)
        if len(accuracy):
            best = np.maximum(best, objective.reward(accuracy, cost, np.exp((left + right) / 2)).max(axis=0))
        return cls(objective, left, right, best)

    def expected_improvement(
        self, mean: ArrayLike, std: ArrayLike, cost: ArrayLike, cost_error: ArrayLike = 0.0
    ) -> Array:
        """The mean over targets of E[max(0, reward - best)].

        Args:
            mean: (n,) expected log error.
            std: (n,) its standard deviation, at least 0.
            cost: (n,) costs.
            cost_error: (n,) relative standard deviation of each, where costs are predicted: they are then log-normal.

        Returns:
            (n,) improvements of the reward, at least 0.
        """
        log_cost, error = np.log(np.asarray(cost, dtype=float)), np.asarray(cost_error, dtype=float)
        if not error.any():
            return self._at_exact_cost(mean, std, log_cost)
        return sum(
            weight * self._at_exact_cost(mean, std, log_cost + node * error)
            for node, weight in zip(_NODES, _WEIGHTS, strict=True)
        )

    def _at_exact_cost(self, mean: ArrayLike, std: ArrayLike, log_cost: Array) -> Array:
        mean, std = np.asarray(mean, dtype=float)[:, None], np.asarray(std, dtype=float)[:, None]
        log_cost = log_cost[:, None]
        width = self.right - self.left
        if self.objective.has_one_target:  # a cell without a width: it counts whole, on one side of the cost
            met, exceeded = (log_cost <= self.left) * 1.0, (log_cost > self.left) * 1.0
            cut = self.left[None]
        else:
            cut = np.clip(log_cost, self.left, self.right)  # (n, k)
            met, exceeded = (self.right - cut) / width.sum(), (cut - self.left) / width.sum()
        gain = met * self._improvement(mean, std, self.objective.alpha, log_cost - (cut + self.right) / 2)
        if self.objective.beta > -math.inf:
            gain += exceeded * self._improvement(mean, std, self.objective.beta, log_cost - (self.left + cut) / 2)
        return gain.sum(axis=1)

    def _improvement(self, mean: Array, std: Array, exponent: float, log_ratio: Array) -> Array:
        """(n, k) expected improvement where the factor is exp(exponent * log_ratio)."""
        # clipped, because it is also computed where its weight is nought and an exponential would overflow
        factor = np.exp(np.clip(exponent * log_ratio, -50, 50)) if exponent else np.ones((1, 1))
        return factor * put(1 + OFFSET - self.best / factor, mean, std)


def put(strike: Array, mean: Array, std: Array) -> Array:
    """E[max(0, strike - X)] where log X is normal; 0 where the strike is not above 0. Arrays broadcast."""
    positive = np.maximum(strike, 1e-300)
    spread = np.maximum(std, 1e-9)
    d = (np.log(positive) - mean) / spread
    value = positive * ndtr(d) - np.exp(mean + spread**2 / 2) * ndtr(d - spread)
    return np.where(strike > 0, np.maximum(value, 0.0), 0.0)


def _edges(objective: Objective, accuracy: Array, cost: Array, num_cells: int) -> Array:
    """(k + 1,) rising edges of cells of log target that hold no front cost inside."""
    low, high = np.log(objective.target_range)
    edges = [np.array([low, high])]
    if len(cost):
        points = front_points(accuracy, cost)
        edges.append(np.clip(points[non_dominated(points), 0], low, high))
    if objective.alpha or objective.beta > -math.inf:
        edges.append(np.linspace(low, high, num_cells + 1))
    return np.unique(np.concatenate(edges))
