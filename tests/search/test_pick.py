"""Picking from a study: the best within the budgets, the nearest where none is, and every state a study can be in."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from rich.console import Console

import search
from search import pick
from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.reporting.figures import FIGURES
from search.reporting.stored_study import StoredStudy
from search.reporting.tables import completed
from search.study.study import Study
from search.trials.reader import read_trial
from search.trials.storage import DATABASE, open_database
from spaces import SearchSpace, cost, decode
from spaces.architecture import digest_of
from spaces.reference import read_yaml
from tests.search.conftest import SMALL, instant_outcome

CONFIG: dict[str, Any] = {"objective": {}, "data": {"source": "digits"}, "choices": {"data": "digits"}, "imports": []}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "done").mkdir(parents=True)
    return tmp_path / "results" / "done"


def make(folder: Path, space: SearchSpace, trials: int) -> Study:
    storage = open_database(folder / DATABASE)
    study = Study(space, Objective(), RandomSampler(seed=0), storage, name=folder.name, trials=trials, config=CONFIG)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    return study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "done"
    folder.mkdir()
    make(folder, SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8), 12)
    return folder / DATABASE


@pytest.fixture
def done(folder: Path, made: Path) -> StoredStudy:
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(folder / DATABASE)) as target:
        source.backup(target)
    return search.load_study("done")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["search.pick", *arguments])
    return pick.main()


def picked(path: Path) -> str:
    return decode(read_yaml(path)).digest


def test_the_most_accurate_within_the_budgets(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = completed(done.trials)
    middle = float(trials["params"].astype(float).median())
    for budgets, within in (
        ([], trials),
        ([f"max_params={middle}"], trials[trials["params"] <= middle]),
        ([f"max_params={middle}", "max_flops=5e4"], trials[(trials["params"] <= middle) & (trials["flops"] <= 5e4)]),
    ):
        assert run(monkeypatch, "study=done", *budgets) == 0
        best = within.loc[within["accuracy"].idxmax()]
        assert picked(folder / "pick.yaml") == best["digest"]
        out = " ".join(capsys.readouterr().out.split())
        assert f"trial {best['number']}" in out
        assert "python -m search.train architecture=results/done/pick.yaml data=digits train=long" in out


def test_every_known_cost_can_be_given_a_budget(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = done.trials["activation_bytes"].astype(float)
    assert run(monkeypatch, "study=done", f"max_activation_bytes={alive.median()}", "output=mine/net.yaml") == 0
    within = done.trials[alive <= alive.median()]
    assert picked(Path("mine/net.yaml")) == within.loc[within["accuracy"].idxmax()]["digest"]
    assert not (folder / "pick.yaml").exists()


def test_latency_counts_as_measured_where_it_was(done: StoredStudy) -> None:
    trials = done.record.trials
    best, second = trials["accuracy"].sort_values(ascending=False).index[:2]
    trials["latency_ms"] = 1.0
    trials["measured_ms"] = float("nan")
    assert pick.choose(done, {"latency_ms": 1.5}, None, Console())[0].number == best
    trials.loc[best, "measured_ms"] = 1.6
    chosen, _ = pick.choose(done, {"latency_ms": 1.5}, None, Console())
    assert (chosen.number, chosen.costs["latency_ms"], chosen.latency) == (second, 1.0, " (predicted)")
    chosen, _ = pick.choose(done, {"latency_ms": 1.7}, None, Console())
    assert (chosen.number, chosen.costs["latency_ms"], chosen.latency) == (best, 1.6, " (measured)")
    with pytest.raises(ValueError, match=r"the nearest is trial \d+ \(.*\): max_latency_ms=1 admits it"):
        pick.choose(done, {"latency_ms": 0.5}, None, Console())


def test_accuracy_counts_as_confirmed_where_it_was(done: StoredStudy) -> None:
    trials = done.record.trials
    best, second = trials["accuracy"].sort_values(ascending=False).index[:2]
    trials["accuracy_mean"] = float("nan")
    trials.loc[best, "accuracy_mean"] = trials.loc[second, "accuracy"] - 0.001
    trials["confirmations"] = 3
    assert pick.choose(done, {}, None, Console())[0].number == second


def test_by_reward_weighs_cost_against_accuracy(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soft = ["by=reward", "objective.target=1e4", "objective.alpha=-0.5", "objective.beta=-0.5"]
    assert run(monkeypatch, "study=done", *soft) == 0
    reward = done.trials["accuracy"] * (done.trials["flops"].astype(float) / 1e4) ** -0.5
    assert picked(folder / "pick.yaml") == done.trials.loc[reward.idxmax()]["digest"]
    assert f"reward {reward.max():.4g}." in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, "study=done", "by=reward") == 0, "the study's own reward"
    assert picked(folder / "pick.yaml") == done.trials.loc[done.trials["reward"].idxmax()]["digest"]
    assert f"reward {done.trials['reward'].max():.4g}." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=dune"], "did you mean 'done'?"),
        (["study=done", "max_params=0"], "max_params=0: must be a number above 0"),
        (["study=done", "max_flops=few"], "max_flops=few: must be a number above 0"),
        (["study=done", "max_latency_ms=2"], "known are flops, params, memory_access, activation_bytes, size_bytes"),
        (["study=done", "objective.target=1e5"], "objective.target=100000.0: counts with by=reward alone"),
        (["study=done", "by=size"], "by: there is no order 'size'"),
        (["study=done", "by=reward", "objective.cost=latency_ms"], "knows no latency_ms"),
        (["study=done", "by=reward", "objective.target=-1"], "objective.target must be above 0"),
        (["study=done", "output=/proc/1/none/net.yaml"], "cannot write"),
        ([], "study must be given"),
    ],
)
@pytest.mark.usefixtures("done")
def test_mistakes_are_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_where_nobody_meets_the_budget_the_nearest_is_said_and_its_budget_works(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "study=done", "max_params=10", "max_flops=1e9") == 2
    error = capsys.readouterr().err
    least = done.trials.loc[done.trials["params"].astype(float).idxmin()]
    assert f"max_params={least['params']} admits it" in error
    assert f"the nearest is trial {least['number']} " in error
    assert run(monkeypatch, "study=done", f"max_params={least['params']}") == 0
    assert picked(folder / "pick.yaml") == least["digest"]


def test_where_every_network_is_beyond_a_hard_target_the_nearest_is_said_and_its_target_works(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "study=done", "by=reward", "objective.target=10") == 2
    least = done.trials.loc[done.trials["flops"].astype(float).idxmin()]
    admits = f"objective.target={least['flops']}"
    assert f"the nearest is trial {least['number']} " in (error := capsys.readouterr().err)
    assert f"{admits} admits it" in error
    assert run(monkeypatch, "study=done", "by=reward", admits) == 0
    assert picked(folder / "pick.yaml") == least["digest"]


def test_empty_half_finished_and_studies_of_one(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make(folder, small_space, 0)
    assert run(monkeypatch, "study=done") == 2
    assert "has no complete trial yet" in capsys.readouterr().err
    study.trials = 4
    for outcome in (Outcome("failed", failure="diverged: NaN"), Outcome("stopped", 0.99, None, 1, 0.5, (0.99,))):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, outcome)
    study.ask()
    assert run(monkeypatch, "study=done") == 2, "neither failed, stopped nor running ones are picked"
    proposal = study.ask()
    assert proposal is not None
    study.tell(proposal.number, instant_outcome(proposal))
    assert run(monkeypatch, "study=done") == 0
    assert picked(folder / "pick.yaml") == proposal.candidate.architecture.digest


def test_networks_that_no_longer_build_are_passed_over_and_said(
    done: StoredStudy, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranked = done.trials.sort_values("accuracy", ascending=False)
    storage = open_database(folder / DATABASE)
    broken, changed, good = ranked["number"].iloc[:3]
    for trial in storage.get_all_trials(storage.get_study_id_from_name("done")):
        if trial.number in (broken, changed):
            # written past the storage, as code of another time might have: a finished trial cannot be changed through it
            description = dict(read_trial(trial).architecture or {})
            key = "block" if trial.number == broken else "channels"
            layers = [{**description["layers"][0], key: "gone" if key == "block" else 40}, *description["layers"][1:]]
            rewrite(folder / DATABASE, trial, {**description, "layers": layers})
    assert run(monkeypatch, "study=done") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"trial {broken}: layers.0" in out
    assert "block 'gone'" in out
    assert "use the version of the code that the study was run with" in out
    assert f"trial {changed} was trained with" in out
    assert picked(folder / "pick.yaml") == done.trials.loc[good]["digest"]


def rewrite(database: Path, trial: FrozenTrial, description: dict[str, Any]) -> None:
    decided = {**trial.user_attrs["decided"], "architecture": description, "digest": digest_of(description)}
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = 'decided'",
            (json.dumps(decided), trial._trial_id),
        )


# --- from Python ------------------------------------------------------------------------------------------------------


def test_a_study_is_read_from_python(done: StoredStudy, folder: Path) -> None:
    assert done.name == "done"
    assert done.folder == folder
    front = done.front()
    assert list(front["flops"]) == sorted(front["flops"])
    assert list(front["accuracy"]) == sorted(front["accuracy"])
    assert set(done.front("params")["number"]) <= set(done.trials["number"])
    best = int(front["number"].iloc[-1])
    assert cost(done.architecture(best)).flops == front["flops"].iloc[-1]
    assert set(done.decisions(best)) <= set(done.trials.columns)
    with pytest.raises(ValueError, match="knows no cost 'latency_ms'; valid: flops, params"):
        done.front("latency_ms")
    with pytest.raises(ValueError, match="did you mean 'done'"):
        search.load_study("dune")
    for name in (*FIGURES, "options"):
        decision = "layers.0.kernel_size" if name == "options" else None
        figure = done.figure(name, decision=decision)
        assert isinstance(figure, go.Figure)
        assert figure.data or name in ("timeline", "importance"), name
    drawn = {x for trace in done.figure("front", "params").data if trace.x is not None for x in trace.x}
    assert set(done.front("params")["params"]) <= drawn
    with pytest.raises(ValueError, match="no figure 'frond'; did you mean 'front'"):
        done.figure("frond")
    with pytest.raises(ValueError, match=r"no decision 'layers.0.kernel'; did you mean 'layers.0.kernel_size'"):
        done.figure("options", decision="layers.0.kernel")
    with pytest.raises(AttributeError, match="no attribute 'load_studie'"):
        search.load_studie  # noqa: B018


def test_what_there_is_not_is_said_from_python_too(done: StoredStudy) -> None:
    with pytest.raises(ValueError, match="has no trial 999; its trials are 0 to 11"):
        done.architecture(999)
    with pytest.raises(ValueError, match="options: decision= must be given: "):
        done.figure("options")
    with pytest.raises(ValueError, match="a study goes by its name, 'done'"):
        search.load_study("results/done")
