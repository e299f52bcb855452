"""A controller over the decisions, trained by REINFORCE.

Papers: Zoph and Le 2017, "Neural Architecture Search with Reinforcement Learning", https://arxiv.org/abs/1611.01578; Tan et al.
2019, "MnasNet", https://arxiv.org/abs/1807.11626. Theirs is a recurrent network that is trained on thousands of candidates; ours
is one softmax for each decision, which learns from as many as a small study has, as in Bender et al. 2020, "Can weight sharing
outperform random architecture search?", https://arxiv.org/abs/2008.06120.

With a range of targets every trial is given one of them, by its number, and the softmaxes are linear in its logarithm: the
controller learns what to do at each cost. Its state is a function of the trials that ended, replayed in the order in
which they did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search.objective.reward import Objective
from search.samplers.base import Array, CostFunction, Past, Result, SpaceSampler
from search.samplers.design import van_der_corput
from spaces import Decision, SearchSpace
from spaces.space import Decisions
from spaces.values import Choice, Domain, Float, Int, Value

NUM_BINS = 8
"""Parts into which a range is divided that has more values than this."""
MAX_DRAWS = 100
"""Candidates drawn for one proposal at the most, until one keeps the hard limits and was not evaluated."""


class Reinforce(SpaceSampler):
    """Draws from a policy that follows the gradient of the expected reward.

    Args:
        seed: of everything it draws.
        learning_rate: step along the gradient of the logarithm of the policy, for rewards of variance 1.
        baseline_decay: of the moving average of rewards that is subtracted.
    """

    def __init__(self, seed: int | None = None, learning_rate: float = 0.15, baseline_decay: float = 0.9) -> None:
        super().__init__(seed)
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
        if not 0 <= baseline_decay < 1:
            raise ValueError(f"baseline_decay must be at least 0 and below 1, got {baseline_decay}")
        self._learning_rate = learning_rate
        self._decay = baseline_decay

    def bind(self, space: SearchSpace, objective: Objective, costs: CostFunction) -> None:
        """Learns what it samples for, and forgets the policy."""
        super().bind(space, objective, costs)
        self._options = {decision.name: _options(decision.domain) for decision in space.decisions}
        self._domains = {decision.name: decision.domain for decision in space.decisions}
        self._policy = _Policy(self._options)

    def propose(self, past: Past, number: int, rng: np.random.Generator) -> Decisions:
        """Decisions drawn from the policy for the trial's target."""
        policy = self._learn([*past.of("complete"), *past.of("failed")])
        context = self._context(number)

        def choose(decision: Decision) -> Value:
            options = self._options[decision.name]
            chances = _softmax(policy[decision.name] @ context)
            index = int(rng.choice(len(chances), p=chances))
            return options[index] if options else _draw(decision.domain, index, rng)

        decisions: Decisions = {}
        for _ in range(MAX_DRAWS):
            decisions = self.space.decide(choose)
            point = self.point(decisions)
            if not point.excess and not past.knows(point):
                break
        return decisions

    def _target(self, number: int) -> float:
        """Evenly spread over the log-uniform range, however many trials there are."""
        low, high = np.log(self.objective.target_range)
        return float(np.exp(low + (high - low) * van_der_corput(number + 1)))

    def _context(self, number: int) -> Array:
        """(2,) one, and the position of the trial's target in the range from -1 to 1."""
        return np.array([1.0, 2 * van_der_corput(number + 1) - 1])

    def _learn(self, results: Sequence[Result]) -> dict[str, Array]:
        """(k, 2) weights of each decision's logits after all updates."""
        results = sorted(results, key=lambda result: (result.ended, result.number))
        numbers = [result.number for result in results]
        if numbers[: len(self._policy.learnt)] != self._policy.learnt:
            self._policy = _Policy(self._options)
        for result in results[len(self._policy.learnt) :]:
            accuracy = 0.0 if result.state == "failed" else result.accuracy
            reward = float(self.objective.reward(accuracy, self.price(result.point), self._target(result.number)))
            advantage = self._policy.advantage(reward, self._decay)
            context = self._context(result.number)
            for name, value in result.point.decisions.items():
                index = _index(self._domains[name], self._options[name], value)
                self._policy.update(name, index, context, self._learning_rate * advantage)
            self._policy.learnt.append(result.number)
        return self._policy.weights


class _Policy:
    """What was learnt from some trials."""

    def __init__(self, options: Mapping[str, Sequence[Value]]) -> None:
        self.weights = {name: np.zeros((len(values) or NUM_BINS, 2)) for name, values in options.items()}
        self.learnt: list[int] = []
        """Numbers of the trials, in order."""
        self._mean, self._variance = math.nan, 1.0

    def advantage(self, reward: float, decay: float) -> float:
        """How much better than usual a reward is, in standard deviations, at most 3."""
        self._mean = reward if math.isnan(self._mean) else self._mean
        excess = reward - self._mean
        advantage = excess / math.sqrt(self._variance)
        self._mean += (1 - decay) * excess
        self._variance += (1 - decay) * (max(excess**2, 1e-4) - self._variance)
        return max(-3.0, min(3.0, advantage))

    def update(self, name: str, index: int, context: Array, step: float) -> None:
        """Makes an option more likely in a context, or less where the step is negative."""
        gradient = -_softmax(self.weights[name] @ context)
        gradient[index] += 1
        self.weights[name] += step * np.outer(gradient, context)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _options(domain: Domain) -> Sequence[Value]:
    """What the policy chooses among; nothing where it chooses among parts of a range."""
    if isinstance(domain, Choice):
        return domain.labels
    if isinstance(domain, Int) and domain.num_values <= NUM_BINS:
        return range(domain.low, domain.high + 1)
    return ()


def _index(domain: Domain, options: Sequence[Value], value: Value) -> int:
    """Of the option that a value is, or of the part of a range it lies in."""
    return options.index(value) if options else min(NUM_BINS - 1, int(domain.encode(value)[0] * NUM_BINS))


def _draw(domain: Domain, index: int, rng: np.random.Generator) -> Value:
    """A value from a part of a range."""
    position = (index + rng.random()) / NUM_BINS
    if isinstance(domain, Int):
        return domain.low + round(position * (domain.high - domain.low))
    assert isinstance(domain, Float)
    if domain.log:
        return min(domain.high, max(domain.low, domain.low * (domain.high / domain.low) ** position))
    return domain.low + position * (domain.high - domain.low)
