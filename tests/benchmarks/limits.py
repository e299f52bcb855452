"""What a table's noise leaves for a search to find: how far accuracies, and early epochs, can be predicted at all.

Every network of a table was trained once, so its accuracy holds luck that no search can foresee. The sampler's own surrogate, told
the accuracies of all networks but one, predicts that one (leave-one-out, Rasmussen and Williams 2006, equations 5.10 to 5.12); what
remains is what it could not know from any number of evaluations.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from problems import Problem
from scipy.linalg import cho_solve

from search.objective.costs import Costs
from search.objective.pareto import Front
from search.objective.reward import Objective
from search.samplers.acquisition import Incumbents, accuracy_of, log_error
from search.samplers.cost_aware import CostAwareSampler
from search.samplers.surrogate import Posterior, fit

Array = NDArray[np.float64]
NUM_FITTED = 260
"""Networks that hyperparameters are fitted to."""


class Limits:
    """Of a problem whose candidates can be listed."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._objective = Objective(target=problem.cost_range)
        candidates = [*problem.candidates.values()]
        self._curves = np.array([problem.curve(candidate) for candidate in candidates])  # (n, e)
        sampler = CostAwareSampler(seed=0)
        sampler.bind(problem.space, self._objective, Costs())
        points = [sampler.point(candidate.decisions) for candidate in candidates]
        self._layout, self._inputs = sampler._layout, sampler._inputs(points)
        self._flops = np.array([point.costs["flops"] for point in points])

    def _left_out(self, accuracy: Array) -> tuple[Array, Array]:
        """(n,) means and (n,) standard deviations of the log errors, each predicted from all others."""
        errors = log_error(accuracy)
        mean, std = errors.mean(), errors.std()
        y = (errors - mean) / std
        some = np.random.default_rng(0).permutation(len(y))[:NUM_FITTED]
        fitted = fit(self._layout, self._inputs[some], y[some], np.zeros(len(some)))
        posterior = Posterior(self._layout, fitted, self._inputs, y, np.zeros(len(y)))
        inverse = cho_solve((posterior._lower, True), np.eye(len(y)))
        variance = 1 / np.diag(inverse)
        return mean + std * (y - variance * (inverse @ y)), std * np.sqrt(variance)

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        return self._left_out(self._curves[:, -1])

    @property
    def unforeseen(self) -> tuple[float, float]:
        """Of the accuracy, from all others: the standard deviation that is left, and the share of variance explained."""
        accuracy = self._curves[:, -1]
        rest = accuracy - accuracy_of(self._ends[0])
        return float(rest.std()), 1 - float(rest.var() / accuracy.var())

    @property
    def news(self) -> Array:
        """(e - 1,) for each epoch but the last: how what is unforeseen of its accuracy goes along with what is of the end's."""
        left = [log_error(epoch) - self._left_out(epoch)[0] for epoch in self._curves.T[:-1]]
        end = log_error(self._curves[:, -1]) - self._ends[0]
        return np.array([np.corrcoef(rest, end)[0, 1] for rest in left])

    def informed(self, shares: tuple[float, ...]) -> list[int]:
        """Evaluations to each share, by expected improvement, of who predicts each network from the accuracies of all others."""
        mean, std = self._ends
        accuracy, front, known = self._curves[:, -1], Front(self._problem.reference), list[int]()
        needed = []
        for share in shares:
            while front.hypervolume < share * self._problem.hypervolume:
                incumbents = Incumbents.of(self._objective, accuracy[known], self._flops[known], self._problem.chance)
                # where nothing can be gained any more, the uncertain comes first
                gain = incumbents.expected_improvement(mean, std, self._flops) + 1e-12 * std
                gain[known] = -1
                known.append(int(np.argmax(gain)))
                pair = np.array([[self._flops[known[-1]], accuracy[known[-1]]]])
                front.add(*self._problem.points(pair)[0])
            needed.append(len(known))
        return needed
