"""A real Ray cluster on this machine: what its actors report, and what becomes of those that die, hang or take too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import search.backends
from search.backends import make_backend, set_up_ray
from search.backends.base import Backend, BackendSettings, EpochDone, Event, Finished, Lost
from search.data import Data, load
from search.evaluation.from_scratch import FromScratch
from search.evaluation.job import Job
from search.evaluation.user_function import UserFunction
from spaces import Architecture, InputError

from ..faulty import FAULTY
from .test_local import make_job

set_up_ray(only_here=True)
ray = pytest.importorskip("ray")
from search.backends.ray import RayBackend  # noqa: E402

Start = Callable[..., Backend]


@pytest.fixture(scope="module")
def data() -> Data:
    return load({"source": "digits", "limit": 100})


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Makes backends in one cluster, which ends with the last test; a user's own block is among what workers import."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "ray_faults.py").write_text(FAULTY)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    backends: list[Backend] = []

    def make(data: Data, workers: int | None = 2, **settings: Any) -> Backend:
        config = {"name": "ray", "cpus": 1, **settings}
        backends.append(make_backend(BackendSettings.from_config(config), workers, FromScratch(data), ["ray_faults"]))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()
    ray.shutdown()
    patch.undo()


def collect(backend: Backend, ends: int) -> list[Event]:
    """All events until so many jobs have ended; whoever waits at a rung goes on."""
    events: list[Event] = []
    deadline = time.monotonic() + 240
    while sum(isinstance(event, Finished) for event in events) < ends:
        assert time.monotonic() < deadline, events
        for event in backend.wait(0.5):
            events.append(event)
            if isinstance(event, EpochDone):
                backend.answer(event.number, event.number % 2 == 0)
            if isinstance(event, Lost):
                return events
    return events


def test_trials_report_every_epoch_wait_at_rungs_and_stop_where_they_are_told_to(data: Data, start: Start) -> None:
    backend = start(data)
    jobs = [make_job(number, rungs=(1, 3), epochs=5) for number in range(4)]
    assert backend.num_free == 2
    backend.start(jobs[0])
    backend.start(jobs[1])
    assert backend.num_free == 0
    events = collect(backend, 2)
    assert backend.num_free == 2
    backend.start(jobs[2])
    backend.start(jobs[3])
    events += collect(backend, 2)
    backend.close()
    ends = {event.number: event.outcome for event in events if isinstance(event, Finished)}
    epochs = {n: [e.epoch.epoch for e in events if isinstance(e, EpochDone) and e.number == n] for n in range(4)}
    assert epochs == {0: [1, 2, 3, 4, 5], 1: [1], 2: [1, 2, 3, 4, 5], 3: [1]}
    local = FromScratch(data).evaluate(jobs[0], lambda epoch: True)
    for number, outcome in ends.items():
        assert outcome.state == ("complete" if number % 2 == 0 else "stopped")
        assert outcome.curve == local.curve[: outcome.epochs]
        assert outcome.accuracy == outcome.curve[-1]


def test_a_lost_trial_is_told_of_and_goes_on_from_its_last_epoch(data: Data, start: Start) -> None:
    backend = start(data, workers=1)
    job = make_job(0, rungs=(3,), epochs=5)
    backend.start(job)
    events: list[Event] = []
    while not any(isinstance(event, EpochDone) and event.epoch.epoch == 3 for event in events):
        events += backend.wait(0.5)
    first = {event.epoch.epoch: event.epoch for event in events if isinstance(event, EpochDone)}
    (running,) = backend._door.running()  # type: ignore[attr-defined]
    pid = ray.get(running.actor.get_current_ip_pid.remote())[1]
    os.kill(pid, signal.SIGKILL)
    events = collect(backend, 1)
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert lost.number == 0
    assert lost.reason
    backend.start(job)
    events = collect(backend, 1)
    backend.close()
    again = {event.epoch.epoch: event.epoch for event in events if isinstance(event, EpochDone)}
    assert [again[number] for number in (1, 2, 3)] == [
        first[number] for number in (1, 2, 3)
    ]  # to the microsecond: not trained anew
    assert isinstance(events[-1], Finished)
    assert events[-1].outcome.curve == FromScratch(data).evaluate(job, lambda epoch: True).curve


def test_a_users_function_reports_from_actors(data: Data, start: Start) -> None:
    start(data, workers=1).close()  # there is a cluster
    factor = 0.5

    def evaluate(architecture: Architecture, seed: int, report: Callable[[int, float], bool]) -> Any:
        if not all(report(epoch, factor * epoch / 3) for epoch in (1, 2, 3)):
            return None
        return {"accuracy": factor, "process": os.getpid()}

    backend = make_backend(BackendSettings.from_config({"name": "ray"}), 2, UserFunction(evaluate), ())
    for number in range(2):
        backend.start(make_job(number, rungs=(1,)))
    events = collect(backend, 2)
    backend.close()
    ends = {event.number: event.outcome for event in events if isinstance(event, Finished)}
    assert (ends[0].state, ends[0].accuracy, len(ends[0].curve)) == ("complete", 0.5, 3)
    assert ends[0].metrics["process"] != os.getpid()
    assert (ends[1].state, ends[1].epochs) == ("stopped", 1)


def faulty_job(number: int, fault: str) -> Job:
    job = make_job(number, epochs=1)
    job.architecture["layers"][0] = {"block": "faulty", "channels": 8, "fault": fault}
    return job


def test_what_hangs_is_ended(data: Data, start: Start) -> None:
    backend = start(data, trial_timeout_s=3)
    backend.start(faulty_job(0, "hangs"))
    (event,) = collect(backend, 1)
    backend.close()
    assert isinstance(event, Finished)
    assert (event.outcome.failure or "").startswith("time limit")


def test_it_closes_while_a_trial_ends(data: Data, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Ctrl-C, which ends the actors as well: Tune hears of one just when the driver ends all of them."""
    backend = start(data)
    assert isinstance(backend, RayBackend)
    for number in range(2):
        backend.start(make_job(number, epochs=1_000_000))
    deadline = time.monotonic() + 120
    while sum(running.started is not None for running in backend._door.running()) < 2:
        assert time.monotonic() < deadline
        backend.wait(0.5)
    heard, closing, kill, last_words = threading.Event(), threading.Event(), ray.kill, search.backends.ray._last_words

    def hear(trial: Any) -> str:
        heard.set()
        assert closing.wait(60)
        return last_words(trial)

    def end(actor: Any) -> None:
        closing.set()
        kill(actor)
        time.sleep(1)

    monkeypatch.setattr(search.backends.ray, "_last_words", hear)
    kill(backend._door.running()[0].actor)
    assert heard.wait(60)
    monkeypatch.setattr(ray, "kill", end)
    backend.close()
    assert backend._door.failure == "Ray Tune has ended"  # and not of an error
    assert not backend._thread.is_alive()


def test_what_diverges_or_takes_too_much_memory_fails_alone(data: Data, start: Start) -> None:
    backend = start(data, workers=1, trial_memory_mb=500)
    outcomes = []
    for number, fault in enumerate(("grows", "diverges", "none", "grows")):
        backend.start(faulty_job(number, fault))
        outcomes += [event.outcome for event in collect(backend, 1) if isinstance(event, Finished)]
    backend.close()
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "complete", "failed"]
    kinds = [(outcome.failure or "").partition(":")[0] for outcome in outcomes]
    assert kinds == ["out of memory", "diverged", "", "out of memory"]


def test_actors_that_cannot_start_end_the_search(data: Data, start: Start) -> None:
    start(data, workers=1).close()  # there is a cluster
    broken = RayBackend(BackendSettings.from_config({"name": "ray"}), 1, FromScratch(data), ["no_such_module_anywhere"])

    def search() -> None:
        while True:
            broken.start(make_job(0))
            collect(broken, 1)

    with pytest.raises(InputError, match="no_such_module_anywhere"):
        search()
    broken.close()


@pytest.mark.gpu
def test_trials_share_a_gpu_and_run_out_of_memory_alone(data: Data, start: Start) -> None:
    ray.shutdown()
    backend = start(data, workers=2, gpus=0.5, accelerator="cuda")
    backend.start(make_job(0, epochs=3))
    backend.start(faulty_job(1, "grows"))
    outcomes = {event.number: event.outcome for event in collect(backend, 2) if isinstance(event, Finished)}
    backend.close()
    assert outcomes[0].state == "complete"
    assert (outcomes[1].failure or "").startswith("out of memory")


def test_ray_up_takes_the_documented_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    documented = yaml.safe_load((Path(search.backends.__file__).parent / "ray-cluster.yaml").read_text())
    util.validate_config(util.prepare_config(documented))  # what `ray up` does before it asks the cloud for anything


def test_the_cluster_refuses_whoever_has_not_its_token(start: Start, data: Data) -> None:
    start(data)
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('let in')"
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.returncode != 0
    assert "let in" not in said.stdout
    assert "uthentication" in said.stderr


def test_the_cluster_listens_on_the_loopback_address_alone(start: Start, data: Data) -> None:
    start(data)
    own = {str(pid) for pid in _descendants(os.getpid())}
    sockets = {
        os.readlink(f) for pid in own for f in Path(f"/proc/{pid}/fd").glob("*") if f.exists() and f.is_symlink()
    }
    inodes = {name[8:-1] for name in sockets if name.startswith("socket:")}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].rpartition(":")[0])
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert listening
    assert set(listening) <= loopback


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _descendants(int(child))
