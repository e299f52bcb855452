"""Regularized evolution and REINFORCE: what each takes from the past."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from search.objective.costs import Costs
from search.objective.reward import Objective
from search.samplers import SpaceSampler
from search.samplers.base import Past, Result
from search.samplers.evolution import RegularizedEvolution
from search.samplers.reinforce import Reinforce
from search.study.study import Outcome, Study
from spaces import SearchSpace


def bound(sampler: SpaceSampler, space: SearchSpace, target: float = 1e9) -> SpaceSampler:
    sampler.bind(space, Objective(target=target), Costs())
    return sampler


def results(sampler: SpaceSampler, space: SearchSpace, accuracies: list[float]) -> list[Result]:
    rng = np.random.default_rng(0)
    return [Result(i, sampler.point(space.sample(rng)), "complete", a, (), float(i)) for i, a in enumerate(accuracies)]


def test_evolution_changes_one_decision_of_the_best_that_is_alive(small_space: SearchSpace) -> None:
    sampler = bound(RegularizedEvolution(seed=0, population_size=6, sample_size=6), small_space)
    # the very best is too old: eight came after it
    past = Past(results(sampler, small_space, [0.99, *[0.5] * 4, 0.9, *[0.4] * 3]))
    parent = past.results[5].point.decisions
    for seed in range(20):
        child = sampler.propose(past, 9, np.random.default_rng(seed))
        shared = parent.keys() & child.keys()
        assert sum(parent[name] != child[name] for name in shared) <= 1
        assert not past.knows(sampler.point(child))


def test_evolution_starts_at_random(small_space: SearchSpace) -> None:
    sampler = bound(RegularizedEvolution(seed=0, population_size=4, sample_size=2), small_space)
    first = [sampler.propose(Past(), 0, np.random.default_rng(seed)) for seed in range(40)]
    assert {decisions["layers.1.repeat"] for decisions in first} == {1, 2, 3}


def test_reinforce_comes_to_prefer_what_was_rewarded() -> None:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": {"choice": [8, 16, 24]}, "kernel_size": {"int": [1, 40]}}]},
        {"lr": {"float": [1e-3, 1.0], "log": True}},
        in_channels=1,
        num_classes=2,
        resolution=64,
    )
    study = Study(space, Objective(target=1e12), Reinforce(seed=0), optuna.storages.InMemoryStorage(), trials=150)
    chosen = []
    while (proposal := study.ask()) is not None:
        decisions = proposal.candidate.decisions
        chosen.append((decisions["layers.0.channels"] == 16, float(decisions["train.lr"]) > 0.1))  # type: ignore[arg-type]
        study.tell(proposal.number, Outcome("complete", 0.2 + 0.4 * chosen[-1][0] + 0.3 * chosen[-1][1]))
    early, late = np.mean(chosen[:30], axis=0), np.mean(chosen[-30:], axis=0)
    assert early[0] < 0.7
    assert (late > 0.8).all()


def test_reinforce_goes_on_from_what_it_learnt_as_if_it_had_replayed_everything(small_space: SearchSpace) -> None:
    step_by_step, at_once = (bound(Reinforce(seed=0), small_space) for _ in range(2))
    past = results(step_by_step, small_space, [0.1, 0.9, 0.3, 0.7, 0.5])
    rng = np.random.default_rng
    for count in range(6):
        one = step_by_step.propose(Past(past[:count]), 9, rng(count))
    assert one == at_once.propose(Past(past), 9, rng(5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 4, "sample_size": 5}, "sample_size must be from 1 to population_size"),
        ({"sample_size": 0}, "sample_size"),
    ],
)
def test_a_tournament_larger_than_the_population_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegularizedEvolution(**arguments)


def test_a_learning_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate must be above 0"):
        Reinforce(learning_rate=0)
