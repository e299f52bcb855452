"""Candidates among which a sampler chooses: all of a small space, else random ones and what is near good ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from search.samplers.base import Array, Point, SpaceSampler
from spaces import Decision, InputError, SearchSpace
from spaces.space import Decisions
from spaces.values import Choice, Domain, Float, Value

MAX_ENUMERATED = 2_000
"""Spaces of up to so many sets of decisions are listed whole."""
NUM_BASE = 512
"""Random candidates that are drawn once, so that most of a pool's costs are known already."""
NUM_FRESH = 64
"""Random candidates drawn anew for each proposal."""
NUM_CHILDREN = 128
"""Mutants and crossings of good candidates for each proposal."""
NUM_ROUNDS = 6
"""Rounds of local search."""
NUM_STARTS = 4
"""Candidates whose neighbours are looked at in a round."""
MAX_NEIGHBOURS = 24
"""Neighbours of one candidate that are looked at, drawn where there are more."""
MAX_REPAIRS = 64
"""Steps from a candidate outside the hard limits towards one within them."""

Score = Callable[[Sequence[Point]], Array]


class Pool:
    """Candidates of the space that a sampler is bound to.

    Args:
        sampler: knows candidates and their costs.
        seed: of the base, which stays the same from proposal to proposal.
    """

    def __init__(self, sampler: SpaceSampler, seed: int) -> None:
        self._sampler = sampler
        self._space = sampler.space
        self._domains = {decision.name: decision.domain for decision in self._space.decisions}
        self._seed = seed

    @cached_property
    def everything(self) -> list[Point] | None:
        """All candidates of a small space; None where there are too many."""
        if self._space.size > MAX_ENUMERATED:
            return None
        return [self._sampler.point(decisions) for decisions in enumerate_decisions(self._space)]

    @cached_property
    def base(self) -> list[Point]:
        """All of a small space, else `NUM_BASE` random candidates: what stands for the space."""
        if self.everything is not None:
            return self.everything
        return self._random(NUM_BASE, np.random.default_rng((self._seed, 0)))

    @cached_property
    def cost_range(self) -> dict[str, tuple[float, float]]:
        """Least and greatest logarithm of each cost in the base."""
        logs = {name: [math.log(p.costs[name]) for p in self.base] for name in self.base[0].costs}
        return {name: (min(values), max(values)) for name, values in logs.items()}

    def feasible(self, rng: np.random.Generator) -> list[Point]:
        """Candidates within the hard limits, wherever such can be found: the base and some new ones."""
        if self.everything is not None:
            return [point for point in self.everything if not point.excess]
        points = [point for point in (*self.base, *self._random(NUM_FRESH, rng)) if not point.excess]
        if len(points) < NUM_STARTS:
            nearest = sorted(self.base, key=lambda point: point.excess)[:NUM_STARTS]
            repaired = [self._repair(point, rng) for point in nearest]
            points += [point for point in repaired if not point.excess] or repaired[: not points]
        return points

    def children(self, parents: Sequence[Point], rng: np.random.Generator) -> list[Point]:
        """Mutants and crossings of some candidates, within the hard limits."""
        if not parents or self.everything is not None:
            return []
        children = []
        for i in range(NUM_CHILDREN):
            first, second = (parents[int(rng.integers(len(parents)))].decisions for _ in range(2))
            child = self._cross(first, second, rng) if i % 3 == 0 else first
            num_changes = int(min(rng.geometric(0.6), 4)) if i % 3 else int(rng.integers(2))
            for _ in range(num_changes):
                child = self.mutate(child, rng)
            children.append(child)
        return self._allowed(children)

    def mutate(self, decisions: Decisions, rng: np.random.Generator) -> Decisions:
        """One active decision changed to a value near it; what the change newly activates is drawn at random."""
        names = [*decisions]
        for index in rng.permutation(len(names)):
            near = self._domains[names[index]].neighbours(decisions[names[index]], rng)
            if near:
                other = near[int(rng.integers(len(near)))]
                return self._space.complete({**decisions, names[index]: other}, rng)
        return decisions

    def climb(self, points: list[Point], score: Score, rng: np.random.Generator) -> tuple[list[Point], Array]:
        """Best-first local search from the best of some candidates.

        Args:
            points: where to start, at least one.
            score: (n,) values of n candidates, higher is better.
            rng: draws neighbours where there are many.

        Returns:
            All candidates seen, and their (n,) scores.
        """
        scores = score(points)
        if self.everything is not None:
            return points, scores
        points, seen, expanded = [*points], {id(point) for point in points}, set[int]()
        for _ in range(NUM_ROUNDS):
            best = [i for i in np.argsort(-scores, kind="stable")[: 4 * NUM_STARTS] if i not in expanded][:NUM_STARTS]
            expanded.update(best)
            found = (p for i in best for p in self._allowed(self._some_neighbours(points[i].decisions, rng)))
            new = list({id(p): p for p in found if id(p) not in seen}.values())
            if new:
                seen.update(map(id, new))
                points += new
                scores = np.concatenate((scores, score(new)))
        return points, scores

    def _some_neighbours(self, decisions: Decisions, rng: np.random.Generator) -> list[Decisions]:
        near = self._space.neighbours(decisions, rng)
        if len(near) <= MAX_NEIGHBOURS:
            return near
        return [near[i] for i in rng.choice(len(near), MAX_NEIGHBOURS, replace=False)]

    def _cross(self, first: Decisions, second: Decisions, rng: np.random.Generator) -> Decisions:
        """Each decision from one of two parents."""
        mixed = {**first, **second, **{name: value for name, value in first.items() if rng.random() < 0.5}}
        return self._space.complete(mixed, rng)

    def _repair(self, point: Point, rng: np.random.Generator) -> Point:
        """The end of a walk to neighbours that are ever less outside the hard limits."""
        for _ in range(MAX_REPAIRS):
            near = self._points(self._some_neighbours(point.decisions, rng))
            best = min(near, key=lambda other: other.excess, default=point)
            if not point.excess or best.excess >= point.excess:
                break
            point = best
        return point

    def _random(self, count: int, rng: np.random.Generator) -> list[Point]:
        return list(self._points(self._space.sample(rng) for _ in range(count)))

    def _allowed(self, decisions: Iterable[Decisions]) -> list[Point]:
        return [point for point in self._points(decisions) if not point.excess]

    def _points(self, decisions: Iterable[Decisions]) -> Iterator[Point]:
        """Those of which a network can be assembled: some option that no random candidate met may fail."""
        for decided in decisions:
            try:
                yield self._sampler.point(decided)
            except InputError:
                continue


def enumerate_decisions(space: SearchSpace) -> Iterator[Decisions]:
    """All sets of decisions of a space of finite size, by counting up the last decision that has values left."""
    path: list[int] = []
    while True:
        sizes: list[int] = []

        def choose(decision: Decision, sizes: list[int] = sizes) -> Value:
            values = _values(decision.domain)
            if len(sizes) == len(path):
                path.append(0)
            sizes.append(len(values))
            return values[path[len(sizes) - 1]]

        yield space.decide(choose)
        while path and path[-1] == sizes[len(path) - 1] - 1:
            path.pop()
        if not path:
            return
        path[-1] += 1


def _values(domain: Domain) -> Sequence[Value]:
    """All values of a domain that has finitely many."""
    if isinstance(domain, Choice):
        return domain.labels
    if isinstance(domain, Float):
        return (domain.low,)
    return range(domain.low, domain.high + 1)
