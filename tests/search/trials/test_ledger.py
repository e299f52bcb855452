"""What a driver says of its trials against what the database then holds, and what it sees of others."""

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
from search.trials.ledger import Ledger
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


def make_study(ledger: Ledger) -> int:
    return ledger.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "study")


def describe(ledger: Ledger, trial_id: int) -> None:
    """Says what a driver says when it hands out a trial."""
    for name, value in (("kernel_size", 3), ("repeat", 2), ("lr", 0.01)):
        distribution = DISTRIBUTIONS[name]
        ledger.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
    for key, content in ATTRIBUTES.items():
        ledger.set_trial_user_attr(trial_id, key, content)
    ledger.set_trial_system_attr(trial_id, "constraints", [0.5])


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
    ledger = Ledger(database)
    study = make_study(ledger)
    with ledger.turn():
        trial_id = ledger.create_new_trial(study)
        describe(ledger, trial_id)
        assert stored(database, study)[0].params == {}  # not yet
    assert stored(database, study) == ledger.get_all_trials(study)
    assert ledger.get_trial(trial_id).params == {"kernel_size": 3, "repeat": 2, "lr": 0.01}
    with ledger.turn():
        ledger.set_trial_user_attr(trial_id, "digest", "1e")  # said again
        assert ledger.set_trial_state_values(trial_id, state, values)
    (trial,) = stored(database, study)
    assert (trial.state, trial.values, trial.user_attrs["digest"]) == (state, values, "1e")
    assert [trial] == ledger.get_all_trials(study)
    with ledger.turn(), pytest.raises(UpdateFinishedTrialError):
        ledger.set_trial_user_attr(trial_id, "digest", "2d")


def test_a_trial_takes_three_transactions(database: RDBStorage, small_space: SearchSpace) -> None:
    study = Study(small_space, Objective(), optuna.samplers.RandomSampler(seed=0), database, trials=5)
    with commits(database) as seen:
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, instant_outcome(proposal))
    assert len(seen) == 3  # its number, its description, its end


def test_what_a_turn_that_breaks_off_has_not_written_is_forgotten(database: RDBStorage) -> None:
    ledger = Ledger(database)
    study = make_study(ledger)
    ids: list[int] = []

    def break_off() -> None:
        with ledger.turn():
            ids.append(ledger.create_new_trial(study))
            describe(ledger, ids[0])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert ledger.get_all_trials(study) == stored(database, study)
    with ledger.turn():
        describe(ledger, ids[0])
    assert ledger.get_all_trials(study) == stored(database, study)
    assert ledger.get_all_trials(study)[0].user_attrs.keys() == ATTRIBUTES.keys()


def test_what_others_write_is_seen_in_the_next_turn(database: RDBStorage, tmp_path: Path) -> None:
    ours, theirs = Ledger(database), Ledger(open_database(tmp_path / DATABASE))
    study = make_study(ours)
    with ours.turn():
        first = ours.create_new_trial(study)
    with theirs.turn():
        assert [trial._trial_id for trial in theirs.get_all_trials(study)] == [first]
        second = theirs.create_new_trial(study)
        describe(theirs, second)
        theirs.set_trial_state_values(first, TrialState.WAITING)
    assert len(ours.get_all_trials(study)) == 1  # between turns nothing changes
    with ours.turn():
        assert ours.get_all_trials(study) == stored(database, study)
        (waiting,) = ours.get_all_trials(study, states=(TrialState.WAITING,))
        assert waiting._trial_id == first
        assert ours.set_trial_state_values(first, TrialState.RUNNING)
        ours.set_trial_user_attr(first, "driver", "ours")
    with theirs.turn():  # the same state, and yet begun anew
        assert theirs.get_trial(first).user_attrs == {"driver": "ours"}
        theirs.set_trial_state_values(second, TrialState.COMPLETE, [0.5, 1.0])
    with ours.turn():
        assert ours.get_all_trials(study) == stored(database, study)
        assert [t.number for t in ours.get_all_trials(study, states=(TrialState.COMPLETE,))] == [1]


def test_a_turn_reads_no_more_of_a_long_study(database: RDBStorage) -> None:
    """By the plan SQLite makes for it: it goes to the new and the unfinished trials by their ids."""
    ledger = Ledger(database)
    study = make_study(ledger)
    for _ in range(3):
        ledger.create_new_trial(study)
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    with ledger.turn():
        pass
    event.remove(database.engine, "before_cursor_execute", note)
    ((statement, parameters),) = [said for said in statements if said[0].startswith("SELECT")]
    with database.engine.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    # older versions say TABLE
    reads = [step.replace("TABLE ", "") for step in plan if step.startswith(("SCAN", "SEARCH"))]
    assert reads == [
        "SEARCH trials USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH trials USING INTEGER PRIMARY KEY (rowid>?)",
    ]


def test_whoever_finishes_a_trial_second_is_told(database: RDBStorage, tmp_path: Path) -> None:
    ours, theirs = Ledger(database), Ledger(open_database(tmp_path / DATABASE))
    study = make_study(ours)
    with ours.turn():
        trial_id = ours.create_new_trial(study)
    with theirs.turn():
        theirs.get_all_trials(study)
    with ours.turn():
        ours.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):  # it has not looked since
            theirs._write(trial_id, TrialState.COMPLETE, [1.0, 1.0])
    assert [trial.state for trial in stored(database, study)] == [TrialState.FAIL]


def test_the_view_of_a_running_trial_does_not_change_by_itself(database: RDBStorage) -> None:
    ledger = Ledger(database)
    study = make_study(ledger)
    with ledger.turn():
        trial_id = ledger.create_new_trial(study)
        seen = ledger.get_trial(trial_id)
        describe(ledger, trial_id)
    assert (seen.params, seen.user_attrs) == ({}, {})
