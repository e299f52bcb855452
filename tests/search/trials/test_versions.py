"""Studies that version 0.1 wrote: they are read as it read them, and resumed without training anything again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.samplers import RandomSampler

from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.reporting.tables import known_costs, write_tables
from search.samplers import CostAwareSampler
from search.study.study import Study
from search.trials.reader import read_trials
from search.trials.storage import DATABASE, open_database
from search.trials.trial import State
from spaces import SearchSpace
from tests.search.conftest import instant_outcome

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
INTERRUPTED = 3
"""A trial that is made one which version 0.1 was running when it was killed."""


@pytest.fixture
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a study's database, as it may be written to."""
    path = tmp_path / DATABASE
    shutil.copy(FIXTURES / getattr(request, "param", "study") / DATABASE, path)
    return path


def load(path: Path) -> optuna.Study:
    storage = open_database(path)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def resume(path: Path, more: int) -> Study:
    """The study as a search resumes it, with so many candidates more."""
    known = load(path)
    config = known.user_attrs["config"]
    space = SearchSpace(config["space"], config["train"], in_channels=1, num_classes=10, resolution=8)
    done = sum(trial.is_original for trial in read_trials(known))
    objective = Objective.from_config(config["objective"])
    sampler: Any = CostAwareSampler(seed=5) if more % 2 else RandomSampler(seed=5)
    return Study(
        space, objective, sampler, open_database(path), name=known.study_name, trials=done + more, config=config
    )


def cells(path: Path) -> pd.DataFrame:
    """A table's cells as they are written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.mark.parametrize("database", ["study", "study-latency"], indirect=True)
def test_the_tables_of_an_earlier_version_stay_as_they_were(
    database: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trials, _ = read_study(load(database))
    write_tables(trials, tmp_path, known_costs(trials))
    for name in ("trials.csv", "front.csv"):
        then = cells(FIXTURES / request.node.callspec.params["database"] / name)
        now = cells(tmp_path / name)
        assert (now.pop("size_bytes") == "").all()  # a cost that version 0.1 did not know
        pd.testing.assert_frame_equal(now, then)


@pytest.mark.parametrize("more", [3, 4], ids=["cost_aware", "random"])
def test_a_study_of_an_earlier_version_is_resumed_and_trains_nothing_again(database: Path, more: int) -> None:
    before = read_trials(load(database))
    study = resume(database, more)
    told = []
    while (proposal := study.ask()) is not None:
        told.append(proposal.number)
        assert study.tell(proposal.number, instant_outcome(proposal))
    study.release()
    after = read_trials(load(database))
    assert after[: len(before)] == before
    assert len(told) == more
    assert min(told) >= len(before)
    assert len({trial.candidate_digest for trial in after if trial.is_original}) == study.num_done
    trials, _ = read_study(load(database))
    assert trials["failure"].dropna().tolist() == [trial.infeasible for trial in after if trial.infeasible]
    assert set(trials["number"][trials["accuracy_mean"].notna()]) <= set(range(len(before)))


def test_a_trial_that_an_earlier_version_left_running_is_run_again_under_its_number(database: Path) -> None:
    (before,) = read_trials(load(database))[INTERRUPTED : INTERRUPTED + 1]
    with closing(sqlite3.connect(database)) as connection, connection:
        trial_id = INTERRUPTED + 1
        connection.execute(
            "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = ?", (trial_id,)
        )
        connection.execute("DELETE FROM trial_values WHERE trial_id = ?", (trial_id,))
        connection.execute(
            "DELETE FROM trial_user_attributes WHERE trial_id = ? AND key IN "
            "('accuracy', 'curve', 'epochs', 'reward', 'seconds')",
            (trial_id,),
        )
    study = resume(database, 1)
    proposal = study.ask()
    assert proposal is not None
    assert (proposal.number, proposal.candidate.digest) == (INTERRUPTED, before.candidate_digest)
    study.tell(proposal.number, instant_outcome(proposal))
    after = read_trials(load(database))[INTERRUPTED]
    assert (after.state, after.digest, after.costs) == (State.COMPLETE, before.digest, before.costs)
    assert after.accuracy == instant_outcome(proposal).accuracy
