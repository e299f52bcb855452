"""The search command as a user runs it: real processes, real images, a real storage."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from search.reporting.figures import gather_effort
from search.reporting.reading import read_record
from search.run.session import command
from search.trials.reader import read_trials
from search.trials.storage import DATABASE, open_study
from spaces import SearchSpace, build, cost, decode
from spaces.reference import read_yaml

from .faulty import FAULTY

TINY = """
width_multiplier: {choice: [0.5, 1.0, 1.5, 2.0]}
layers:
  - {block: conv, channels: 8, kernel_size: {choice: [2, 3, 5]}, stride: 2}
  - {block: depthwise_separable, channels: 16, repeat: {int: [1, 3]}, kernel_size: {choice: [2, 3, 5]}}
"""
QUICK = ["--config-dir", "own", "space=tiny", "device=none", "data.limit=200", "train.epochs=1", "study=quick"]
ENDLESS = [*QUICK, "train.epochs=1000000", "trials=30", "workers=2"]
"""A search that is still in its first trials whenever a test comes to look."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder to work in, with a space of its own."""
    (tmp_path / "own" / "space").mkdir(parents=True)
    (tmp_path / "own" / "space" / "tiny.yaml").write_text(TINY)
    return tmp_path


def start(home: Path, *arguments: str, module: str = "search.run") -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{home}"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a process group of its own: Ctrl-C is for all of that
        # in the background of a shell script Ctrl-C is ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    STARTED.append(process)
    return process


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _leave_none_running() -> Iterator[None]:
    """A test that fails leaves no search behind that trains for ever."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def run(home: Path, *arguments: str, module: str = "search.run", status: int = 0) -> str:
    """Runs a command to its end; returns what it printed."""
    process = start(home, *arguments, module=module)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    return out + err


def wait_for(process: subprocess.Popen[str], folder: Path, number: int, state: TrialState) -> None:
    """Waits until a command under way has so many trials in a state."""
    deadline = time.monotonic() + 240
    while count(folder, state) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def count(folder: Path, *states: TrialState) -> int:
    """How many trials in the storage are in one of these states; quick, and 0 where nothing is there yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT state FROM trials").fetchall()
    except sqlite3.OperationalError:
        return 0
    return sum(name in {state.name for state in states} for (name,) in found)


def finished(folder: Path) -> dict[int, tuple[TrialState, list[float] | None]]:
    """State and values of every finished trial in the storage."""
    try:
        study = open_study(folder, None, "quick")
    except ValueError:  # killed before the study existed
        return {}
    return {t.number: (t.state, t.values) for t in study.trials if t.state.is_finished()}


def test_a_search_leaves_everything_it_promises_and_resumes(home: Path) -> None:
    out = run(home, *QUICK, "trials=4", "workers=2")
    folder = home / "results" / "quick"
    assert "4/4 done" in out
    assert "10 classes, with their training and validation images: 0: 48, 1: 49" in out
    assert "Search: 200 training and 287 validation images of 10 classes, 8x8 pixels, grey; 2 workers on " in out
    assert not [*folder.glob("study.db-*")]  # the file is whole by itself, and may be copied
    assert "The front" in out
    assert "python -m search.run" in out
    assert yaml.safe_load((folder / "config.yaml").read_text())["trials"] == 4
    trials = pd.read_csv(folder / "trials.csv")
    assert list(trials["number"]) == list(range(len(trials)))
    assert (trials["state"] == "complete").all()
    assert trials["accuracy"].between(0, 1).all()
    assert {"layers.0.kernel_size", "layers.1.repeat", "width_multiplier"} <= set(trials.columns)
    front = pd.read_csv(folder / "front.csv")
    assert front["accuracy"].is_monotonic_increasing
    assert front["flops"].is_monotonic_increasing
    assert (folder / "front_params.csv").exists()
    assert "plotly" in (folder / "pareto.html").read_text().lower()
    files = sorted((folder / "front").iterdir())
    assert len(files) >= len(front)
    for file in files:
        architecture = decode(read_yaml(file))
        (row,) = trials[trials["digest"] == architecture.digest].to_dict("records")
        assert cost(architecture)[:2] == (row["flops"], row["params"])
        assert sum(p.numel() for p in build(architecture).parameters()) == row["params"]

    before = finished(folder)
    again = run(home, *QUICK, "trials=6", "workers=1")
    effort = gather_effort(read_record(open_study(folder, None, "quick")))
    assert {bar.lane for bar in effort.bars} <= {0, 1}  # two workers, and then one
    for bar in effort.bars:
        (seconds,) = trials.loc[trials["number"] == bar.number, "seconds"].tolist() or [bar.end - bar.start]
        assert bar.end - bar.start == pytest.approx(seconds, abs=0.01)
    assert "6/6 done" in again
    after = finished(folder)
    assert {number: after[number] for number in before} == before

    for name in ("trials.csv", "front.csv", "pareto.html"):
        (folder / name).unlink()
    run(home, "study=quick", module="search.report")
    assert len(pd.read_csv(folder / "trials.csv")) == len(after)
    assert (folder / "pareto.html").exists()


def test_accuracy_depends_neither_on_the_order_of_trials_nor_on_the_number_of_workers(home: Path) -> None:
    accuracies = []
    for workers in (1, 3):
        run(home, *QUICK[:-1], f"study=with{workers}", "trials=6", "sampler=random", f"workers={workers}")
        trials = pd.read_csv(home / "results" / f"with{workers}" / "trials.csv")
        accuracies.append(dict(zip(trials["digest"], trials["accuracy"], strict=True)))
    assert accuracies[0] == accuracies[1]


def test_a_killed_driver_loses_no_finished_trial(home: Path) -> None:
    """kill -9 at ten random moments, from start-up to the middle of training; then the study completes."""
    folder = home / "results" / "quick"
    rng = random.Random(0)
    known: dict[int, tuple[TrialState, list[float] | None]] = {}
    arguments = [*QUICK, "train.epochs=5", "workers=2", "sampler=random"]
    for kill in range(10):
        process = start(home, *arguments, "trials=100")  # more than there is time for
        if kill > 2:  # the first ones hit start-up, the others wait for work to be under way
            wait_for(process, folder, len(known) + 1, TrialState.COMPLETE)
        time.sleep(rng.uniform(0, 4 if kill <= 2 else 0.2))
        process.kill()
        process.communicate()
        now = finished(folder)
        assert {number: now[number] for number in known} == known
        known = now
    trials = len(known) + 5
    run(home, *arguments, f"trials={trials}")
    study = open_study(folder, None, "quick")
    originals = [t for t in study.trials if "duplicate_of" not in t.user_attrs]
    assert {number: finished(folder)[number] for number in known} == known
    assert [t.state for t in originals] == [TrialState.COMPLETE] * trials
    assert len({t.digest for t in read_trials(study) if not t.is_copy}) == trials


def test_halving_and_confirming_survive_their_driver(home: Path) -> None:
    """Real trainings: stopped ones are never on the front, whose members are trained again; a kill loses none of it."""
    folder = home / "results" / "quick"
    arguments = [*QUICK, "train.epochs=3", "fidelity=halving", "trials=22", "confirm=2", "workers=2"]
    arguments += [
        "sampler=random",
        "train.lr={choice: [1e-5, 0.2]}",
    ]  # a rung foretells the end, and some are to be stopped
    for end_of in ("the first stop", "a confirmation"):
        process = start(home, *arguments)
        deadline = time.monotonic() + 240
        while not (count(folder, TrialState.PRUNED) if end_of == "the first stop" else confirmed(folder)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{end_of} did not come in time"
            time.sleep(0.05)
        process.kill()
        process.communicate()
        before, known = finished(folder), confirmed(folder)
    out = run(home, *arguments)
    after = finished(folder)
    assert {number: after[number] for number in before} == before
    assert {key: confirmed(folder)[key][: len(seeds)] for key, seeds in known.items()} == known
    trials = pd.read_csv(folder / "trials.csv")
    originals = trials[trials["duplicate_of"].isna()]
    assert set(originals["state"]) == {"complete", "stopped"}
    stopped = originals[originals["state"] == "stopped"]
    assert (stopped["epochs"] == 1).all()
    assert stopped["reward"].isna().all()
    front = pd.read_csv(folder / "front.csv")
    assert (front["state"] == "complete").all()
    assert (front["confirmations"] == 2).all()
    assert front["accuracy_std"].notna().all()
    assert front["accuracy_mean"].is_monotonic_increasing
    assert all(sorted(seeds) == [1, 2] for seeds in confirmed(folder).values())
    assert "means of trainings under other seeds" in out
    study = open_study(folder, None, "quick")
    assert all(len(t.curve) == t.epochs for t in read_trials(study))


def test_networks_come_first_and_earlier_studies_inform(home: Path) -> None:
    own = home / "own" / "mine.yaml"
    own.write_text("layers: [{block: conv, channels: 24, stride: 2}]")
    run(home, *QUICK, "trials=3", "enqueue=[own/mine.yaml]", "workers=1")
    trials = pd.read_csv(home / "results" / "quick" / "trials.csv")
    assert trials["name"].tolist()[0] == "mine"
    assert trials["state"][0] == "complete"
    assert (
        cost(decode({**read_yaml(own), "in_channels": 1, "num_classes": 10, "resolution": 8}))[0] == trials["flops"][0]
    )
    arguments = ["study=next", "warm_start=[quick]", "enqueue=[own/mine.yaml]", "trials=2", "workers=1"]
    out = run(home, *QUICK[:-1], *arguments)
    assert "2 of 3 complete trials of 'quick' lie in this space (the same images and training)" in out
    assert len(pd.read_csv(home / "results" / "next" / "trials.csv")) == 2
    run(home, *QUICK[:-1], *arguments)  # resumed: nothing is enqueued twice
    assert len(pd.read_csv(home / "results" / "next" / "trials.csv")) == 2
    out = run(home, *QUICK[:-1], *arguments, "enqueue=[own/mine.yaml,resnet20_cifar]")
    assert "1 of the enqueued networks wait for more trials: trials=3" in out


def confirmed(folder: Path) -> dict[str, list[int]]:
    """The seeds of confirming trainings in the storage, by candidate."""
    try:
        with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT key, value_json FROM study_user_attributes WHERE key LIKE 'confirmed:%'"
            ).fetchall()
    except sqlite3.OperationalError:
        return {}
    return {key: json.loads(value)["seeds"] for key, value in rows}


def test_a_long_temporary_path_does_without_a_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = home / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    assert "1/1 done" in run(home, *QUICK, "trials=1", "workers=1")


def test_a_job_that_is_refused_does_not_keep_others_from_running(home: Path) -> None:
    arguments = [a for a in QUICK if not a.startswith("study=")]
    said = run(home, "-m", *arguments, "trials=1", "workers=1", "objective.max_flops=1,1000000", status=2)
    assert re.search(r"error: tiny-digits-\S*objective.max_flops=1-", said)
    assert "1/1 done" in said


def test_a_terminal_without_unicode_is_no_obstacle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    assert "The front" in run(home, *QUICK, "trials=1", "workers=1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(home: Path, number: signal.Signals) -> None:
    process = start(home, *ENDLESS)
    folder = home / "results" / "quick"
    wait_for(process, folder, 2, TrialState.RUNNING)
    os.killpg(process.pid, number)  # a terminal and `timeout` send it to the workers too
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # nobody presses it once
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "starts again" not in out
    assert "same command" in out
    assert (folder / "front.csv").exists()
    assert {t.state for t in open_study(folder, None, "quick").trials} == {TrialState.WAITING}


def test_ctrl_c_before_the_first_trial_ends_without_a_traceback(home: Path) -> None:
    for wait_s in (0, 0.3, 1.5, 3):
        process = start(home, *ENDLESS)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():  # before that it is Python that is starting
            time.sleep(0.01)
        time.sleep(wait_s)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the server and the workers are there too
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err, out + err
        assert process.returncode in (130, -signal.SIGINT), out + err


def test_the_command_is_there_before_anything_heavy_is_imported() -> None:
    """So that the workers' server starts at once, and Ctrl-C is heard."""
    check = "import search.run.__main__, sys; assert not {'torch', 'optuna', 'spaces'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_killed_driver_leaves_no_worker_and_no_files_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path: with a long one there is no server
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(home, *ENDLESS)
    wait_for(process, home / "results" / "quick", 2, TrialState.RUNNING)
    assert any(path.name.startswith("smallnets-") for path in temporary.iterdir())
    process.kill()
    process.communicate(timeout=60)  # returns when nobody holds the output any more: workers have ended
    assert not any(path.name.startswith("smallnets-") for path in temporary.iterdir())


def test_lines_come_as_the_search_goes(home: Path) -> None:
    process = start(home, *QUICK, "train.epochs=30", "trials=30", "workers=1")
    assert process.stdout is not None
    beginning = [process.stdout.readline() for _ in range(3)]
    assert beginning[1].startswith("Search: ")
    assert "complete: accuracy" in beginning[2]
    assert count(home / "results" / "quick", TrialState.COMPLETE) < 30  # and not all at once, when it ends
    process.kill()
    process.communicate()


def test_a_second_driver_on_the_same_study_is_refused(home: Path) -> None:
    process = start(home, *ENDLESS)
    wait_for(process, home / "results" / "quick", 1, TrialState.RUNNING)
    refused = run(home, *ENDLESS, status=2)
    assert "another process is running the study" in refused
    assert "study=NAME" in refused
    process.kill()
    process.communicate()


def test_failures_are_distinct_visible_and_never_stop_the_study(home: Path) -> None:
    """A user's own block from the command line, which fails in every way there is."""
    (home / "my_blocks.py").write_text(FAULTY)
    (home / "own" / "space" / "faulty.yaml").write_text(
        "layers: [{block: faulty, channels: 8, fault: {choice: [none, raises, dies, diverges, memory, crowded, grows, hangs]}}]"
    )
    said = run(
        home,
        "--config-dir",
        "own",
        "space=faulty",
        "imports=[my_blocks]",
        "train.epochs=1",
        "train.batch_size=64",
        "backend.trial_timeout_s=15",
        "backend.trial_memory_mb=800",
        "trials=8",
        "confirm=0",
        "study=faults",
        "sampler=random",
    )
    trials = pd.read_csv(home / "results" / "faults" / "trials.csv")
    originals = trials[trials["duplicate_of"].isna()].set_index("layers.0.fault")
    assert originals["state"].to_dict() == {
        "none": "complete",
        "raises": "failed",
        "dies": "failed",
        "diverges": "failed",
        "memory": "failed",
        "crowded": "complete",
        "grows": "failed",
        "hangs": "failed",
    }
    reasons = originals["failure"]
    assert "the block's own words" in reasons["raises"]
    assert reasons["raises"].startswith("exception")
    assert reasons["dies"].startswith("worker lost")
    assert "SIGKILL" in reasons["dies"]
    assert reasons["diverges"].startswith("diverged")
    assert reasons["memory"].startswith("out of memory")
    assert reasons["grows"].startswith("out of memory")
    assert reasons["hangs"].startswith("time limit")
    retried = originals["retried"].dropna().to_dict()
    assert retried["crowded"] == "out of memory with batch_size 64, now 32"
    assert "SIGKILL" in retried["dies"]
    assert set(retried) == {"crowded", "dies", "grows", "memory"}
    assert said.count("starts again: ") == 4


def test_a_user_block_is_counted_by_pytorch_and_searched_like_any_other(home: Path) -> None:
    sys.path.insert(0, str(home))
    (home / "my_other_blocks.py").write_text(FAULTY.replace('"faulty"', '"counted"'))
    __import__("my_other_blocks")
    space = SearchSpace(
        {"layers": [{"block": "counted", "channels": {"choice": [8, 16]}}]}, in_channels=1, num_classes=10, resolution=8
    )
    space.check()
    assert {cost(c.architecture).flops for c in space.coverage()} == {8 * 8 * 8 + 80, 8 * 8 * 16 + 160}
    sys.path.remove(str(home))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trials=0"], ["trials", "0"]),
        (["space=tinny"], ["tinny", "did you mean 'tiny'"]),
        (["space.layers.0.block=conw"], ["layers.0", "conw", "did you mean 'conv'"]),
        (["space.layers.0.kernel=3"], ["layers.0", "kernel", "kernel_size"]),
        (["space.width_multiplier={choice: []}"], ["width_multiplier", "empty"]),
        (["space.layers.1.repeat={int: [3, 1]}"], ["layers.1.repeat", "[3, 1]"]),
        (["train.lr={float: [0, 0.1], log: true}"], ["train.lr", "above zero"]),
        (["train.lrr=0.1"], ["lrr", "did you mean 'lr'"]),
        (["train.epochs=0"], ["train.epochs", "0"]),
        (["space.layers.0.stride=16"], ["stride 16", "below one pixel"]),
        (["space.width_multiplier=1", "space.layers.1={block: conv, channels: 10, groups: 4}"], ["layers.1", "10", "8 or 12"]),
        (["backend.accelerator=gpu"], ["backend.accelerator", "gpu", "auto, cpu, cuda"]),
        (["backend=ray", "backend.cpus=9999"], ["backend.cpus=9999", "this machine"]),
        (["backend=ray", "backend.gpus=99"], ["backend.gpus=99", "this machine"]),
        (["backend=ray", "backend.trial_memory_mb=1000000000"], ["backend.trial_memory_mb", "this machine"]),
        (["backend.retries=-1"], ["backend.retries", "-1"]),
        (["data=folder", "data.path=nowhere"], ["nowhere"]),
        (["objective.max_flops=1"], ["max_flops", "0%"]),
        (["sampler=tpee"], ["tpee", "did you mean 'tpe'"]),
        (["results_dir=/proc/nowhere"], ["/proc/nowhere", "results_dir"]),
        (["imports=[no_such_module]"], ["no_such_module"]),
        (["fidelity=halfing"], ["halfing", "did you mean 'halving'"]),
        (["fidelity=halving"], ["train.epochs=1", "fidelity=full"]),
        (["warm_start=[old]", "sampler=tpe"], ["only sampler=cost_aware learns"]),
        (["tracker=mlflaw"], ["mlflaw", "did you mean 'mlflow'"]),
        (["fidelity=halving", "fidelity.reduction=1"], ["reduction", "at least 2", "1"]),
        (["confirm=-1"], ["confirm=-1"]),
        (["enqueue=[mobilenet_v22]"], ["enqueue", "mobilenet_v22", "did you mean 'mobilenet_v2'"]),
        (["enqueue=[nowhere.yaml]"], ["enqueue", "nowhere.yaml"]),
        (["warm_start=[nothing]"], ["warm_start", "there is no study 'nothing' in"]),
        (["warm_start=[quick]"], ["warm_start", "this study itself"]),
        (["trails=3"], ["trails", "did you mean 'trials'"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_before_any_work(
    home: Path,
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
    assert said.count("error:") == 1
    for word in words:
        assert word in said
    assert count(home / "results" / "quick", *TrialState) == 0
    assert not (home / "results" / "quick").exists()


def test_a_changed_config_is_refused_with_what_changed(home: Path) -> None:
    run(home, *QUICK, "trials=1")
    said = run(home, *QUICK, "trials=1", "train.epochs=2", "workers=1", status=2)
    assert "train.epochs: 1 -> 2" in said
    assert "workers" not in said


def test_a_damaged_database_is_refused_and_kept(home: Path) -> None:
    run(home, *QUICK, "trials=1", "workers=1")
    database = home / "results" / "quick" / DATABASE
    content = bytearray(database.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 2048] = b"x" * 2048
    database.write_bytes(content)
    assert "damaged" in run(home, *QUICK, status=2)
    assert database.read_bytes() == content


def test_a_database_that_is_none_is_refused_and_kept(home: Path) -> None:
    folder = home / "results" / "quick"
    folder.mkdir(parents=True)
    (folder / DATABASE).write_text("words, not tables " * 100)
    said = run(home, *QUICK, status=2)
    assert "is not the database of a study" in said
    assert (folder / DATABASE).read_text().startswith("words")


def test_multirun_makes_one_study_a_job(home: Path) -> None:
    said = run(home, *QUICK[:-1], "-m", "seed=0,1", "space.width_multiplier=choice(0.5,1.0)", "trials=1")
    folders = sorted(path.name for path in (home / "results").iterdir() if path.is_dir())
    assert len(folders) == 4
    table = pd.read_csv(home / "results" / "sweep.csv")
    assert sorted(table["study"]) == folders
    assert (table["complete"] == 1).all()
    assert "4 studies" in said
    assert "sweep.csv" in said
    assert sorted(p.name for p in home.iterdir()) == ["own", "results"]


def test_the_storage_is_a_normal_optuna_study(home: Path) -> None:
    run(home, *QUICK, "trials=2")
    url = f"sqlite:///{home / 'results' / 'quick' / DATABASE}"
    study = optuna.load_study(study_name="quick", storage=url)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(t.values for t in study.trials)
    assert json.dumps(study.trials[0].user_attrs)
