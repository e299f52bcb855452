"""Trackers get what was measured, are asked for by name, and never cost a training."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.reporting import trackers
from search.reporting.trackers import check_tracker, open_tracker
from spaces import InputError

CONFIG = {"train": {"lr": 0.1, "epochs": 3}, "objective": {}, "seeds": [0, 1]}


def note(tracker: str, folder: Path) -> None:
    with open_tracker(tracker, folder, "study", CONFIG) as opened:
        for epoch, loss in enumerate((0.5, 0.25), 1):
            opened.log({"train/loss": loss}, epoch)
        opened.trial(7, {"train.lr": 0.1, "layers.1.block": "conv", "sizes": [1, 2]}, {"accuracy": 0.875, "flops": 1e4})


def test_nobody_follows_unless_asked(tmp_path: Path) -> None:
    note("none", tmp_path)
    assert not list(tmp_path.iterdir())


def test_tensorboard_shows_epochs_and_trials(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    note("tensorboard", tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    [accuracy] = events.Scalars("study/accuracy")
    assert (accuracy.step, accuracy.value) == (7, 0.875)
    trial = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "trial-0007")).Reload()
    assert trial.Scalars("trial/flops")[0].value == 1e4
    assert "_hparams_/session_start_info" in trial.summary_metadata


def test_mlflow_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    note("mlflow", tmp_path)
    with open_tracker("mlflow", tmp_path, "study", CONFIG) as again:
        again.log({"train/loss": 0.125}, 3)
    client: Any = MlflowClient()
    experiment = client.get_experiment_by_name("smallnets").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"study", "trial-0007"}
    study, trial = runs["study"], runs["trial-0007"]
    history = client.get_metric_history(study.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert study.data.params == {"train.lr": "0.1", "train.epochs": "3", "seeds": "[0, 1]"}
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert trial.data.params["layers.1.block"] == "conv"
    assert trial.data.metrics == {"accuracy": 0.875, "flops": 1e4}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_tracker_that_fails_is_left_out_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(trackers.TensorBoard):
        def __init__(self, *arguments: Any) -> None:
            pass

        def log(self, values: Mapping[str, float], step: int) -> None:
            raise ConnectionError("the server\nis gone")

        def __exit__(self, *exception: object) -> None:
            raise AssertionError("it was left out")

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Late)
    console = Console(file=io.StringIO(), width=200)
    with open_tracker("mlflow", tmp_path, "study", {}, console) as tracker:
        tracker.log({"loss": 1.0}, 1)
        tracker.log({"loss": 1.0}, 2)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said == "The tracker has failed and is left out: ConnectionError: the server is gone\n"


def test_what_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"there is no tracker 'tensorbord'; did you mean 'tensorboard'"):
        open_tracker("tensorbord", tmp_path, "study", {})
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda name: None)
        for tracker in ("tensorboard", "mlflow"):
            with pytest.raises(InputError, match=f"pip install {tracker}$"):
                check_tracker(tracker)
    (tmp_path / "tensorboard").write_text("a file where the folder belongs")
    with pytest.raises(InputError, match="tracker=tensorboard: it cannot be started"):
        open_tracker("tensorboard", tmp_path, "study", {})
