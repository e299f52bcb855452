"""Regularized evolution: mutate the best of a few, and let the oldest die.

Paper: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", https://arxiv.org/abs/1802.01548,
algorithm 1. We depart from it where there is a range of targets: each tournament is then held for a target of its own,
log-uniform in the range, so that the population spreads over the front instead of gathering at one cost.
"""

from __future__ import annotations

import numpy as np

from search.samplers.base import Past, SpaceSampler
from search.samplers.pool import Pool
from spaces.space import Decisions

MAX_DRAWS = 100
"""Candidates drawn for one proposal at the most, until one keeps the hard limits and was not evaluated."""


class RegularizedEvolution(SpaceSampler):
    """Aging evolution over the decisions of a space.

    Args:
        seed: of everything it draws.
        population_size: P, the youngest candidates that are alive; as many are random at the start.
        sample_size: S, how many of them meet in a tournament.
    """

    def __init__(self, seed: int | None = None, population_size: int = 32, sample_size: int = 8) -> None:
        super().__init__(seed)
        if not 1 <= sample_size <= population_size:
            raise ValueError(f"sample_size must be from 1 to population_size ({population_size}), got {sample_size}")
        self._population_size = population_size
        self._sample_size = sample_size

    def propose(self, past: Past, number: int, rng: np.random.Generator) -> Decisions:
        """A mutant of a tournament's winner; a random candidate while the first population is not full."""
        population = past.of("complete")[-self._population_size :]
        founding = len(past.results) < self._population_size or not population
        pool = Pool(self, self._seed)
        parent: Decisions = {}
        if not founding:
            low, high = np.log(self.objective.target_range)
            target = float(np.exp(rng.uniform(low, high)))
            chosen = rng.choice(len(population), min(self._sample_size, len(population)), replace=False)
            accuracy = np.array([population[i].accuracy for i in chosen])
            cost = np.array([self.price(population[i].point) for i in chosen])
            rewards = self.objective.reward(accuracy, cost, target)
            # where none meets the target, the nearest to it wins
            winner = np.lexsort((cost, -rewards))[0]
            parent = population[chosen[winner]].point.decisions
        child: Decisions = {}
        for _ in range(MAX_DRAWS):
            child = self.space.sample(rng) if founding else pool.mutate(parent, rng)
            point = self.point(child)
            if point.excess:
                continue
            if not past.knows(point):
                break
            parent = child  # where all neighbours are known, the neighbours of a neighbour are not
        return child
