"""Worker processes that die at every moment, and what the driver makes of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.backends import local
from search.backends.base import BackendSettings, EpochDone, Event, Finished, Lost
from search.backends.local import MAX_FALSE_STARTS, LocalBackend
from search.data import Data, load
from search.evaluation.from_scratch import FromScratch
from search.evaluation.job import Job
from spaces import InputError, SearchSpace

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup": 0.1,
    "label_smoothing": 0.0,
}


@pytest.fixture(scope="module")
def data() -> Data:
    return load({"source": "digits", "limit": 100})


@pytest.fixture
def module_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that workers import from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def make_job(number: int, rungs: tuple[int, ...] = (), **settings: Any) -> Job:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": 8, "stride": 2}]}, in_channels=1, num_classes=10, resolution=8
    )
    architecture = space.random(np.random.default_rng(0)).architecture
    return Job(number, architecture.to_dict(), {**SETTINGS, **settings}, seed=0, rungs=rungs)


def test_memory_may_run_out_while_the_network_is_built(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaces.builder.MAX_PARAMS", 2**50)  # which refuses such a network otherwise
    wide = {"block": "conv", "channels": 2**20, "kernel_size": 1}
    space = SearchSpace({"layers": [wide, wide]}, in_channels=1, num_classes=10, resolution=8)
    architecture = space.random(np.random.default_rng(0)).architecture
    outcome = FromScratch(data).evaluate(Job(0, architecture.to_dict(), SETTINGS, seed=0), lambda epoch: True)
    assert outcome.failure is not None
    assert outcome.failure.startswith("out of memory")


def test_workers_may_have_processes_that_decode_images() -> None:
    streamed = load({"source": "digits", "limit": 100, "in_memory_mb": 0, "decode_workers": 1})
    backend = LocalBackend(1, FromScratch(streamed), accelerator="cpu")
    try:
        backend.start(make_job(0, epochs=1))
        (event,) = (event for event in wait_for(backend, Finished) if isinstance(event, Finished))
    finally:
        backend.close()
    assert event.outcome.state == "complete", event.outcome.failure


def wait_for(backend: LocalBackend, kind: type[Event], number: int = 1) -> list[Event]:
    """All events until so many of a kind have come."""
    events: list[Event] = []
    deadline = time.monotonic() + 240
    while sum(isinstance(event, kind) for event in events) < number:
        assert time.monotonic() < deadline
        events += backend.wait(0.5)
    return events


def test_jobs_report_every_epoch_and_their_end(data: Data) -> None:
    backend = LocalBackend(2, FromScratch(data), accelerator="cpu")
    try:
        assert backend.num_free == 2
        for number in (3, 4):
            backend.start(make_job(number))
        assert backend.num_free == 0
        events = wait_for(backend, Finished, 2)
        assert backend.num_free == 2
    finally:
        backend.close()
    for number in (3, 4):
        own = [event for event in events if event.number == number]
        assert [type(event) for event in own] == [EpochDone, EpochDone, Finished]
    first, second = (event.outcome for event in events if isinstance(event, Finished))
    assert first.accuracy == second.accuracy
    assert (first.state, first.epochs) == ("complete", 2)


def test_a_job_waits_at_its_rungs_and_stops_where_it_is_told_to(data: Data) -> None:
    backend = LocalBackend(2, FromScratch(data), accelerator="cpu")
    try:
        backend.start(make_job(0, rungs=(1, 3), epochs=5))
        backend.start(make_job(1, rungs=(1, 3), epochs=5))
        wait_for(backend, EpochDone, 2)
        assert backend.wait(0.2) == []  # both wait, whatever the time
        backend.answer(0, True)
        backend.answer(1, False)
        backend.answer(7, False)  # gone, or never there
        events = wait_for(backend, EpochDone, 2)
        while not any(isinstance(event, Finished) for event in events):
            events += backend.wait(0.5)
        (stopped,) = (event for event in events if isinstance(event, Finished))
        assert (stopped.number, stopped.outcome.state, stopped.outcome.epochs) == (1, "stopped", 1)
        assert len(stopped.outcome.curve) == 1
        backend.answer(0, True)
        (whole,) = (event for event in wait_for(backend, Finished) if isinstance(event, Finished))
        assert (whole.number, whole.outcome.state, whole.outcome.epochs) == (0, "complete", 5)
    finally:
        backend.close()


def test_a_worker_that_dies_at_a_rung_is_noticed(data: Data) -> None:
    backend = LocalBackend(1, FromScratch(data), accelerator="cpu")
    try:
        backend.start(make_job(0, rungs=(1,)))
        wait_for(backend, EpochDone)
        (worker,) = backend._workers
        worker.process.kill()
        worker.process.join()
        backend.answer(0, True)
        assert [event.number for event in wait_for(backend, Lost)] == [0]
    finally:
        backend.close()


def test_a_worker_that_dies_costs_its_job_alone(data: Data) -> None:
    backend = LocalBackend(2, FromScratch(data), accelerator="cpu")
    try:
        backend.start(make_job(0, epochs=1_000_000))
        wait_for(backend, EpochDone)
        (busy,) = (worker for worker in backend._workers if worker.job is not None)
        assert busy.process.pid is not None
        os.kill(busy.process.pid, signal.SIGKILL)
        (lost,) = (event for event in wait_for(backend, Lost) if isinstance(event, Lost))
        assert lost.number == 0
        assert "SIGKILL" in lost.reason
        assert backend.num_free == 2
        backend.start(make_job(1))
        assert [event.number for event in wait_for(backend, Finished) if isinstance(event, Finished)] == [1]
    finally:
        backend.close()


def test_a_worker_that_dies_idle_costs_no_more_than_a_retry(data: Data) -> None:
    backend = LocalBackend(1, FromScratch(data), accelerator="cpu")
    try:
        backend.start(make_job(0))
        wait_for(backend, Finished)
        (idle,) = backend._workers
        idle.process.kill()
        idle.process.join()
        backend.start(make_job(1))  # before anybody has noticed
        events = wait_for(backend, Lost)
        assert [event.number for event in events] == [1]
        backend.start(make_job(1))
        assert [event.number for event in wait_for(backend, Finished) if isinstance(event, Finished)] == [1]
    finally:
        backend.close()


def test_a_job_given_to_a_worker_that_never_started_goes_to_the_next(data: Data, module_path: Path) -> None:
    (module_path / "dies_once.py").write_text(
        "import os, pathlib, signal\n"
        f"mark = pathlib.Path({str(module_path / 'mark')!r})\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    backend = LocalBackend(1, FromScratch(data), imports=["dies_once"], accelerator="cpu")
    try:
        backend.start(make_job(0))
        assert [type(event) for event in wait_for(backend, Finished)] == [EpochDone, EpochDone, Finished]
    finally:
        backend.close()


def test_workers_that_never_start_end_the_search(data: Data, module_path: Path) -> None:
    (module_path / "dies_always.py").write_text("import os\nos._exit(7)\n")
    backend = LocalBackend(1, FromScratch(data), imports=["dies_always"], accelerator="cpu")
    try:
        backend.start(make_job(0))
        with pytest.raises(InputError, match=rf"cannot start: {MAX_FALSE_STARTS} in a row .* exit status 7"):
            wait_for(backend, Finished)
    finally:
        backend.close()


def test_a_module_that_only_workers_cannot_import_is_told_by_its_error(data: Data, module_path: Path) -> None:
    (module_path / "fails_there.py").write_text("raise RuntimeError('the license server is away')\n")
    backend = LocalBackend(2, FromScratch(data), imports=["fails_there"], accelerator="cpu")
    try:
        with pytest.raises(InputError, match=r"cannot start: imports: .*the license server is away"):
            wait_for(backend, Finished)
    finally:
        backend.close()


def test_closing_ends_workers_and_removes_the_images(data: Data, module_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(module_path))
    backend = LocalBackend(2, FromScratch(data), accelerator="cpu")
    assert list(module_path.glob("smallnets-*"))
    backend.start(make_job(0, epochs=1_000_000))
    wait_for(backend, EpochDone)
    processes = [worker.process for worker in backend._workers]
    backend.close()
    assert not any(process.is_alive() for process in processes)
    assert not list(module_path.glob("smallnets-*"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "local", "retrys": 2}, "backend.retrys is unknown; did you mean 'retries'?"),
        ({"name": "locale"}, "unknown backend 'locale'; did you mean 'local'?"),
        ({"name": "local", "retries": True}, "backend.retries is True"),
        ({"name": "local", "accelerator": "gpu"}, "valid: auto, cpu, cuda"),
    ],
)
def test_settings_that_no_backend_has(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        BackendSettings.from_config(config)
    assert words in str(error.value)


def wait_for_ever(backend: LocalBackend) -> None:
    for _ in range(100):
        backend.wait(0.5)


HANGS_IN_WORKERS = """
import multiprocessing, time
if multiprocessing.parent_process() is not None:
    time.sleep(10_000)
"""


def test_a_module_that_hangs_in_the_workers_is_told(
    data: Data, module_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module_path / "hangs_in_workers.py").write_text(HANGS_IN_WORKERS)
    monkeypatch.setattr(local, "START_S", 2.0)
    backend = LocalBackend(1, FromScratch(data), ["hangs_in_workers"], "cpu", timeout_s=1)
    try:
        with pytest.raises(InputError, match=r"has not begun within 2 s; imports=\[hangs_in_workers\]"):
            wait_for_ever(backend)
    finally:
        backend.close()
