"""Ask, tell, resume: what the storage holds after every turn of events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.samplers import CostAwareSampler
from search.study.study import MAX_DUPLICATES, Study
from search.trials.leases import Alone
from search.trials.reader import read_trial, read_trials
from search.trials.storage import DATABASE, lock, open_database, prepare_folder
from search.trials.trial import Failure, State
from spaces import InputError, SearchSpace, load_space
from tests.search.conftest import SMALL, instant_outcome

TWO = {"layers": [{"block": "conv", "channels": {"choice": [8, 16]}}]}


def space_of_two() -> SearchSpace:
    """The least space that a study can exhaust and still have something to compare."""
    return SearchSpace(TWO, in_channels=1, num_classes=2, resolution=4)


@pytest.fixture
def storage(tmp_path: Path) -> BaseStorage:
    return open_database(tmp_path / DATABASE)


def open_study(
    space: SearchSpace, storage: Any = None, *, trials: int = 10, sampler: BaseSampler | None = None, **objective: Any
) -> Study:
    storage = storage or optuna.storages.InMemoryStorage()
    return Study(space, Objective(**objective), sampler or RandomSampler(seed=0), storage, trials=trials)


def id_of(storage: BaseStorage) -> int:
    return storage.get_study_id_from_name("study")


def finish(study: Study) -> None:
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.optuna_study.trials]


def test_a_study_hands_out_as_many_candidates_as_it_shall_have(small_space: SearchSpace) -> None:
    study = open_study(small_space, trials=7)
    finish(study)
    assert study.num_done == 7
    originals = [t for t in read_trials(study.optuna_study) if not t.is_copy]
    assert len(originals) == 7
    assert len({t.digest for t in originals}) == 7


def test_running_candidates_count_towards_the_total(small_space: SearchSpace) -> None:
    study = open_study(small_space, trials=3)
    proposals = [study.ask() for _ in range(4)]
    assert proposals[3] is None
    assert all(proposals[:3])


def test_a_range_of_targets_has_two_directions_and_one_target_has_one(small_space: SearchSpace) -> None:
    assert len(open_study(small_space).optuna_study.directions) == 2
    study = open_study(small_space, target=50_000.0, beta=-1.0)
    proposal = study.ask()
    assert proposal is not None
    study.tell(proposal.number, Outcome("complete", 0.8, epochs=1))
    (trial,) = study.optuna_study.trials
    expected = 0.8 * min(1.0, 50_000 / proposal.costs["flops"])
    assert trial.values == [pytest.approx(expected)]
    assert read_trials(study.optuna_study)[0].reward == pytest.approx(expected)


def test_a_duplicate_takes_the_outcome_of_its_original_and_does_not_count() -> None:
    space = space_of_two()
    study = open_study(space, trials=3)
    finish(study)
    assert study.num_done == 2
    assert study.stopped_early == "every candidate of the space has been evaluated, 2 in all"
    trials = study.optuna_study.trials
    copies = [t for t in trials if "duplicate_of" in t.user_attrs]
    assert copies
    for copy in copies:
        assert copy.state is TrialState.COMPLETE
        assert copy.values == trials[copy.user_attrs["duplicate_of"]].values


def test_an_exhausted_study_given_again_says_so_before_it_proposes_anything() -> None:
    space, storage = space_of_two(), optuna.storages.InMemoryStorage()
    finish(open_study(space, storage=storage, trials=3))
    held = len(storage.get_all_trials(0))
    again = open_study(space, storage=storage, trials=5)
    finish(again)
    assert again.stopped_early == "every candidate of the space has been evaluated, 2 in all"
    assert len(storage.get_all_trials(0)) == held
    limited = open_study(space, trials=3, max_flops=min(c["flops"] for _, c in again.finished()))
    finish(limited)
    assert limited.stopped_early == "every candidate of the space within the limits has been evaluated, 1 in all"
    assert len(limited.optuna_study.trials) < MAX_DUPLICATES


def test_a_space_too_large_to_list_ends_after_many_duplicates_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.study.MAX_ENUMERATED", 1)
    study = open_study(space_of_two(), trials=3)
    finish(study)
    assert study.stopped_early == f"the last {MAX_DUPLICATES} proposals had all been evaluated before"
    assert sum("duplicate_of" in t.user_attrs for t in study.optuna_study.trials) >= MAX_DUPLICATES


def test_a_duplicate_of_a_running_trial_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.study.MAX_ENUMERATED", 1)  # so that it is not known that there are but two
    space = space_of_two()
    study = open_study(space, trials=3)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    assert study.ask() is None
    waiting = [t for t in study.optuna_study.trials if t.user_attrs.get("duplicate_of") == first.number]
    assert {t.state for t in waiting} == {TrialState.RUNNING}
    study.tell(first.number, instant_outcome(first))
    after = [t for t in study.optuna_study.trials if t.user_attrs.get("duplicate_of") == first.number]
    assert {t.state for t in after} == {TrialState.COMPLETE}
    study.tell(second.number, Outcome("failed", failure="diverged: NaN"))
    failed = [t for t in study.optuna_study.trials if t.user_attrs.get("duplicate_of") == second.number]
    assert {t.state for t in failed} == {TrialState.FAIL}


def test_nothing_outside_the_limits_is_handed_out(small_space: SearchSpace) -> None:
    study = open_study(small_space, trials=12, max_flops=60_000.0)
    while (proposal := study.ask()) is not None:
        assert proposal.costs["flops"] <= 60_000
        study.tell(proposal.number, instant_outcome(proposal))
    refused = [t for t in read_trials(study.optuna_study) if t.infeasible is not None]
    assert refused
    assert all(t.state is State.INFEASIBLE and t.costs["flops"] > 60_000 for t in refused)
    assert 0 < study.reference["feasible_share"] < 1


def test_a_study_without_a_config_is_reported_like_any_other(small_space: SearchSpace) -> None:
    study = open_study(small_space, trials=3, target=60_000.0, beta=-1.0)
    finish(study)
    trials, info = read_study(study.optuna_study)
    assert len(trials) >= 3
    assert info.objective == study.objective


def test_limits_that_nothing_meets_are_refused_before_the_study_exists(small_space: SearchSpace) -> None:
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(InputError, match=r"0% of 1000 .* objective.max_flops=10 \(the nearest found: \d+\)"):
        open_study(small_space, storage, max_flops=10.0)
    assert optuna.get_all_study_names(storage) == []


def test_limits_that_no_random_architecture_meets_but_others_do() -> None:
    space = load_space("shuffle_agg", in_channels=3, num_classes=10, resolution=32)
    study = Study(
        space, Objective(max_flops=88_000.0), CostAwareSampler(seed=0), optuna.storages.InMemoryStorage(), trials=3
    )
    assert study.reference["feasible_share"] == 0
    assert study.reference["cost_range"]["flops"][1] <= 88_000
    for _ in range(3):
        proposal = study.ask()
        assert proposal is not None
        assert proposal.costs["flops"] <= 88_000
        study.tell(proposal.number, instant_outcome(proposal))


def test_stopped_and_failed_trials_carry_what_they_reached(small_space: SearchSpace) -> None:
    study = open_study(small_space, trials=2)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    study.tell(first.number, Outcome("stopped", 0.4, None, 3, 1.5, (0.2, 0.3, 0.4)))
    study.tell(second.number, Outcome("failed", epochs=1, curve=(0.1,), failure="diverged: the loss became nan"))
    assert states(study) == [TrialState.PRUNED, TrialState.FAIL]
    stopped, failed = read_trials(study.optuna_study)
    assert (stopped.state, failed.state) == (State.STOPPED, State.FAILED)
    assert stopped.epochs == 3
    assert stopped.curve == (0.2, 0.3, 0.4)
    assert stopped.reward is None
    assert failed.failure is Failure.DIVERGED
    assert failed.failure_text == "diverged: the loss became nan"
    assert failed.reason == "the loss became nan"


def test_interrupted_trials_run_again_under_their_number(small_space: SearchSpace, storage: BaseStorage) -> None:
    study = open_study(small_space, storage, trials=4)
    done, *interrupted = (study.ask() for _ in range(3))
    assert done is not None
    study.tell(done.number, instant_outcome(done))
    # the driver is killed here: nothing is released
    resumed = open_study(small_space, storage, trials=4, sampler=RandomSampler(seed=1))
    assert resumed.num_done == 1
    again = [resumed.ask() for _ in range(2)]
    for before, after in zip(interrupted, again, strict=True):
        assert before is not None
        assert after is not None
        assert (before.number, before.candidate) == (after.number, after.candidate)
    assert len(resumed.optuna_study.trials) == 3


def test_a_copy_whose_turn_comes_first_stays_a_copy(storage: BaseStorage) -> None:
    first = open_study(space_of_two(), storage, trials=1)
    assert first.ask() is not None
    first.release()
    (trial,) = storage.get_all_trials(id_of(storage))
    again = storage.create_new_trial(id_of(storage), trial)  # what is now the original was proposed after it
    storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    storage.set_trial_user_attr(trial._trial_id, "duplicate_of", 1)
    storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    study = open_study(space_of_two(), storage, trials=1)
    finish(study)
    copy, original = storage.get_all_trials(id_of(storage))
    assert original._trial_id == again
    assert (copy.state, original.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    assert copy.user_attrs["duplicate_of"] == 1
    assert "duplicate_of" not in original.user_attrs
    assert (study.num_done, study.num_duplicates) == (1, 1)


def test_an_original_is_no_copy_of_a_copy_that_another_driver_has(storage: BaseStorage) -> None:
    """Else each of the two would wait for the other: nobody would train their network."""

    class Shared(Alone):
        shared = True

        def alive(self) -> set[str]:
            return {self.name, "other"}

    first = open_study(space_of_two(), storage, trials=1)
    assert first.ask() is not None
    first.release()
    (original,) = storage.get_all_trials(id_of(storage))
    copy = storage.create_new_trial(id_of(storage), original)
    storage.set_trial_state_values(copy, TrialState.RUNNING)
    for key, value in (("duplicate_of", 0), ("driver", "other")):
        storage.set_trial_user_attr(copy, key, value)
    study = Study(space_of_two(), Objective(), RandomSampler(seed=0), storage, trials=1, leases=Shared())
    proposal = study.ask()
    assert proposal is not None
    assert proposal.number == 0
    assert study.tell(0, instant_outcome(proposal))
    assert "duplicate_of" not in storage.get_trial(original._trial_id).user_attrs


def test_a_description_that_could_not_be_written_is_made_again(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the proposal is kept: under its number another candidate may be proposed."""
    monkeypatch.setattr("search.trials.leases.time.sleep", lambda seconds: None)
    study = open_study(space_of_two(), storage, trials=2)
    create, away = storage.create_new_trial, [True]

    def create_later(*arguments: Any) -> int:
        if away:
            away.pop()
            raise optuna.exceptions.StorageInternalError("away")
        return create(*arguments)

    monkeypatch.setattr(storage, "create_new_trial", create_later)
    finish(study)
    trials = [t for t in storage.get_all_trials(id_of(storage)) if "duplicate_of" not in t.user_attrs]
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert len({read_trial(t).digest for t in trials}) == 2


def test_what_somebody_else_finishes_amid_a_turn_stays_as_it_is(
    small_space: SearchSpace, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(small_space, storage, trials=3)
    proposal = study.ask()
    assert proposal is not None
    finish_here = study._finish

    def finish_second(*arguments: Any) -> None:
        trial = storage.get_all_trials(id_of(storage))[proposal.number]
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        finish_here(*arguments)

    monkeypatch.setattr(study, "_finish", finish_second)
    assert study.tell(proposal.number, instant_outcome(proposal))
    assert states(study) == [TrialState.FAIL]
    assert study.num_done == 1


def test_release_queues_running_trials_and_their_duplicates(storage: BaseStorage) -> None:
    space = space_of_two()
    study = open_study(space, storage, trials=3)
    while study.ask() is not None:
        pass
    study.release()
    assert set(states(study)) == {TrialState.WAITING}
    finish(resumed := open_study(space, storage, trials=3))
    assert TrialState.WAITING not in states(resumed)
    assert resumed.num_done == 2


def test_more_trials_are_added_to_a_finished_study(small_space: SearchSpace, storage: BaseStorage) -> None:
    finish(open_study(small_space, storage, trials=5))
    longer = open_study(small_space, storage, trials=8, sampler=RandomSampler(seed=5))
    finish(longer)
    assert longer.num_done == 8


def test_another_config_is_refused_with_what_changed(small_space: SearchSpace) -> None:
    storage = optuna.storages.InMemoryStorage()

    def reopen(config: dict[str, Any]) -> Study:
        return Study(small_space, Objective(), RandomSampler(), storage, trials=3, config=config)

    before = {"seed": 0, "trials": 3, "train": {"epochs": 5, "lr": {"float": [0.1, 1.0]}}, "data": {"path": "/a"}}
    reopen(before)
    reopen({**before, "trials": 9, "data": {"path": "/b"}})
    with pytest.raises(InputError) as error:
        reopen({**before, "seed": 1, "train": {"epochs": 6, "lr": 0.1}})
    assert "seed: 0 -> 1" in str(error.value)
    assert "train.epochs: 5 -> 6" in str(error.value)
    assert "train.lr.float: [0.1, 1.0] -> absent" in str(error.value)
    assert "study=NAME" in str(error.value)


@pytest.mark.parametrize(
    ("stored", "given", "refused"),
    [  # a setting that a config does not state has its default
        ({"train": {"epochs": 5}}, {"train": {"epochs": 5, "label_smoothing": 0.1}}, None),
        ({"train": {"epochs": 5, "label_smoothing": 0.1}}, {"train": {"epochs": 5}}, None),
        (
            {"train": {"epochs": 5}},
            {"train": {"epochs": 5, "label_smoothing": 0.2}},
            "train.label_smoothing: 0.1 -> 0.2",
        ),
        ({"train": {"epochs": 5, "gone": 3}}, {"train": {"epochs": 5}}, "train.gone: 3 -> absent"),
        ({"objective": {}}, {"objective": {"cost": "flops", "alpha": 0}}, None),
        ({"objective": {"max_flops": None}}, {"objective": {"max_params": None}}, None),
        ({"objective": {}}, {"objective": {"max_flops": 1e9}}, "objective.max_flops: None -> 1000000000.0"),
        ({"device": {"runtime": "torch"}}, {"device": {"runtime": "torch", "batch": 1}}, None),
        ({"device": {"runtime": "torch"}}, {"device": {"runtime": "torch", "batch": 8}}, "device.batch: 1 -> 8"),
    ],
)
def test_what_a_config_does_not_state_has_its_default(
    small_space: SearchSpace, stored: dict[str, Any], given: dict[str, Any], refused: str | None
) -> None:
    storage = optuna.storages.InMemoryStorage()
    for config in (stored, given):
        made = {"objective": {}, **config}
        if config is given and refused is not None:
            with pytest.raises(InputError, match="another config") as error:
                Study(small_space, Objective(), RandomSampler(), storage, trials=3, config=made)
            assert refused in str(error.value)
            break
        Study(small_space, Objective(), RandomSampler(), storage, trials=3, config=made)


def test_a_database_survives_its_driver_and_takes_one_at_a_time(small_space: SearchSpace, tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    held = lock(tmp_path, None, "study")
    with pytest.raises(InputError, match=r"another process is running the study"):
        lock(tmp_path, None, "study")
    held.release()
    finish(open_study(small_space, open_database(tmp_path / DATABASE), trials=3))
    again = open_study(small_space, open_database(tmp_path / DATABASE), trials=3)
    assert again.num_done == 3
    assert again.ask() is None


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    path.write_text("this is no database, only some words that are long enough to be read as a header" * 20)
    with pytest.raises(InputError, match=r"study.db is not the database of a study"):
        open_database(path)
    assert path.read_text().startswith("this is no database")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"results_dir: cannot write to"):
        prepare_folder(tmp_path / "results" / "study")


def test_the_space_of_these_tests_is_as_large_as_it_says(small_space: SearchSpace) -> None:
    assert small_space.size == 3 * 3 * (2 + 5) * 3 * 2
    assert SMALL["layers"]
