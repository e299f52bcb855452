"""The search for a device, as a user runs it: measured before, predicted meanwhile, measured after."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from search.latency.table import Table
from search.run.session import command
from spaces import SearchSpace, decode, network
from spaces.reference import read_yaml
from tests.search.latency.fake import fill
from tests.search.test_run import home, run  # noqa: F401

QUICK = ["--config-dir", "own", "space=tiny", "data.limit=200", "train.epochs=1", "study=quick", "workers=1"]
PHONE = {"device": "a phone", "runtime": "onnxruntime 0.1", "threads": "1", "batch": "1", "dtype": "float32"}


def latencies(home: Path) -> dict[str, float]:  # noqa: F811
    trials = pd.read_csv(home / "results" / "quick" / "trials.csv")
    return dict(zip(trials["digest"], trials["latency_ms"]))


def test_the_front_is_predicted_and_measured(home: Path) -> None:  # noqa: F811
    device = ["device=torch", f"device.table={home / 'table.csv'}", "device.budget_s=3"]
    said = run(home, *QUICK, *device, "trials=2")
    assert "Measuring blocks and networks on" in said
    assert "measured end to end; the prediction was off by" in said
    front = pd.read_csv(home / "results" / "quick" / "front_latency_ms.csv")
    assert (front[["latency_ms", "measured_ms", "latency_error"]] > 0).all().all()
    config = read_yaml(home / "results" / "quick" / "config.yaml")
    assert config["objective"]["cost"] == "latency_ms"
    before = latencies(home)
    Table(home / "table.csv").save()
    (home / "table.csv").unlink()  # what a study predicts from stays with it
    said = run(home, *QUICK, *device, "trials=3")
    assert "Measuring blocks" not in said
    after = latencies(home)
    assert len(after) == 3
    assert before.items() <= after.items()
    said = run(home, *QUICK, *device, "device.threads=2", "trials=4", status=2)
    assert "device.threads: 1 -> 2" in said


def test_a_table_from_elsewhere_is_searched_for(home: Path) -> None:  # noqa: F811
    space = SearchSpace(read_yaml(home / "own" / "space" / "tiny.yaml"), in_channels=1, num_classes=10, resolution=8)
    table = fill(Table(home / "phone.csv", PHONE), space)
    table.save()
    said = run(home, *QUICK, "device=onnxruntime", "device.table=phone.csv", "trials=3")
    assert "Latency is predicted for another device, a phone, onnxruntime 0.1" in said
    [bundled] = [line for line in said.splitlines() if "bundle=front.pyz" in line]
    said = " ".join(said.split())
    assert "not measured. To measure the front on its device:" in said.replace("  ", " ")
    assert "python -m search.report study=quick measured=front.csv" in said
    files = sorted((home / "results" / "quick" / "front").glob("*.yaml"))
    said = run(home, *shlex.split(bundled)[3:], module="search.profile")  # as it is printed
    assert f"{len(files)} networks" in said
    assert "python -m search.report study=NAME measured=front.csv" in " ".join(said.split())
    measured = Table(home / "back.csv", PHONE)
    fill(measured, space, networks=[network("resnet20_cifar")]).save()
    said = run(home, "study=quick", "measured=back.csv", module="search.report", status=2)
    assert "holds none of the study's networks" in said
    networks = [decode(read_yaml(file)) for file in files]
    fill(measured, space, networks=networks).save()
    said = run(home, "study=quick", "measured=back.csv", module="search.report")
    assert f"{len(files)} networks of the fronts were measured" in " ".join(said.split())
    front = pd.read_csv(home / "results" / "quick" / "front_latency_ms.csv")
    assert front["measured_ms"].notna().all()
    run(home, "study=quick", f"measured={home / 'nowhere.csv'}", module="search.report", status=2)


def test_limits_that_nothing_keeps_are_refused_before_anything_is_measured(home: Path) -> None:  # noqa: F811
    device = ["device=torch", f"device.table={home / 'new.csv'}", "device.budget_s=3"]
    said = run(home, *QUICK, *device, "objective.max_params=10", status=2)
    assert "objective.max_params=10 (the nearest found: " in said
    assert "Measuring" not in said
    assert not (home / "new.csv").exists()
    said = " ".join(run(home, *QUICK, *device, "objective.max_latency_ms=1e-9", status=2).split())
    assert "new.csv yet: it is made, for this machine" in said.replace("new.c sv", "new.csv")
    assert "objective.max_latency_ms=1e-09 (the nearest found: " in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["device=cuda"], ["device=cuda", "GPU"]),
        (["device=onnxruntime", "device.threads=0"], ["device.threads", "0"]),
        (["device=none", "objective.cost=latency_ms"], ["latency_ms", "device=onnxruntime"]),
        (["device=none", "objective.max_latency_ms=1"], ["latency_ms", "device=onnxruntime"]),
        (["device=torch", "device.budget_s=-1"], ["device.budget_s", "-1"]),
        (["device=tensorrt"], ["tensorrt"]),
    ],
)
def test_a_device_that_is_not_there_is_one_clear_error(
    home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", ["search.run", *QUICK, *arguments])
    assert command() == 2
    said = "".join(capsys.readouterr())
    assert said.startswith("error:")
    for word in words:
        assert word in said
