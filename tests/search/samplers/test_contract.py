"""One set of checks for every sampler; a new one joins by its name in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from search.evaluation.outcome import Outcome
from search.objective.costs import Costs
from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.reporting.tables import front, table_hypervolume
from search.samplers import SAMPLERS, make_sampler
from search.study.study import Proposal, Study
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


ONE: dict[str, Any] = {"layers": [{"block": "conv", "channels": 8}]}
THREE: dict[str, Any] = {"layers": [{"block": "conv", "channels": {"choice": [8, 16, 24]}}]}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("description", "size"), [(ONE, 1), (THREE, 3)], ids=["one architecture", "three"])
def test_a_space_smaller_than_the_search_is_searched_to_its_end_and_that_is_said(
    name: str, description: dict[str, Any], size: int
) -> None:
    space = SearchSpace(description, in_channels=1, num_classes=2, resolution=4)
    study = explore(space, name, trials=6)
    assert study.num_done == size
    assert study.stopped_early == f"every candidate of the space has been evaluated, {size} in all"


OUTCOMES: dict[str, Callable[[Proposal], Outcome]] = {
    "all equal": lambda proposal: Outcome("complete", 0.5, None, 2, 0.0, (0.4, 0.5)),
    "all perfect": lambda proposal: Outcome("complete", 1.0, None, 1, 0.0, (1.0,)),
    "all failed": lambda proposal: Outcome("failed", failure="diverged: the loss became nan"),
    "all stopped": lambda proposal: Outcome("stopped", 0.3, None, 1, 0.0, (0.3,)),
    "one complete": lambda proposal: (
        Outcome("complete", 0.5, None, 2, 0.0, (0.3, 0.5))
        if proposal.number == 3
        else Outcome("stopped", 0.3, None, 1, 0.0, (0.3,))
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcomes_of_every_kind_are_borne(endless_space: SearchSpace, name: str, outcome: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = Study(endless_space, Objective(), make_sampler({"name": name}, 0), storage, trials=10)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, OUTCOMES[outcome](proposal))
    assert study.num_done == 10


@pytest.mark.parametrize("name", SAMPLERS)
def test_limits_that_almost_nothing_keeps_end_the_search_or_are_kept(small_space: SearchSpace, name: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    costs = sorted(Costs()(small_space.random(np.random.default_rng(i)).architecture)["flops"] for i in range(300))
    limit = Objective(max_flops=costs[3])
    study = Study(small_space, limit, make_sampler({"name": name}, 0), storage, trials=4)
    while (proposal := study.ask()) is not None:
        assert proposal.costs["flops"] <= costs[3]
        study.tell(proposal.number, instant_outcome(proposal))
    assert study.num_done == 4 or study.stopped_early is not None


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_storage_edited_by_hand_is_gone_on_with(small_space: SearchSpace, name: str) -> None:
    storage = optuna.storages.InMemoryStorage()

    def reopen(trials: int) -> Study:
        config = {"objective": {}}
        return Study(small_space, Objective(), make_sampler({"name": name}, 1), storage, trials=trials, config=config)

    study = reopen(10)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    edit(study.optuna_study, storage)
    again = reopen(14)
    good = again.num_done
    assert 4 < good < 10
    while (proposal := again.ask()) is not None:
        again.tell(proposal.number, instant_outcome(proposal))
    assert again.num_done == 14
    trials, info = read_study(again.optuna_study)
    members = front(trials, "flops")
    assert members["accuracy"].between(0, 1).all()
    assert members["digest"].notna().all()
    assert trials["failure"].str.startswith("edited by hand", na=False).sum() >= 4
    assert again.to_confirm([1])
    assert len([*again.curves()]) == 14
    assert table_hypervolume(trials, info) > 0


def edit(study: optuna.Study, storage: Any) -> None:
    """What can be done to a study in a tool that knows nothing of it."""
    originals = [trial for trial in storage._studies[study._study_id].trials if "duplicate_of" not in trial.user_attrs]
    decided = [trial.user_attrs["decided"] for trial in originals]
    originals[0].user_attrs["decided"] = {key: value for key, value in decided[0].items() if key != "digest"}
    originals[1].user_attrs["result"] = {**originals[1].user_attrs["result"], "accuracy": 3.5}
    originals[2].user_attrs["decided"] = {
        **decided[2],
        "architecture": {**decided[2]["architecture"], "num_classes": 3},
    }
    originals[3].user_attrs["decided"] = {**decided[3], "costs": {"params": decided[3]["costs"]["params"]}}
    originals[4].params["width_multiplier"] = 0.75 if originals[4].params["width_multiplier"] != 0.75 else 0.5
    study.add_trial(create_trial(state=TrialState.COMPLETE, values=[0.9, 5.0]))
    study.add_trial(create_trial(state=TrialState.PRUNED))
    study.add_trial(create_trial(state=TrialState.FAIL, params={"x": 1}, distributions={"x": IntDistribution(0, 3)}))
    study.enqueue_trial({"width_multiplier": 7.0})
    study.enqueue_trial({"layers.1.block": "no such block"})
    study.enqueue_trial({"width_multiplier": 0.5, "nonsense": 3})
    study.enqueue_trial({}, user_attrs={"outside": True, "name": "broken", "enqueued": "x"})


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
