"""The cost-aware sampler: progress where the truth is known, and storages, outcomes and spaces of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState, create_trial

from search.objective.costs import Costs
from search.objective.pareto import hypervolume
from search.objective.reward import Objective, front_points, reference_point
from search.samplers.acquisition import accuracy_of
from search.samplers.base import Past, Result
from search.samplers.cost_aware import CostAwareSampler
from search.study.study import Outcome, Proposal, Study
from search.trials.reader import read_trials
from spaces import Architecture, SearchSpace, cost
from tests.search.conftest import instant_outcome

MIXED: dict[str, Any] = {
    "width_multiplier": {"choice": [0.5, 0.75, 1.0, 1.5]},
    "layers": [
        {"block": "conv", "channels": 16, "kernel_size": {"choice": [2, 3, 5], "name": "kernel"}},
        *(
            {
                "block": {
                    "choice": [
                        {"conv": {"groups": {"choice": [2, 4]}}},
                        {"inverted_residual": {"expand_ratio": {"int": [2, 6]}}},
                        {"depthwise_separable": {"kernel_size": {"choice": [2, 3, 5], "name": "kernel"}}},
                    ]
                },
                "channels": 32,
                "repeat": {"int": [1, 3]},
                "stride": stride,
            }
            for stride in (2, 1, 2)
        ),
    ],
}
"""Tied, conditional, ordered and unordered decisions; with a log float beside them more than 10^6 networks."""


def mixed_space() -> SearchSpace:
    hyperparameters = {"lr": {"float": [1e-3, 1.0], "log": True}}
    return SearchSpace(MIXED, hyperparameters, in_channels=3, num_classes=10, resolution=16)


def truth(proposal: Proposal) -> float:
    """Rises with cost, and with kernels of 3, expansions of 4, separable blocks late, and a learning rate near 0.1."""
    decisions = proposal.candidate.decisions
    quality = 0.5 * np.log(proposal.costs["flops"] / 1e5) - 0.4 * abs(int(decisions["kernel"]) - 3)  # type: ignore[arg-type]
    quality -= 0.5 * np.log10(float(decisions["train.lr"]) / 0.1) ** 2  # type: ignore[arg-type]
    for layer in (1, 2, 3):
        name = decisions[f"layers.{layer}.block"]
        quality += {"conv": 0.0, "inverted_residual": 0.3, "depthwise_separable": 0.15 * layer}[name]  # type: ignore[index]
        quality -= 0.1 * abs(int(decisions.get(f"layers.{layer}.block.inverted_residual.expand_ratio", 4)) - 4)  # type: ignore[arg-type]
    return float(0.1 + 0.85 / (1 + np.exp(1.5 - quality)))


def study_of(
    space: SearchSpace, sampler: BaseSampler | None = None, trials: int = 20, storage: Any = None, **objective: Any
) -> Study:
    storage = storage or optuna.storages.InMemoryStorage()
    return Study(space, Objective(**objective), sampler or CostAwareSampler(seed=0), storage, trials=trials)


def finish(study: Study, accuracy: Callable[[Proposal], float]) -> list[Proposal]:
    proposals = []
    while (proposal := study.ask()) is not None:
        proposals.append(proposal)
        study.tell(proposal.number, Outcome("complete", accuracy(proposal)))
    return proposals


def volume(study: Study) -> float:
    pairs = [(outcome.accuracy, costs["flops"]) for outcome, costs in study.finished() if outcome.state == "complete"]
    low, high = study.reference["cost_range"]["flops"]
    return hypervolume(front_points(*zip(*pairs, strict=True), low), reference_point(high, 0.1))


@pytest.mark.parametrize("seed", [0, 1])
def test_thirty_trials_dominate_more_than_two_hundred_random_ones(seed: int) -> None:
    space = mixed_space()
    ours, random = study_of(space, CostAwareSampler(seed), 30), study_of(space, RandomSampler(seed), 200)
    finish(ours, truth)
    finish(random, truth)
    assert volume(ours) > volume(random)


def test_one_target_is_met_by_a_better_network_than_random_ones_are() -> None:
    space, target = mixed_space(), 8e5
    bests = []
    for sampler, trials in ((CostAwareSampler(0), 30), (RandomSampler(0), 100)):
        study = study_of(space, sampler, trials, target=target)
        finish(study, truth)
        bests.append(study.optuna_study.best_value)
    assert bests[0] > bests[1]


def test_first_candidates_are_spread_over_the_logarithm_of_cost() -> None:
    study = study_of(mixed_space(), CostAwareSampler(seed=0, num_initial=8), trials=8)
    logs = np.sort([np.log(p.costs["flops"]) for p in finish(study, truth)])
    low, high = np.log(study.reference["cost_range"]["flops"])
    assert logs[-1] - logs[0] > 0.6 * (high - low)
    assert np.diff(logs).max() < 0.4 * (high - low)


def test_workers_at_the_same_time_train_different_things() -> None:
    study = study_of(mixed_space(), trials=30)
    for _ in range(12):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, Outcome("complete", truth(proposal)))
    together = [study.ask() for _ in range(6)]
    prices = [np.log(p.costs["flops"]) for p in together if p is not None]
    assert len(prices) == 6
    assert study.num_duplicates == 0
    # a proposal that ignored the others would be the same again, or its neighbour
    rows = [study.space.encode(p.candidate.decisions) for p in together if p is not None]
    assert min(np.abs(a - b).sum() for i, a in enumerate(rows) for b in rows[:i]) > 0
    assert max(prices) - min(prices) > 0.5


def test_no_two_workers_train_neighbours(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=30)
    for _ in range(14):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, Outcome("complete", 0.5 + np.log(proposal.costs["flops"] / 1e4) / 20))
    together = [proposal.candidate.decisions for proposal in (study.ask() for _ in range(4)) if proposal is not None]
    for i, one in enumerate(together):
        for other in together[:i]:
            assert len(dict(one.items() ^ other.items())) > 1


def test_one_lucky_training_is_not_believed(small_space: SearchSpace) -> None:
    sampler = CostAwareSampler(seed=0)
    study = study_of(small_space, sampler, trials=30)
    rng = np.random.default_rng(0)
    finish(study, lambda p: 0.5 + np.log(p.costs["flops"] / 1e4) / 20 + rng.normal(0, 0.01) + 0.2 * (p.number == 20))
    past = sampler.past(study.optuna_study, -1)
    lucky = past.results[20]
    mean, _ = sampler._model(past).predict(sampler._inputs([lucky.point]))
    assert accuracy_of(mean)[0] < lucky.accuracy - 0.05


def wide(stages: int, options: int) -> SearchSpace:
    """`options` to the power of `stages` networks."""
    layers = [{"block": "conv", "channels": 8, "kernel_size": {"choice": [*range(1, options + 1)]}}] * stages
    return SearchSpace({"layers": layers}, in_channels=1, num_classes=2, resolution=8)


@pytest.mark.parametrize(("stages", "options", "size"), [(3, 10, 1e3), (10, 8, 1e9), (60, 4, 1e30)])
def test_spaces_of_every_size(stages: int, options: int, size: float) -> None:
    space = wide(stages, options)
    assert space.size >= size
    study = study_of(space, trials=25)

    def kernels_of_two(proposal: Proposal) -> float:
        wrong = np.mean([abs(int(kernel) - 2) for kernel in proposal.candidate.decisions.values()])  # type: ignore[arg-type]
        return float(0.9 - 0.2 * wrong)

    found = [kernels_of_two(proposal) for proposal in finish(study, kernels_of_two)]
    assert max(found[4:]) > max(found[:4])


def test_a_latency_that_is_predicted_counts_with_its_error(small_space: SearchSpace) -> None:
    class Predicted(Costs):
        """Latency by multiply-adds, known exactly of networks without repetitions alone."""

        def with_error(self, architecture: Architecture) -> tuple[dict[str, float], float]:
            error = 0.3 if len(architecture.layers) > 3 else 0.0
            return {"flops": cost(architecture).flops, "latency_ms": cost(architecture).flops / 1e4}, error

    sampler = CostAwareSampler(seed=0)
    sampler.bind(small_space, Objective(cost="latency_ms", target=(1.0, 50.0)), Predicted())
    rng = np.random.default_rng(0)
    points = [sampler.point(small_space.sample(rng)) for _ in range(30)]
    assert {point.cost_error for point in points} == {0.0, 0.3}
    past = Past([Result(i, point, "complete", 0.5 + i / 100) for i, point in enumerate(points[:12])])
    assert small_space.candidate(sampler.propose(past, 12, rng))


def test_trials_are_known_by_what_is_stored_of_them(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=9)
    finish(study, lambda proposal: 0.5 + proposal.costs["flops"] / 1e7)
    whole, bare = CostAwareSampler(seed=0), CostAwareSampler(seed=0)
    whole.bind(small_space, study.objective, lambda architecture: {"flops": cost(architecture).flops})
    # one cost more than was known when they were trained: their networks are assembled to price them
    bare.bind(small_space, study.objective, lambda architecture: {"flops": cost(architecture).flops, "own": 1.0})
    stored, assembled = whole.past(study.optuna_study, -1), bare.past(study.optuna_study, -1)
    assert len(stored.results) == len(assembled.results) == 9
    for one, other in zip(stored.results, assembled.results, strict=True):
        assert other.point.costs == {**one.point.costs, "own": 1.0}
        assert one.point.decisions == other.point.decisions
        assert stored.knows(other.point)
        assert assembled.knows(one.point)


def test_a_pending_candidate_counts_as_if_it_had_come_out_as_predicted() -> None:
    sampler = CostAwareSampler(seed=0)
    study = study_of(mixed_space(), sampler, trials=12)
    finish(study, truth)
    past = sampler.past(study.optuna_study, -1)
    rng = lambda: np.random.default_rng(5)  # noqa: E731
    first = sampler.propose(past, 12, rng())
    pending = Past([*past.results, Result(12, sampler.point(first), "pending")])
    second = sampler.propose(pending, 13, rng())
    assert sampler.point(second).digest != sampler.point(first).digest


def test_no_trial_is_spent_on_what_breaks_the_limits() -> None:
    study = study_of(mixed_space(), trials=15, max_flops=3e5)
    assert 0 < study.reference["feasible_share"] < 0.3
    finish(study, truth)
    assert not [t for t in study.optuna_study.trials if "infeasible" in t.user_attrs]


def test_a_small_space_is_searched_to_its_end_without_a_duplicate() -> None:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": {"choice": [8, 16, 24]}, "kernel_size": {"choice": [3, 5]}}]},
        in_channels=1,
        num_classes=2,
        resolution=4,
    )
    study = study_of(space, trials=10)
    finish(study, lambda proposal: 0.5 + proposal.costs["flops"] / 1e6)
    assert study.num_done == 6
    digests = [trial.digest for trial in read_trials(study.optuna_study)[:6]]
    assert len(set(digests)) == 6
    assert study.stopped_early is not None


def test_a_space_of_one_architecture() -> None:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": {"choice": [8]}}]}, in_channels=1, num_classes=2, resolution=4
    )
    study = study_of(space, trials=3)
    finish(study, lambda _: 0.7)
    assert study.num_done == 1
    assert study.stopped_early is not None


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_accuracies_that_are_all_equal(accuracy: float, small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=14)
    finish(study, lambda _: accuracy)
    assert study.num_done == 14


def test_failures_and_stopped_trials_do_not_end_the_search(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=24)
    while (proposal := study.ask()) is not None:
        curve = (0.2, 0.3, 0.4, 0.5 + (proposal.number % 5) / 20)
        outcomes = [
            Outcome("failed", failure="diverged"),
            Outcome("stopped", 0.3, curve=curve[:2]),
            Outcome("stopped", None),
            Outcome("complete", curve[-1], curve=curve),
        ]
        study.tell(proposal.number, outcomes[min(proposal.number % 6, 3)])
    assert study.num_done == 24


def test_every_trial_fails(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=12)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, Outcome("failed", failure="out of memory"))
    assert study.num_done == 12
    assert study.num_duplicates == 0


def test_trials_edited_by_hand_are_passed_over(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=12)
    distributions = {"width_multiplier": IntDistribution(0, 9), "unknown": IntDistribution(0, 9)}
    odd = create_trial(params={"width_multiplier": 7, "unknown": 3}, distributions=distributions, values=[0.9, 1e4])
    study.optuna_study.add_trial(odd)
    study.optuna_study.add_trial(create_trial(state=TrialState.COMPLETE, values=[float("inf"), 1.0]))
    finish(study, lambda proposal: 0.5 + proposal.costs["flops"] / 1e7)
    assert study.num_done == 12


def test_what_was_stopped_is_known_less_well_than_what_was_trained_to_its_end(small_space: SearchSpace) -> None:
    sampler = CostAwareSampler(seed=0)
    study = study_of(small_space, sampler, trials=12)
    while (proposal := study.ask()) is not None:
        final = 0.6 + (proposal.number % 4) / 50
        curve = (0.3, 0.5, final)
        stopped = proposal.number == 11
        outcome = Outcome("stopped", 0.5, curve=curve[:2]) if stopped else Outcome("complete", final, curve=curve)
        study.tell(proposal.number, outcome)
    observed, errors, unknown = sampler._observations(sampler.past(study.optuna_study, -1))
    assert observed[-1].state == "stopped"
    # the others went from 0.5 to about 0.63 in the last epoch, so would this one have done
    assert 0.6 < 1 - np.exp(errors[-1]) < 0.66
    assert unknown[-1] > 0
    assert not unknown[:-1].any()


@pytest.mark.parametrize(("luck", "is_noisy"), [(0.0, False), (0.08, True)])
def test_other_seeds_teach_the_surrogate_how_noisy_a_training_is(
    small_space: SearchSpace, luck: float, is_noisy: bool
) -> None:
    sampler, rng = CostAwareSampler(0), np.random.default_rng(0)
    study = Study(small_space, Objective(), sampler, optuna.storages.InMemoryStorage(), trials=14)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    before = sampler._model(sampler.past(study.optuna_study, -1)).posterior
    for trial in read_trials(study.optuna_study)[:6]:
        for seed in (1, 2, 3):
            accuracy = float(np.clip((trial.accuracy or 0.0) + rng.normal(0, 1) * luck, 0, 1))
            study.confirm(trial.number, seed, Outcome("complete", accuracy))
    past = sampler.past(study.optuna_study, -1)
    assert [len(result.accuracies) for result in past.results] == [4] * 6 + [1] * 8
    after = sampler._model(past).posterior
    assert len(after.x) == len(before.x) + 18
    assert (after.hyperparameters.noise > 3 * before.hyperparameters.noise) == is_noisy
    assert after.hyperparameters.noise < before.hyperparameters.noise or is_noisy


def test_a_sampler_made_anew_goes_on_as_the_first_would_have() -> None:
    space, storage = mixed_space(), optuna.storages.InMemoryStorage()
    finish(study_of(space, CostAwareSampler(3), 12, storage), truth)
    resumed = finish(study_of(space, CostAwareSampler(3), 15, storage), truth)
    whole = finish(study_of(space, CostAwareSampler(3), 15), truth)
    assert [p.candidate.decisions for p in resumed] == [p.candidate.decisions for p in whole[12:]]


def test_enqueued_decisions_are_kept(small_space: SearchSpace) -> None:
    study = study_of(small_space, trials=3)
    study.optuna_study.enqueue_trial({"width_multiplier": 0.75, "layers.1.repeat": 3})
    proposal = study.ask()
    assert proposal is not None
    assert proposal.candidate.decisions["width_multiplier"] == 0.75
    assert proposal.candidate.decisions["layers.1.repeat"] == 3


def test_a_sampler_that_knows_no_space_says_so() -> None:
    study = optuna.create_study(sampler=CostAwareSampler(seed=0))
    with pytest.raises(RuntimeError, match="call bind"):
        study.ask().suggest_int("x", 0, 3)


def test_a_design_of_one_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="num_initial must be at least 2, got 1"):
        CostAwareSampler(num_initial=1)
