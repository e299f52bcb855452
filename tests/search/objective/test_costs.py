"""What candidates are priced at, and that every cost can be traded and limited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler

from search.latency.predictor import Predictor
from search.objective.costs import Costs
from search.objective.reward import COSTS, Objective
from search.study.study import Study
from search.trials.reader import read_trials
from spaces import InputError, SearchSpace
from spaces.memory import activation_bytes, layer_memory, memory_access
from tests.search.conftest import instant_outcome
from tests.search.latency.fake import empty_table, fill


@pytest.fixture
def predictor(small_space: SearchSpace, tmp_path: Path) -> Predictor:
    return Predictor(fill(empty_table(tmp_path), small_space))


def test_bytes_are_those_that_running_shows(small_space: SearchSpace) -> None:
    costs, rng = Costs(), np.random.default_rng(0)
    for _ in range(20):
        architecture = small_space.random(rng).architecture
        known = costs.record(architecture)
        assert known["memory_access"] == 4 * sum(layer.accesses for layer in layer_memory(architecture))
        assert known["activation_bytes"] == activation_bytes(architecture)
        assert set(costs(architecture)) == {"flops", "params"}


def test_latency_is_the_predictors(small_space: SearchSpace, predictor: Predictor) -> None:
    architecture = small_space.random(np.random.default_rng(0)).architecture
    [latency], [error] = predictor.predict([architecture])
    assert Costs(predictor)(architecture)["latency_ms"] == latency
    assert Costs(predictor).record(architecture)["latency_error"] == error


@pytest.mark.parametrize("cost", COSTS)
def test_every_cost_can_be_traded(cost: str, small_space: SearchSpace, predictor: Predictor) -> None:
    objective = Objective(cost=cost)
    study = Study(
        small_space,
        objective,
        RandomSampler(seed=0),
        optuna.storages.InMemoryStorage(),
        trials=3,
        costs=Costs(predictor, [cost]),
    )
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    for trial, stored in zip(study.optuna_study.trials, read_trials(study.optuna_study), strict=True):
        assert trial.values[1] == stored.costs[cost] > 0


@pytest.mark.parametrize(("limited", "share"), [("latency_ms", 0.5), ("activation_bytes", 0.5), ("params", 0.5)])
def test_nothing_beyond_a_limit_is_trained(
    limited: str, share: float, small_space: SearchSpace, predictor: Predictor
) -> None:
    costs, rng = Costs(predictor, [limited]), np.random.default_rng(0)
    seen = [costs(small_space.random(rng).architecture)[limited] for _ in range(50)]
    limit = float(np.quantile(seen, share))
    objective = Objective(**{f"max_{limited}": limit})  # type: ignore[arg-type]
    storage = optuna.storages.InMemoryStorage()
    study = Study(small_space, objective, RandomSampler(seed=0), storage, trials=8, costs=costs)
    trained = []
    while (proposal := study.ask()) is not None:
        trained.append(proposal.costs[limited])
        study.tell(proposal.number, instant_outcome(proposal))
    assert max(trained) <= limit
    rejected = [trial for trial in read_trials(study.optuna_study) if trial.infeasible is not None]
    assert rejected
    assert all(limited in str(trial.infeasible) for trial in rejected)


def test_latency_without_a_device_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="device=onnxruntime"):
        Costs(wanted=["latency_ms"])


def test_bytes_moved_are_known_at_once(small_space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    architectures = [small_space.random(rng).architecture for _ in range(20)]
    before = [memory_access(a) for a in architectures]
    assert before == [4 * sum(layer.accesses for layer in layer_memory(a)) for a in architectures]
