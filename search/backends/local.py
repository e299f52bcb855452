"""Worker processes on this machine, one torch thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from search.backends.base import EpochDone, Event, Finished, Job, Lost, evaluate
from search.config import import_user_modules
from search.data import Data
from search.training import Epoch


def make_context() -> BaseContext:
    """How workers are started: forked from a server that has imported everything once, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # workers import the main module again; what it needs from here they then have already
    context.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] in ("search", "spaces")])
    return context


class LocalBackend:
    """Jobs in worker processes of this machine. A worker that dies costs its job and is replaced.

    Args:
        workers: how many processes.
        data: the images; workers map the same copy from a temporary file.
        imports: modules every worker imports first.
        accelerator: "cpu", "cuda", or "auto" for CUDA where it is available.
    """

    def __init__(self, workers: int, data: Data, imports: Sequence[str] = (), accelerator: str = "auto") -> None:
        self._context = make_context()
        self._folder = tempfile.TemporaryDirectory(prefix="smallnets-")
        data.save(self._folder.name)
        self._arguments = (self._folder.name, tuple(imports), choose_device(accelerator))
        self._workers = [_Worker(self._context, self._arguments) for _ in range(workers)]

    @property
    def num_free(self) -> int:
        """Workers without a job."""
        return sum(worker.job is None for worker in self._workers)

    def start(self, job: Job) -> None:
        """Gives a job to a free worker."""
        worker = next(worker for worker in self._workers if worker.job is None)
        worker.give(job)

    def wait(self, timeout_s: float) -> list[Event]:
        """What workers report; a worker that ended without a word has lost its job."""
        ready = wait([worker.connection for worker in self._workers], timeout_s)
        events: list[Event] = []
        for position, worker in enumerate(self._workers):
            if worker.connection not in ready:
                continue
            try:
                event = worker.connection.recv()
            except (EOFError, OSError):
                if worker.job is not None:
                    events.append(Lost(worker.job.number, worker.last_words()))
                self._workers[position] = _Worker(self._context, self._arguments)
                continue
            if isinstance(event, Finished):
                worker.job = None
            events.append(event)
        return events

    def close(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.end()
        self._folder.cleanup()


class _Worker:
    """The driver's end of one worker process."""

    def __init__(self, context: BaseContext, arguments: tuple[str, tuple[str, ...], str]) -> None:
        self.job: Job | None = None
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, *arguments), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it has died; `wait` finds the connection closed and says so
            self.connection.send(job)

    def last_words(self) -> str:
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"its worker was ended by {signal.Signals(-code).name}"
        return f"its worker ended with exit status {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.join(timeout=10)
        self.connection.close()


def choose_device(accelerator: str) -> str:
    """The torch device of an accelerator by name."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def _work(connection: Connection, folder: str, imports: tuple[str, ...], device: str) -> None:
    """The life of a worker: a job at a time until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the driver decides
    torch.set_num_threads(1)
    import_user_modules(imports)
    data = Data.open(Path(folder))

    def send(event: Event) -> bool:
        try:
            connection.send(event)
        except OSError:
            os._exit(1)  # nobody is left to work for
        return True

    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return

        def on_epoch(epoch: Epoch, number: int = job.number) -> bool:
            return send(EpochDone(number, epoch))

        send(Finished(job.number, evaluate(job, data, device, on_epoch)))
