"""Faults injected for real into running searches: whatever dies, no finished trial is lost and none is counted twice."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from search.trials.reader import read_trial
from search.trials.storage import open_study
from spaces import InputError

from .postgres import Server
from .test_run import QUICK, TINY, run, start, wait_for

SEARCH = [*QUICK, "sampler=random", "confirm=0"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder to work in, with a space of its own."""
    (tmp_path / "own" / "space").mkdir(parents=True)
    (tmp_path / "own" / "space" / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("psycopg")
    server = Server()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


class Cluster:
    """Two Ray nodes on this machine, started as the documentation says, with a token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)
        token = Path(self._folder.name) / "token"
        token.write_text("0123456789abcdef" * 4)
        # a test before may have kept a cluster of its own to this machine
        monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        port, client_port = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        head = [
            "--head",
            f"--port={port}",
            f"--ray-client-server-port={client_port}",
            f"--temp-dir={self._folder.name}",
        ]
        self._nodes = [self._start(*head, "--num-cpus=1")]
        self.add_node()

    def add_node(self) -> None:
        """Starts the second node."""
        self._nodes[1:] = [self._start(f"--address={self.address}", "--num-cpus=1")]

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a node and waits until it is up."""
        command = [str(Path(sys.executable).parent / "ray"), "start", *arguments, "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Ray runtime started" in line:
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return process
        raise AssertionError(said)

    def raylet(self, node: int) -> int:
        """The process id of a node's raylet."""
        (pid,) = (pid for pid in children(self._nodes[node].pid) if "/raylet" in command_of(pid))
        return pid

    def workers(self, node: int) -> list[int]:
        """The process ids of the actors that train on a node."""
        # Ray names an actor's process after its class, and while it runs a method after Tune's class around it
        names = ("ray::RayWorker", "ray::_Inner")
        return [pid for pid in children(self.raylet(node)) if command_of(pid).startswith(names)]

    def kill_raylet(self, node: int) -> None:
        """Takes a node away with all that it is doing."""
        os.kill(self.raylet(node), signal.SIGKILL)
        self._nodes[node].wait(timeout=60)

    def close(self) -> None:
        """Ends all processes of all nodes."""
        for node in self._nodes:
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        self._folder.cleanup()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("ray")
    cluster = Cluster(monkeypatch)
    yield cluster
    cluster.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    with suppress(OSError):
        found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        return [int(child) for line in found for child in line.split()]
    return []


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    return ""


def until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None, pause_s: float = 0.1) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(pause_s)


def kill_one(pids: list[int]) -> bool:
    """Kills the first process, if there is one."""
    if not pids:
        return False
    os.kill(pids[0], signal.SIGKILL)
    return True


class Tally:
    """What was done to a study, and what it cost."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self._folder = folder
        self._url = url
        self._known: dict[int, tuple[TrialState, list[float] | None]] = {}
        self.faults = 0
        self.lost = 0

    def trials(self) -> list[FrozenTrial]:
        """Those in the storage; none where the study does not exist yet."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return open_study(self._folder, self._url, "quick").trials
            except KeyError:
                return []
            except InputError as error:
                if "cannot open" not in str(error):
                    return []
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)  # a server that has just been started

    def note(self, faults: int = 1) -> None:
        """Takes in what became of the trials that had finished before the faults."""
        now = {t.number: (t.state, t.values) for t in self.trials() if t.state.is_finished()}
        self.faults += faults
        self.lost += sum(now.get(number) != before for number, before in self._known.items())
        self._known = now

    def has_moved(self) -> bool:
        """Whether trials have finished since the last fault."""
        return sum(trial.state.is_finished() for trial in self.trials()) > len(self._known)

    def conclude(self, what: str, trials: int) -> None:
        """Checks the finished study, and prints the figures."""
        self.note(0)
        originals = [t for t in self.trials() if "duplicate_of" not in t.user_attrs]
        duplicated = len(originals) - len({read_trial(t).digest for t in originals})
        print(
            f"{what}: faults injected {self.faults}, trials {len(originals)}, trials lost {self.lost}, duplicated {duplicated}"
        )
        assert (self.lost, duplicated) == (0, 0)
        assert [t.state for t in originals] == [TrialState.COMPLETE] * trials
        copies = [t for t in self.trials() if "duplicate_of" in t.user_attrs]
        assert {t.user_attrs["duplicate_of"] for t in copies} <= {t.number for t in originals}


def test_a_lost_node_and_a_killed_worker_cost_no_trial(home: Path, cluster: Cluster) -> None:
    folder = home / "results" / "quick"
    arguments = [
        *SEARCH,
        "backend=ray",
        f"backend.address={cluster.address}",
        "backend.retries=3",
        "trials=8",
        "workers=2",
    ]
    arguments += ["train.epochs=120", "data.limit=null"]
    process = start(home, *arguments)
    until(lambda: cluster.workers(0) and cluster.workers(1), process)
    time.sleep(1)  # some epochs
    until(lambda: kill_one(cluster.workers(0)), process)
    cluster.kill_raylet(1)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err
    tally = Tally(folder)
    tally.note(2)
    tally.conclude("a lost node and a killed worker", trials=8)
    assert "starts again: worker lost" in out


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_search_on_ray_goes_on_where_it_was(home: Path, number: signal.Signals) -> None:
    folder = home / "results" / "quick"
    arguments = [*SEARCH, "trials=30", "workers=1", "train.epochs=40"]
    process = start(home, *arguments, "backend=ray")
    wait_for(process, folder, 1, TrialState.COMPLETE)
    os.killpg(process.pid, number)  # a terminal, `timeout` and batch systems send it to Ray's processes too
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "same command" in out
    tally = Tally(folder)
    tally.note()
    assert {t.state for t in tally.trials()} == {TrialState.COMPLETE, TrialState.WAITING}
    trials = sum("duplicate_of" not in t.user_attrs for t in tally.trials())
    run(home, *arguments, f"trials={trials}")
    tally.conclude(f"{number.name} on Ray", trials=trials)
    run(home, *arguments, f"trials={trials}", "study=local")
    local = open_study(home / "results" / "local", None, "local").trials
    assert [(t.params, t.values) for t in tally.trials()] == [(t.params, t.values) for t in local]


def test_sigterm_amid_the_start_of_ray_ends_a_search_in_order(home: Path) -> None:
    process = start(home, *SEARCH, "trials=30", "workers=1", "backend=ray")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: any("gcs_server" in command_of(int(pid)) for pid in children.read_text().split()), process)
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "SIGTERM received" not in out + err


def test_a_driver_is_refused_without_the_clusters_token_or_room_for_a_trial(
    home: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = ["backend=ray", f"backend.address={cluster.address}"]
    said = run(home, *SEARCH, *ray, "backend.cpus=2", status=2)
    assert (
        "no node of the cluster has room for a trial, which needs 2 CPUs, 0 GPUs (nodes: 1 CPUs, 0 GPUs; 1 CPUs" in said
    )
    other = home / "token"
    other.write_text("f" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    said = run(home, *SEARCH, *ray, status=2)
    assert "the same token" in said
    said = run(home, *SEARCH, "backend=ray", "backend.address=nonsense", status=2)
    assert "host:port" in said
    assert not (home / "results").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_waited_for(home: Path) -> None:
    """A file system of 16 MB that something else fills up, and that has room again a little later."""
    results = home / "small"
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(results)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        arguments = [*SEARCH, f"results_dir={results}", "trials=12", "workers=1", "train.epochs=5"]
        process = start(home, *arguments)
        tally = Tally(results / "quick")
        wait_for(process, results / "quick", 2, TrialState.COMPLETE)
        tally.note(0)
        ballast = results / "ballast"
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        assert process.stdout is not None
        until_line = next(line for line in process.stdout if "cannot be used" in line)
        assert "disk" in until_line
        ballast.unlink()
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
        assert "the storage is back" in out
        tally.note()
        tally.conclude("a full disk", trials=12)
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "storage", "kills"), [("local", "sqlite", 9), ("ray", "sqlite", 6), ("local", "postgresql", 6)]
)
def test_drivers_killed_at_many_moments(
    home: Path, request: pytest.FixtureRequest, backend: str, storage: str, kills: int
) -> None:
    """kill -9 of drivers, of a worker, a raylet or PostgreSQL, and SIGTERM; prints what it cost."""
    rng = random.Random(0)
    server: Server | None = request.getfixturevalue("server") if storage == "postgresql" else None
    cluster: Cluster | None = request.getfixturevalue("cluster") if backend == "ray" else None
    arguments = [*SEARCH, "workers=2", "train.epochs=60", f"backend={backend}", "backend.retries=9"]
    arguments += [f"backend.address={cluster.address}"] if cluster else []
    arguments += [f"storage={server.url}"] if server else []
    tally = Tally(home / "results" / "quick", server.url if server else None)
    endless = "trials=100"  # more than there is time for
    for kill in range(kills):
        process = start(home, *arguments, endless)
        if kill > 1:  # the first ones hit start-up
            until(tally.has_moved, process, pause_s=0.5)
        time.sleep(rng.uniform(0, 10 if kill <= 1 else 0.5))
        process.kill()
        process.communicate(timeout=60)
        tally.note()
    process = start(home, *arguments, endless)
    until(tally.has_moved, process, pause_s=0.5)
    tally.note(0)
    if cluster:
        until(lambda: kill_one(cluster.workers(0)), process)
        cluster.kill_raylet(1)
        tally.note(2)
    if server:
        server.kill()
        time.sleep(10)
        server.start()
        tally.note()
    until(tally.has_moved, process, pause_s=0.5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "starts again: worker lost" in out or not cluster
    assert "the storage is back" in out or not server
    tally.note()
    trials = sum("duplicate_of" not in t.user_attrs for t in tally.trials())
    run(home, *arguments, f"trials={trials}")
    tally.conclude(f"{backend}, {storage}", trials=trials)


@pytest.mark.slow
def test_a_driver_takes_over_what_another_one_that_was_killed_leaves_behind(home: Path, server: Server) -> None:
    """Two drivers on one study, of which one dies in the middle; PostgreSQL crashes meanwhile."""
    folder = home / "results" / "quick"
    arguments = [*SEARCH, f"storage={server.url}", "workers=1", "train.epochs=60", "trials=40"]
    tally = Tally(folder, server.url)
    first = start(home, *arguments)
    until(lambda: any(t.state is TrialState.COMPLETE for t in tally.trials()), first)
    second = start(home, *arguments)

    def drivers() -> set[str]:
        """Those that have finished a trial."""
        finished = [t.user_attrs for t in tally.trials() if t.state.is_finished()]
        return {attributes["driver"] for attributes in finished if "driver" in attributes}

    until(lambda: len(drivers()) == 2, second)
    assert first.poll() is None
    first.kill()
    first.communicate(timeout=60)
    tally.note()
    server.kill()
    time.sleep(10)
    server.start()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, out + err
    assert "no sign of life" in out
    assert "the storage is back" in out
    tally.note()
    tally.conclude("two drivers, PostgreSQL", trials=40)
