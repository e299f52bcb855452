"""Trials damaged in their database: tables, samplers, warm starts, pick, Python and a resumed study all refuse them alike."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import RandomSampler

from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.pick import candidates
from search.reporting.reading import read_study
from search.reporting.stored_study import load_study
from search.reporting.tables import front
from search.samplers import CostAwareSampler
from search.study.study import Study
from search.study.warm_start import read_earlier
from search.trials.reader import read_trial
from search.trials.storage import DATABASE, open_database, open_study
from search.trials.trial import Failure, State
from spaces import InputError, SearchSpace
from tests.search.conftest import SMALL

BEST, COUNT = 3, 6
"""The trial that is damaged, which would be on every front, and the number of trials."""
Attributes = dict[str, Any]


def open_search(space: SearchSpace, folder: Path) -> Study:
    storage = open_database(folder / DATABASE)
    return Study(space, Objective(), RandomSampler(seed=0), storage, trials=COUNT, config={"objective": {}})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran without an accident."""
    folder = tmp_path_factory.mktemp("results") / "study"
    folder.mkdir()
    space = SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8)
    study = open_search(space, folder)
    while (proposal := study.ask()) is not None:
        accuracy = 0.9 if proposal.number == BEST else 0.1 + proposal.number / 100
        study.tell(proposal.number, Outcome("complete", accuracy, epochs=2, curve=(accuracy / 2, accuracy)))
    study.release()
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "study"))


def change(folder: Path, edit: Callable[[Attributes], None]) -> None:
    """Changes the attributes of a trial in the tables, where a storage would refuse it."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        query = "SELECT key, value_json FROM trial_user_attributes WHERE trial_id = ?"
        attributes = {key: json.loads(value) for key, value in connection.execute(query, (BEST + 1,))}
        edit(attributes)
        connection.execute("DELETE FROM trial_user_attributes WHERE trial_id = ?", (BEST + 1,))
        rows = [(BEST + 1, key, json.dumps(value)) for key, value in attributes.items()]
        connection.executemany("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)", rows)


def flatten(attributes: Attributes) -> None:
    """Stores a trial as version 0.1 did."""
    decided, result = attributes.pop("decided"), attributes.pop("result")
    attributes |= decided["costs"] | result
    attributes |= {name: decided[name] for name in ("digest", "architecture")}


def put(part: str, **values: Any) -> Callable[[Attributes], None]:
    return lambda attributes: attributes[part].update(values)


def put_cost(cost: Any) -> Callable[[Attributes], None]:
    return lambda attributes: attributes["decided"]["costs"].update(flops=cost)


DAMAGES: dict[str, Callable[[Attributes], Any]] = {
    "no digest": lambda attributes: attributes["decided"].pop("digest"),
    "the digest of another network": put("decided", digest="0123456789abcdef"),
    "a digest that is a number": put("decided", digest=7),
    "no architecture": lambda attributes: attributes["decided"].pop("architecture"),
    "another architecture": lambda attributes: attributes["decided"]["architecture"].update(num_classes=3),
    "an architecture that is a text": put("decided", architecture="conv"),
    "a cost that is a text": put_cost("many"),
    "a cost that is infinite": put_cost(float("inf")),
    "a cost that is missing": lambda attributes: attributes["decided"]["costs"].pop("params"),
    "costs that are a list": put("decided", costs=[1, 2]),
    "other decisions": lambda attributes: attributes["decided"]["decisions"].update(width_multiplier=7),
    "a candidate that is a list": lambda attributes: attributes.update(decided=[]),
    "no candidate": lambda attributes: attributes.pop("decided"),
    "an accuracy above 1": put("result", accuracy=3.5),
    "an accuracy that is a text": put("result", accuracy="high"),
    "an accuracy that is true": put("result", accuracy=True),
    "no accuracy": lambda attributes: attributes["result"].pop("accuracy"),
    "a curve that is a number": put("result", curve=0.5),
    "a curve of texts": put("result", curve=[0.5, "x"]),
    "a curve that leaves [0, 1]": put("result", curve=[0.5, 7]),
    "metrics that are no numbers": put("result", metrics={"sparsity": "much"}),
    "epochs that are a text": put("result", epochs="two"),
    "a failure that is a number": put("result", failure=3),
    "a result that is a text": lambda attributes: attributes.update(result="good"),
    "no result": lambda attributes: attributes.pop("result"),
    "a duplicate of nothing": lambda attributes: attributes.update(duplicate_of="first"),
}
FLAT_DAMAGES: dict[str, Callable[[Attributes], Any]] = {
    "no digest": lambda attributes: attributes.pop("digest"),
    "another architecture": lambda attributes: attributes["architecture"].update(num_classes=3),
    "a cost that is a text": lambda attributes: attributes.update(flops="many"),
    "an accuracy above 1": lambda attributes: attributes.update(accuracy=3.5),
    "a curve of texts": lambda attributes: attributes.update(curve=["x"]),
}


def believed(folder: Path, space: SearchSpace) -> dict[str, bool]:
    """Which parts of the project take a trial for what it says, by their names."""
    study = open_study(folder, None, "study")
    trials, _ = read_study(study)
    row = trials.iloc[BEST]
    resumed = open_search(space, folder)
    sampler = CostAwareSampler(seed=0)
    sampler.bind(space, resumed.objective, lambda architecture: {"flops": 1.0})
    informs = {result.number for result in sampler.past(study, -1).results}
    earlier, _ = read_earlier(space, ["study"], folder.parent / "next", None, {})
    stored = load_study("study", folder.parent)
    return {
        "tables": row["state"] == "complete" and row["digest"] is not None,
        "front": BEST in set(front(trials, "flops")["number"]),
        "samplers": BEST in informs,
        "warm starts": 0.9 in [one.accuracies[0] for one in earlier],
        "pick": BEST in {one.number for one in candidates(stored)},
        "Python": stored.trial(BEST).defect is None,
        "a resumed study": resumed.num_done == COUNT,
    }


def assert_refused(folder: Path, space: SearchSpace) -> None:
    assert set(believed(folder, space).values()) == {False}, believed(folder, space)
    stored = load_study("study", folder.parent)
    trial = stored.trial(BEST)
    assert (trial.state, trial.failure) == (State.FAILED, Failure.EDITED)
    assert (trial.accuracy, trial.digest, trial.architecture, trial.costs) == (None, None, None, {})
    assert stored.trials["failure"][BEST].startswith("edited by hand: ")
    for read in (stored.description, stored.decisions, stored.architecture):
        with pytest.raises(InputError, match=r"trial 3 .* edited by hand"):
            read(BEST)


def test_a_sound_trial_is_believed_in_both_formats(folder: Path, small_space: SearchSpace) -> None:
    assert set(believed(folder, small_space).values()) == {True}
    before = load_study("study", folder.parent).trials
    change(folder, flatten)
    assert set(believed(folder, small_space).values()) == {True}
    after = load_study("study", folder.parent).trials
    later = ["size_bytes"]  # a cost that version 0.1 did not know
    assert after.drop(columns=later).equals(before.drop(columns=later))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trial_is_believed_by_nobody(folder: Path, small_space: SearchSpace, damage: str) -> None:
    change(folder, DAMAGES[damage])
    assert_refused(folder, small_space)


@pytest.mark.parametrize("damage", FLAT_DAMAGES)
def test_nor_is_one_of_an_earlier_version(folder: Path, small_space: SearchSpace, damage: str) -> None:
    change(folder, flatten)
    change(folder, FLAT_DAMAGES[damage])
    assert_refused(folder, small_space)


@pytest.mark.parametrize("names", ["", "AND param_name = 'width_multiplier'"], ids=["all", "one"])
def test_a_trial_without_its_parameters_is_believed_by_nobody(
    folder: Path, small_space: SearchSpace, names: str
) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        assert connection.execute(f"DELETE FROM trial_params WHERE trial_id = {BEST + 1} {names}").rowcount
    assert_refused(folder, small_space)


@pytest.mark.parametrize("part", ["decided", "result", "driver", "name", "enqueued", "duplicate_of", "outside"])
@pytest.mark.parametrize("content", [None, 3, "x", [1], {"costs": 1, "digest": 2}, {"architecture": {}}])
def test_nothing_in_a_trial_that_waits_makes_the_reader_fail(folder: Path, part: str, content: Any) -> None:
    trial = open_study(folder, None, "study").trials[0]
    trial.state, trial.values = trial.state.WAITING, None
    trial.set_user_attr(part, content)
    assert read_trial(trial).state is State.WAITING
