"""Worker processes on this machine, one torch thread each."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from search.backends.base import (
    EpochDone,
    Event,
    Finished,
    Job,
    Lost,
    Remark,
    choose_device,
    evaluate,
    limit_memory,
    overdue,
)
from search.backends.processes import SIGNALS, make_context
from search.data import Data
from search.evaluation.training import Epoch
from search.system.scratch import Scratch
from search.system.stopped import StoppedProcesses
from search.system.user_modules import import_user_modules
from spaces import InputError

MAX_FALSE_STARTS = 3
"""Workers in a row that end before they could take a job, after which no more are started."""

START_S = 120.0
"""How long a worker may take until it is ready for its first job."""


_Arguments = tuple[str, tuple[str, ...], str, float | None]
"""Of a worker: the folder of the images, imports, device, and its bound on memory."""


@dataclass(frozen=True)
class _Ready:
    """A worker has started; `failure` says why it could not."""

    failure: str | None = None


class LocalBackend:
    """Jobs in worker processes of this machine. A worker that dies costs its job and is replaced.

    Args:
        workers: how many processes.
        data: the images; workers map the same copy from a temporary file.
        imports: modules every worker imports first.
        accelerator: "cpu", "cuda", or "auto" for CUDA where it is available.
        timeout_s: seconds after which a job is ended; None: never.
        memory_mb: MiB that a worker may take beyond what it starts with; None: as much as there is.

    Raises:
        InputError: CUDA is asked for and not there, or there is no room for the images.
    """

    def __init__(
        self,
        workers: int,
        data: Data,
        imports: Sequence[str] = (),
        accelerator: str = "auto",
        *,
        timeout_s: float | None = None,
        memory_mb: float | None = None,
    ) -> None:
        device = choose_device(accelerator)
        self._context = make_context()
        self._scratch = Scratch()
        folder = str(self._scratch.path)
        try:
            data.save(folder)
        except OSError as error:
            self._scratch.remove()
            raise InputError(
                f"cannot write the images for the workers to {folder} ({error.strerror}); "
                "the environment variable TMPDIR names another place"
            ) from error
        self._arguments = (folder, tuple(imports), device, memory_mb)
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._false_starts = 0
        self._stopped = StoppedProcesses()
        self._workers = [_Worker(self._context, self._arguments) for _ in range(workers)]

    @property
    def num_free(self) -> int:
        """Workers without a job."""
        return sum(worker.job is None for worker in self._workers)

    def start(self, job: Job) -> None:
        """Gives a job to a free worker, first to one that has already started."""
        free = [worker for worker in self._workers if worker.job is None]
        max(free, key=lambda worker: worker.is_ready).give(job)

    def wait(self, timeout_s: float) -> list[Event]:
        """What workers report; a worker that ended without a word has lost its job.

        Raises:
            InputError: workers cannot start.
        """
        ready = connection.wait([worker.connection for worker in self._workers], timeout_s)
        self._check_starts()
        events: list[Event] = [*self._end_overdue(), *self._stopped_workers()]
        for position, worker in enumerate(self._workers):
            if worker.connection not in ready or worker.connection.closed:
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                events += self._replace(position)
                continue
            if isinstance(message, _Ready):
                self._greet(worker, message)
                continue
            if isinstance(message, EpochDone):
                worker.epochs.append(message.epoch)
            if isinstance(message, Finished):
                worker.job = None
            events.append(message)
        return events

    def answer(self, number: int, go_on: bool) -> None:
        """Tells the worker that waits at a rung of this job."""
        for worker in self._workers:
            if worker.job is not None and worker.job.number == number:
                worker.tell(go_on)

    def _end_overdue(self) -> list[Event]:
        """Ends the workers whose job is past its time: whatever hangs there would not listen."""
        now = time.monotonic()
        events: list[Event] = []
        for position, worker in enumerate(self._workers):
            if worker.job is None or not worker.is_ready or now - worker.started <= self._timeout_s:
                continue
            worker.process.kill()
            worker.last_words()
            events.append(Finished(worker.job.number, overdue(self._timeout_s, worker.epochs)))
            self._workers[position] = _Worker(self._context, self._arguments)
        return events

    def _check_starts(self) -> None:
        """Raises InputError where a worker hangs before its first job, which no limit on trials would end."""
        now = time.monotonic()
        for worker in self._workers:
            if not worker.is_ready and now - worker.made > START_S:
                modules = self._arguments[1]
                hint = (
                    f"imports=[{','.join(modules)}]: a module hangs when a worker imports it" if modules else "it hangs"
                )
                raise InputError(f"worker processes cannot start: one has not begun within {START_S:g} s; {hint}")

    def _stopped_workers(self) -> list[Event]:
        pids = {worker.process.pid: worker for worker in self._workers if worker.process.pid is not None}
        return [
            Remark(
                f"the worker of trial {worker.job.number} (process {pid}) is stopped for a minute; kill -CONT {pid} resumes it"
            )
            for pid in self._stopped.look(pids)
            if (worker := pids[pid]).job is not None
        ]

    def _greet(self, worker: _Worker, message: _Ready) -> None:
        if message.failure is not None:
            raise InputError(f"a worker process cannot start: {message.failure}")
        worker.is_ready = True
        worker.started = time.monotonic()
        self._false_starts = 0

    def _replace(self, position: int) -> list[Event]:
        """Starts a worker in the place of one that has ended; the job of one that never began it passes to the new one."""
        old = self._workers[position]
        words = old.last_words()
        if not old.is_ready:
            self._false_starts += 1
            if self._false_starts >= MAX_FALSE_STARTS:
                raise InputError(
                    f"worker processes cannot start: {self._false_starts} in a row ended before their first job (the last: {words})"
                )
        new = self._workers[position] = _Worker(self._context, self._arguments)
        if old.job is None:
            return []
        if old.is_ready:
            return [Lost(old.job.number, words)]
        new.give(old.job)
        return []

    def close(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(timeout=10)
            worker.connection.close()
        self._scratch.remove()


class _Worker:
    """The driver's end of one worker process."""

    def __init__(self, context: BaseContext, arguments: _Arguments) -> None:
        self.job: Job | None = None
        self.made = self.started = time.monotonic()
        self.epochs: list[Epoch] = []
        """Reported by the job."""
        self.is_ready = False
        self.connection, theirs = context.Pipe()
        # not a daemon, which may have no children: those decode images that are streamed
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, *arguments))  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job, self.started, self.epochs = job, time.monotonic(), []
        self.tell(job)

    def tell(self, message: Job | bool) -> None:
        with suppress(OSError):  # it has died; `wait` finds the connection closed and says so
            self.connection.send(message)

    def last_words(self) -> str:
        self.connection.close()
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"its worker was ended by {signal.Signals(-code).name}"
        return f"its worker ended with exit status {code}"


def _work(driver: Connection, folder: str, imports: tuple[str, ...], device: str, memory_mb: float | None) -> None:
    """The life of a worker: a job at a time until the driver is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # the server blocks them; processes that decode images are ended by SIGTERM
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_driver, args=(folder,), daemon=True).start()
    torch.set_num_threads(1)
    try:
        import_user_modules(imports)
        data = Data.open(Path(folder))
    except InputError as error:  # the driver could do both: something is different here
        driver.send(_Ready(str(error)))
        return
    limit_memory(memory_mb)

    with suppress(EOFError, OSError):  # nobody is left to work for
        driver.send(_Ready())
        while True:
            job: Job = driver.recv()

            def on_epoch(epoch: Epoch, job: Job = job) -> bool:
                driver.send(EpochDone(job.number, epoch))
                return bool(driver.recv()) if epoch.epoch in job.rungs else True

            driver.send(Finished(job.number, evaluate(job, data, device, on_epoch)))


def _end_with_driver(folder: str) -> None:
    """Ends this process when the driver does, however it ends (kill -9 too), and takes away what the driver could not."""
    driver = parent_process()
    assert driver is not None
    driver.join()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
