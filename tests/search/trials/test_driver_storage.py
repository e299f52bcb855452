"""A driver's writes against what the database then holds, and what it sees of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from search.objective.reward import Objective
from search.study.study import Study
from search.trials.driver_storage import DriverStorage, NumberTakenError
from search.trials.storage import DATABASE, open_database
from spaces import SearchSpace
from tests.search.conftest import instant_outcome

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "kernel_size": CategoricalDistribution([2, 3, 5]),
    "repeat": IntDistribution(1, 3),
    "lr": FloatDistribution(1e-3, 1e-1, log=True),
}
ATTRIBUTES: dict[str, Any] = {"digest": "0f", "curve": (0.25, 0.5), "architecture": {"layers": [{"block": "conv"}]}}


@pytest.fixture
def database(tmp_path: Path) -> RDBStorage:
    return open_database(tmp_path / DATABASE)


def make_study(driver: DriverStorage) -> int:
    driver.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "study")
    return driver.get_study_id_from_name("study")


def describe(driver: DriverStorage, trial_id: int) -> None:
    """Says what a driver says when it hands out a trial."""
    for name, value in (("kernel_size", 3), ("repeat", 2), ("lr", 0.01)):
        distribution = DISTRIBUTIONS[name]
        driver.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
    for key, content in ATTRIBUTES.items():
        driver.set_trial_user_attr(trial_id, key, content)
    driver.set_trial_system_attr(trial_id, "constraints", [0.5])


def contents(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """All that trials hold but their ids, which a driver's storage counts from 0, and the order of their attributes."""
    return [{key: value for key, value in vars(trial).items() if key != "_trial_id"} for trial in trials]


def stored(database: RDBStorage, study: int) -> list[FrozenTrial]:
    """What anybody else reads."""
    return database.get_all_trials(study)


@contextmanager
def commits(database: RDBStorage) -> Iterator[list[None]]:
    """The transactions meanwhile that wrote something."""
    seen: list[None] = []
    wrote = False

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal wrote
        wrote = wrote or not statement.startswith(("SELECT", "PRAGMA"))

    def end(_connection: Any) -> None:
        nonlocal wrote
        if wrote:
            seen.append(None)
        wrote = False

    event.listen(database.engine, "before_cursor_execute", note)
    event.listen(database.engine, "commit", end)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)
    event.remove(database.engine, "commit", end)


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (TrialState.COMPLETE, [0.5, 1e6]),
        (TrialState.COMPLETE, [float("inf"), float("-inf")]),
        (TrialState.PRUNED, None),
        (TrialState.FAIL, None),
    ],
)
def test_what_is_said_is_what_anybody_reads(
    database: RDBStorage, state: TrialState, values: list[float] | None
) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)
    with driver.turn():
        trial_id = driver.create_new_trial(study)
        describe(driver, trial_id)
        assert stored(database, study) == []  # not yet
    assert contents(stored(database, study)) == contents(driver.get_all_trials(study))
    assert driver.get_trial(trial_id).params == {"kernel_size": 3, "repeat": 2, "lr": 0.01}
    with driver.turn():
        driver.set_trial_user_attr(trial_id, "digest", "1e")  # said again
        assert driver.set_trial_state_values(trial_id, state, values)
    (trial,) = stored(database, study)
    assert (trial.state, trial.values, trial.user_attrs["digest"]) == (state, values, "1e")
    assert contents([trial]) == contents(driver.get_all_trials(study))
    with driver.turn(), pytest.raises(UpdateFinishedTrialError):
        driver.set_trial_user_attr(trial_id, "digest", "2d")


def test_a_trial_that_ends_in_its_turn_is_written_once(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)
    with commits(database) as seen, driver.turn():
        trial_id = driver.create_new_trial(study)
        describe(driver, trial_id)
        driver.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5, 1e6])
    assert len(seen) == 1
    (trial,) = stored(database, study)
    assert (trial.state, trial.values, trial.params["repeat"]) == (TrialState.COMPLETE, [0.5, 1e6], 2)
    assert trial.user_attrs.keys() == ATTRIBUTES.keys()


def test_a_trial_takes_three_transactions(database: RDBStorage, small_space: SearchSpace) -> None:
    study = Study(small_space, Objective(), optuna.samplers.RandomSampler(seed=0), database, trials=5)
    with commits(database) as seen:
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, instant_outcome(proposal))
    assert len(seen) == 3  # its description, its result, its end


def test_what_a_turn_that_breaks_off_has_not_written_is_forgotten(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)

    def break_off() -> None:
        with driver.turn():
            describe(driver, driver.create_new_trial(study))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert driver.get_all_trials(study) == stored(database, study) == []
    with driver.turn():
        trial_id = driver.create_new_trial(study)
        describe(driver, trial_id)
    assert trial_id == 0
    assert contents(driver.get_all_trials(study)) == contents(stored(database, study))
    assert driver.get_all_trials(study)[0].user_attrs.keys() == ATTRIBUTES.keys()


def test_a_number_that_somebody_takes_who_waits_for_no_turn_is_noticed(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)

    def be_late() -> None:
        with driver.turn():
            describe(driver, driver.create_new_trial(study))
            database.create_new_trial(study)

    with pytest.raises(NumberTakenError):
        be_late()
    with driver.turn():
        assert [trial.params for trial in driver.trials] == [{}, {"kernel_size": 3, "repeat": 2, "lr": 0.01}]


def test_what_others_write_is_seen_in_the_next_turn(
    database: RDBStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.trials.driver_storage.RUNNING_S", 0.0)
    ours = DriverStorage(database, is_shared=True)
    theirs = DriverStorage(open_database(tmp_path / DATABASE), is_shared=True)
    study = make_study(ours)
    with ours.turn():
        first = ours.create_new_trial(study)
    assert theirs.get_study_id_from_name("study") == study
    with theirs.turn():
        assert [trial.number for trial in theirs.get_all_trials(study)] == [first]
        second = theirs.create_new_trial(study)
        describe(theirs, second)
        theirs.set_trial_state_values(first, TrialState.WAITING)
    assert len(ours.get_all_trials(study)) == 1  # between turns nothing changes
    with ours.turn():
        assert contents(ours.get_all_trials(study)) == contents(stored(database, study))
        (waiting,) = ours.get_all_trials(study, states=(TrialState.WAITING,))
        assert waiting.number == first
        assert ours.set_trial_state_values(first, TrialState.RUNNING)
        ours.set_trial_user_attr(first, "driver", "ours")
    with theirs.turn():  # the same state, and yet begun anew
        assert theirs.get_trial(first).user_attrs == {"driver": "ours"}
        theirs.set_trial_state_values(second, TrialState.COMPLETE, [0.5, 1.0])
    with ours.turn():
        assert contents(ours.get_all_trials(study)) == contents(stored(database, study))
        assert [t.number for t in ours.get_all_trials(study, states=(TrialState.COMPLETE,))] == [1]


def test_who_runs_a_trial_is_read_again_before_something_depends_on_it(database: RDBStorage, tmp_path: Path) -> None:
    ours = DriverStorage(database, is_shared=True)
    theirs = DriverStorage(open_database(tmp_path / DATABASE), is_shared=True)
    study = make_study(ours)
    with ours.turn():
        number = ours.create_new_trial(study)
        ours.set_trial_user_attr(number, "driver", "ours")
    with ours.turn():  # has read what is running
        theirs.get_study_id_from_name("study")
    with theirs.turn():
        theirs.set_trial_state_values(number, TrialState.WAITING)
        theirs.set_trial_state_values(number, TrialState.RUNNING)
        theirs.set_trial_user_attr(number, "driver", "theirs")
    with ours.turn():
        ours.refresh(number)
        assert ours.get_trial(number).user_attrs == {"driver": "theirs"}


def test_trials_that_are_queued_by_hand_are_seen_by_the_only_driver(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)
    with driver.turn():
        driver.create_new_trial(study)
    anybody = optuna.load_study(study_name="study", storage=database)
    anybody.enqueue_trial({"repeat": 3})
    database.set_trial_state_values(stored(database, study)[0]._trial_id, TrialState.WAITING)
    with driver.turn():
        assert [t.number for t in driver.get_all_trials(study, states=(TrialState.WAITING,))] == [0, 1]


def test_a_turn_reads_no_finished_trial(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)
    for _ in range(3):
        with driver.turn():
            trial_id = driver.create_new_trial(study)
            describe(driver, trial_id)
            driver.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5, 1.0])
    read: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        read.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    with driver.turn():
        pass
    event.remove(database.engine, "before_cursor_execute", note)
    assert read
    assert not [statement for statement in read if "trial_user_attributes" in statement]


def test_whoever_finishes_a_trial_second_is_told(database: RDBStorage, tmp_path: Path) -> None:
    ours, theirs = (DriverStorage(open_database(tmp_path / DATABASE)) for _ in range(2))
    study = make_study(ours)
    theirs.get_study_id_from_name("study")
    with ours.turn():
        trial_id = ours.create_new_trial(study)
    with theirs.turn():
        theirs.get_all_trials(study)
    with ours.turn():
        ours.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):  # it has not looked since
            theirs.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0, 1.0])
    assert [trial.state for trial in stored(database, study)] == [TrialState.FAIL]


def test_samplers_are_not_shown_hidden_trials_but_take_up_waiting_ones(database: RDBStorage) -> None:
    driver = DriverStorage(database, is_hidden=lambda trial: "hidden" in trial.user_attrs)
    study = make_study(driver)
    anybody = optuna.load_study(study_name="study", storage=database)
    for attributes in ({"hidden": True}, {}):
        anybody.enqueue_trial({"repeat": 3}, user_attrs=attributes)
    with driver.turn():
        assert [t.number for t in driver.get_all_trials(study, states=(TrialState.WAITING,))] == [0, 1]
        assert [t.number for t in driver.get_all_trials(study)] == [1]
        assert [t.number for t in driver.trials] == [0, 1]


def test_the_view_of_a_running_trial_does_not_change_by_itself(database: RDBStorage) -> None:
    driver = DriverStorage(database)
    study = make_study(driver)
    with driver.turn():
        trial_id = driver.create_new_trial(study)
        seen = driver.get_trial(trial_id)
        describe(driver, trial_id)
    assert (seen.params, seen.user_attrs) == ({}, {})
