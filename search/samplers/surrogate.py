"""A small exact Gaussian process over encoded candidates: pure functions on arrays.

The kernel is a sum of four, whose weights the marginal likelihood finds:

- a trend in the logarithms of the costs, which explains most of the accuracy of a network;
- main effects of every decision, a Bayesian linear regression on its columns and their squares;
- interactions of any two of these, the square of that kernel (Rasmussen and Williams 2006, section 4.2.2);
- Matern 5/2 over all columns, for the rest.

With forty trials and sixty decisions nearly all is learnt by the first two; a Matern kernel alone would have to see neighbours
of a candidate before it could say anything about it. One relevance for each group of decisions (the same one of several
layers, say) is shared by the last three: a decision with large effects is also one in which distance matters, and sharing needs
fewer trials to find that out. All are at the maximum of their posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

_SQRT5 = math.sqrt(5)
_JITTER = 1e-6


@dataclass(frozen=True)
class Layout:
    """Which columns belong together."""

    groups: NDArray[np.int64]
    """(d,) group of each column, from 0: the columns of decisions that are alike, one group for each cost."""
    ordered: NDArray[np.bool_]
    """(d,) columns that hold a position, not one of several options."""
    is_cost: NDArray[np.bool_]
    """(d,) columns that hold a cost."""
    num_parts: int
    """Number of decisions and costs."""

    @property
    def num_groups(self) -> int:
        """Number of relevances."""
        return int(self.groups.max()) + 1

    def distances(self, x: Array) -> Array:
        """(g, n * n) squared distances of (n, d) inputs in each group."""
        found = np.empty((self.num_groups, len(x), len(x)))
        for group in range(self.num_groups):
            part = x[:, self.groups == group]
            squares = (part**2).sum(axis=1)
            np.maximum(squares[:, None] + squares - 2 * part @ part.T, 0, out=found[group])
        return found.reshape(self.num_groups, -1)

    def trend(self, x: Array) -> Array:
        """(n, p) features of the costs."""
        return np.hstack((_position(x), _curve(x)))[:, np.tile(self.is_cost, 2)] / math.sqrt(max(1, self.is_cost.sum()))

    def effects(self, x: Array) -> Array:
        """(n, q) features of the main effects, whose groups are `effect_groups`."""
        plain = self.ordered & ~self.is_cost
        return np.hstack((_position(x[:, plain]), _curve(x[:, plain]), x[:, ~self.ordered]))

    @cached_property
    def effect_groups(self) -> NDArray[np.int64]:
        """(q,) group of each column of `effects`."""
        plain = self.groups[self.ordered & ~self.is_cost]
        return np.concatenate((plain, plain, self.groups[~self.ordered]))


def _position(x: Array) -> Array:
    return 2 * x - 1


def _curve(x: Array) -> Array:
    """The second Legendre polynomial, which is orthogonal to the position."""
    return 1.5 * _position(x) ** 2 - 0.5


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms of everything that the marginal likelihood finds."""

    theta: Array
    """(6 + g,) weights of trend, main effects, interactions and Matern, noise variance, length scale; then g relevances."""
    num_parts: int
    """Of the layout."""

    @property
    def weights(self) -> Array:
        """(4,) weights of the kernels."""
        return np.exp(self.theta[:4])

    @property
    def noise(self) -> float:
        """Variance of the noise."""
        return float(np.exp(self.theta[4]))

    @property
    def precision(self) -> Array:
        """(g,) what squared distances in each group are multiplied by."""
        return self.relevance * np.exp(-2 * self.theta[5])

    @property
    def relevance(self) -> Array:
        """(g,) relevance of each group, divided by the number of decisions and costs."""
        return np.exp(self.theta[6:]) / self.num_parts


class Prior:
    """Normal priors on the logarithms, for targets of variance 1."""

    def __init__(self, num_groups: int) -> None:
        self.mean = np.concatenate((np.log([1.0, 1.0, 0.2, 0.5, 0.1]), [1.5], np.zeros(num_groups)))
        self.std = np.concatenate(([1.5, 1.5, 1.5, 1.5, 2.0], [1.0], np.ones(num_groups)))

    def penalty(self, theta: Array) -> tuple[float, Array]:
        """Negative logarithm up to a constant, with its gradient."""
        z = (theta - self.mean) / self.std
        return float(z @ z) / 2, z / self.std


def fit(
    layout: Layout, x: Array, y: Array, extra_noise: Array, *, num_starts: int = 2, max_steps: int = 40
) -> Hyperparameters:
    """Hyperparameters at the maximum of their posterior.

    Args:
        layout: of the columns.
        x: (n, d) inputs in [0, 1].
        y: (n,) targets of about mean 0 and variance 1.
        extra_noise: (n,) known variance on top of the learnt one.
        num_starts: 1 starts at the prior's mean, 2 also where all is noise and trend.
        max_steps: of the optimizer, from each start.
    """
    prior = Prior(layout.num_groups)
    loss = Loss(layout, x, y, extra_noise, prior)
    bounds = [(m - 4 * s, m + 4 * s) for m, s in zip(prior.mean, prior.std, strict=True)]
    bounds[4] = (math.log(1e-5), math.log(2.0))
    starts = [prior.mean, prior.mean + np.concatenate(([1, 0, -1, -2, 3, 0], np.zeros(layout.num_groups)))]
    found = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": max_steps})
        for start in starts[:num_starts]
    ]
    return Hyperparameters(min(found, key=lambda result: result.fun).x, layout.num_parts)


class Loss:
    """The negative logarithm of the posterior of the hyperparameters up to a constant, with its gradient."""

    def __init__(self, layout: Layout, x: Array, y: Array, extra_noise: Array, prior: Prior) -> None:
        trend = layout.trend(x)
        self.trend = trend @ trend.T  # (n, n)
        self.effects = layout.effects(x)  # (n, q)
        self.effect_groups = layout.effect_groups
        self.distances = layout.distances(x)  # (g, n * n)
        self.num_parts = layout.num_parts
        self.y, self.extra_noise, self.prior = y, extra_noise, prior

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """The loss at (6 + g,) `theta`, and its (6 + g,) gradient."""
        n, given = len(self.y), Hyperparameters(theta, self.num_parts)
        (trend, main, pairs, local), relevance = given.weights, given.relevance
        effects = (self.effects * relevance[self.effect_groups]) @ self.effects.T
        r = _SQRT5 * np.sqrt(given.precision @ self.distances).reshape(n, n)
        decay = np.exp(-r)
        matern = (1 + r + r**2 / 3) * decay
        kernel = 1 + trend * self.trend + main * effects + pairs * effects**2 + local * matern
        kernel[np.diag_indices(n)] += given.noise + self.extra_noise + _JITTER
        lower = cholesky(kernel, lower=True, check_finite=False)
        inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
        alpha = inverse @ self.y
        value = self.y @ alpha / 2 + np.log(np.diag(lower)).sum()
        outer = (inverse - np.outer(alpha, alpha)) / 2  # derivative by the kernel
        # d Matern / d(distance^2) = -5/6 (1 + sqrt5 r) exp(-sqrt5 r)
        slope = (outer * (1 + r) * decay).ravel() * (-5 / 6 * local)
        by_distance = given.precision * (self.distances @ slope)  # (g,)
        by_effect = (self.effects * ((outer * (main + 2 * pairs * effects)) @ self.effects)).sum(axis=0)  # (q,)
        by_relevance = np.bincount(self.effect_groups, by_effect, len(relevance)) * relevance + by_distance
        weights = [np.sum(outer * part) for part in (self.trend, effects, effects**2, matern)]
        own = [*given.weights * weights, given.noise * np.trace(outer), -2 * by_distance.sum()]
        penalty, slopes = self.prior.penalty(theta)
        return value + penalty, np.concatenate((own, by_relevance)) + slopes


@dataclass(frozen=True)
class Posterior:
    """What some observations say about any other candidate."""

    layout: Layout
    hyperparameters: Hyperparameters
    x: Array
    """(n, d) inputs."""
    y: Array
    """(n,) targets."""
    extra_noise: Array
    """(n,) known variance on top of the learnt one."""

    @cached_property
    def _lower(self) -> Array:
        kernel = self._kernel(self.x)
        kernel[np.diag_indices(len(self.x))] += self.hyperparameters.noise + self.extra_noise + _JITTER
        return cholesky(kernel, lower=True, check_finite=False)

    @cached_property
    def _alpha(self) -> Array:
        return cho_solve((self._lower, True), self.y, check_finite=False)

    @cached_property
    def _features(self) -> tuple[Array, Array, Array]:
        return self._prepare(self.x)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """(m,) mean and (m,) standard deviation at (m, d) inputs, of the function without noise."""
        cross = self._kernel(x)  # (m, n)
        reduced = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        weights = self.hyperparameters.weights
        trend, effects, _ = self._prepare(x)
        main = (effects**2).sum(axis=1)
        variance = 1 + weights[0] * (trend**2).sum(axis=1) + weights[1] * main + weights[2] * main**2 + weights[3]
        return cross @ self._alpha, np.sqrt(np.maximum(variance - (reduced**2).sum(axis=0), 1e-12))

    def believe(self, x: Array) -> Posterior:
        """As if (m, d) more inputs had been observed at their means ("kriging believer", Ginsbourger et al. 2010)."""
        mean, _ = self.predict(x)
        return Posterior(
            self.layout,
            self.hyperparameters,
            np.concatenate((self.x, x)),
            np.concatenate((self.y, mean)),
            np.concatenate((self.extra_noise, np.zeros(len(x)))),
        )

    def _prepare(self, x: Array) -> tuple[Array, Array, Array]:
        given, layout = self.hyperparameters, self.layout
        effects = layout.effects(x) * np.sqrt(given.relevance[layout.effect_groups])
        return layout.trend(x), effects, x * np.sqrt(5 * given.precision[layout.groups])

    def _kernel(self, x: Array) -> Array:
        """(m, n) covariances of (m, d) inputs with the observed ones."""
        trend, effects, scaled = self._prepare(x)
        own_trend, own_effects, own_scaled = self._features
        weights = self.hyperparameters.weights
        main = effects @ own_effects.T
        kernel = 1 + weights[0] * (trend @ own_trend.T) + weights[1] * main + weights[2] * main**2
        squares = (scaled**2).sum(axis=1)[:, None] + (own_scaled**2).sum(axis=1) - 2 * scaled @ own_scaled.T
        r = np.sqrt(np.maximum(squares, 0))
        kernel += weights[3] * (1 + r + r**2 / 3) * np.exp(-r)
        return kernel
