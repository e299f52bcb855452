"""The report command: everything again, from the storage alone, whatever state the study is in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.samplers import RandomSampler

from search import report
from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.study.study import Study
from search.trials.storage import DATABASE, open_database
from spaces import SearchSpace, decode
from spaces.reference import read_yaml
from tests.search.conftest import instant_outcome

CONFIG = {"objective": {"max_flops": 90_000}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "half").mkdir(parents=True)
    return tmp_path / "results" / "half"


def open_study(folder: Path, space: SearchSpace, trials: int) -> Study:
    objective = Objective.from_config(CONFIG["objective"])
    storage = open_database(folder / DATABASE)
    return Study(space, objective, RandomSampler(seed=0), storage, name=folder.name, trials=trials, config=CONFIG)


def run_report(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["search.report", *arguments])
    return report.main()


def test_a_half_finished_study_is_told_as_it_is(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(folder, small_space, trials=60)
    while study.num_duplicates < 2 or study.num_done < 12:
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, instant_outcome(proposal))
    ends = [Outcome("failed", failure="diverged: NaN"), Outcome("stopped", 0.99, None, 1, 0.5, (0.99,))]
    for end in ends:
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, end)
    study.ask()  # and is being trained

    assert run_report(monkeypatch, "study=half") == 0
    trials = pd.read_csv(folder / "trials.csv")
    in_storage = study.optuna_study.trials
    assert list(trials["number"]) == [trial.number for trial in in_storage]
    assert set(trials["state"]) == {"complete", "failed", "stopped", "infeasible", "running"}
    copies = trials[trials["duplicate_of"].notna()]
    assert len(copies) >= 2
    for _, copy in copies.iterrows():
        original = trials.loc[int(copy["duplicate_of"])]
        assert (copy["state"], copy["digest"]) == (original["state"], original["digest"])
        assert (copy["accuracy"], copy["reward"]) == (original["accuracy"], original["reward"])
    assert trials[trials["state"] == "infeasible"]["failure"].str.match(r"flops \d.* > 90000").all()
    assert trials[trials["state"] == "infeasible"]["accuracy"].isna().all()

    front = pd.read_csv(folder / "front.csv")
    assert not set(front["number"]) & set(copies["number"])
    assert (front["state"] == "complete").all()
    written = {decode(read_yaml(file)).digest for file in (folder / "front").iterdir()}
    assert set(front["digest"]) <= written
    assert (folder / "pareto.html").stat().st_size > 1e6
    said = " ".join(capsys.readouterr().out.split())
    assert "1 failed, " in said
    assert f"{len(copies)} seen before" in said


def test_files_come_from_the_storage_alone(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(folder, small_space, trials=5)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    run_report(monkeypatch, "study=half")
    names = ("trials.csv", "front.csv", "front_params.csv")
    before = {name: (folder / name).read_text() for name in names}
    networks = sorted(path.name for path in (folder / "front").iterdir())
    for name in names:
        (folder / name).write_text("old")
    (folder / "front" / "9999-0123456789abcdef.yaml").write_text("of another time")
    (folder / "front" / "notes.txt").write_text("a user's own")
    (folder / "front" / "kept").mkdir()
    moved = folder.parent.parent / "elsewhere" / "half"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    assert run_report(monkeypatch, "study=half", "results_dir=elsewhere") == 0
    assert {name: (moved / name).read_text() for name in names} == before
    assert sorted(path.name for path in (moved / "front").iterdir()) == sorted([*networks, "kept", "notes.txt"])


def test_an_empty_study_is_a_report_too(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_study(folder, small_space, trials=5)
    assert run_report(monkeypatch, "study=half") == 0
    assert pd.read_csv(folder / "trials.csv").empty
    assert "no front yet" in capsys.readouterr().out
    assert (folder / "pareto.html").exists()


def test_an_unknown_study_is_refused_with_the_nearest_name(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_study(folder, small_space, trials=5)
    assert run_report(monkeypatch, "study=haalf") == 2
    assert "did you mean 'half'?" in capsys.readouterr().err
    assert not (folder.parent / "haalf").exists()


def test_a_study_of_another_program_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.create_study(study_name="half", storage=open_database(folder / DATABASE))
    assert run_report(monkeypatch, "study=half") == 2
    assert "was not made by search.run" in capsys.readouterr().err


def test_one_confirming_training_says_nothing_of_the_spread(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(folder, small_space, trials=6)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    (first, *_) = study.to_confirm([5])
    study.confirm(first[0].number, 5, Outcome("complete", 0.5, None, 1, 0.0, (0.5,)))
    assert run_report(monkeypatch, "study=half") == 0
    trials = pd.read_csv(folder / "trials.csv", index_col="number")
    row = trials.loc[first[0].number]
    assert (row["accuracy_mean"], row["confirmations"]) == (0.5, 1)
    assert trials["accuracy_std"].isna().all()
    page = (folder / "pareto.html").read_text()
    assert "± nan" not in page.lower()
    assert "±\u00a0nan" not in page.lower()
    assert "nan%" not in capsys.readouterr().out


def test_a_renamed_folder_is_reported_by_its_new_name(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(folder, small_space, trials=2)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    folder.rename(folder.with_name("whole"))
    assert run_report(monkeypatch, "study=whole") == 0
    assert len(pd.read_csv(folder.with_name("whole") / "trials.csv")) >= 2


def test_cells_that_a_spreadsheet_would_run_are_texts(
    folder: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(folder, small_space, trials=4)
    for name in ("=HYPERLINK(1)", "+1+cmd", "@SUM(A1)", "\t=1"):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, Outcome("failed", failure=name))
    assert run_report(monkeypatch, "study=half") == 0
    cells = pd.read_csv(folder / "trials.csv")["failure"].dropna()
    assert sorted(cell for cell in cells if not cell.startswith("flops")) == sorted(
        ["'=HYPERLINK(1)", "'+1+cmd", "'@SUM(A1)", "'\t=1"]
    )
