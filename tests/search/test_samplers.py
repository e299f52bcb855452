"""One set of checks for every sampler; a new one joins by its name in the table."""

from __future__ import annotations

import optuna
import pytest

from search.objective import Objective
from search.outcome import Outcome
from search.samplers import SAMPLERS, make_sampler
from search.study import Study
from spaces import InputError, SearchSpace
from tests.search.conftest import SMALL, instant_outcome

TARGETS = [{}, {"target": 60_000.0, "beta": -1.0}, {"max_flops": 100_000.0}]


def explore(space: SearchSpace, name: str, seed: int = 0, trials: int = 25, **objective: float) -> Study:
    storage = optuna.storages.InMemoryStorage()
    study = Study(space, Objective(**objective), make_sampler({"name": name}, seed), storage, trials=trials)  # type: ignore[arg-type]
    finish(study)
    return study


def finish(study: Study) -> None:
    space = study.space
    while (proposal := study.ask()) is not None:
        known = {decision.name: decision.domain for decision in space.decisions}
        assert all(known[name].contains(value) for name, value in proposal.candidate.decisions.items())
        failed = proposal.number % 7 == 5
        study.tell(proposal.number, Outcome("failed", failure="diverged") if failed else instant_outcome(proposal))


@pytest.fixture
def endless_space() -> SearchSpace:
    """The small space with an open learning rate, so that no sampler runs out of new candidates."""
    rate = {"lr": {"float": [1e-3, 1e-1], "log": True}}
    return SearchSpace(SMALL, rate, in_channels=1, num_classes=10, resolution=8)


@pytest.mark.parametrize("objective", TARGETS, ids=["range", "one target", "limit"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_proposes_valid_candidates_to_the_end(
    endless_space: SearchSpace, name: str, objective: dict[str, float]
) -> None:
    assert explore(endless_space, name, trials=14, **objective).num_done == 14


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_candidates_and_another_seed_others(small_space: SearchSpace, name: str) -> None:
    runs = [[t.params for t in explore(small_space, name, seed, trials=8).optuna_study.trials] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_an_unknown_sampler_is_refused_by_its_nearest_name() -> None:
    with pytest.raises(InputError, match=r"unknown sampler 'nsga'; did you mean 'nsga"):
        make_sampler({"name": "nsga"}, 0)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(InputError, match=r"sampler.population_sise: .* did you mean 'population_size'"):
        make_sampler({"name": "nsga2", "population_sise": 3}, 0)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("tpe", "n_startup_trials", "x"), ("gp", "n_startup_trials", 1.5), ("cost_aware", "num_initial", True)],
)
def test_an_argument_of_another_type_is_refused(name: str, key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"sampler.{key} is .*type int"):
        make_sampler({"name": name, key: value}, 0)


def test_a_resumed_sampler_of_ours_goes_on_as_if_it_had_never_stopped(small_space: SearchSpace) -> None:
    whole = explore(small_space, "cost_aware", trials=10).optuna_study.trials
    study = explore(small_space, "cost_aware", trials=5)
    storage = study.optuna_study._storage
    resumed = Study(
        small_space,
        Objective(),
        make_sampler({"name": "cost_aware"}, 0, num_trials=5),
        storage,
        name=study.optuna_study.study_name,
        trials=10,
    )
    finish(resumed)
    assert [t.params for t in resumed.optuna_study.trials] == [t.params for t in whole]
