"""The loop of a search: ask the study, start jobs, tell the study what became of them."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from search.backends.base import Backend, EpochDone, Event, Finished, Job
from search.study import Outcome, Proposal, Study
from search.training import Epoch

Watcher = Callable[["Progress"], None]


@dataclass
class Progress:
    """Where a search stands, for whoever shows it."""

    study: Study
    running: dict[int, Epoch | None] = field(default_factory=dict)
    """The last epoch of every running trial; None before its first."""
    finished: tuple[Proposal, Outcome] | None = None
    """What ended since the last look."""


def explore(study: Study, backend: Backend, *, seed: int, retries: int, watch: Watcher) -> None:
    """Trains what the study asks for until it has enough.

    A trial whose worker died starts again, `retries` times at the most, then it is a failure. On Ctrl-C or SIGTERM the workers are
    ended, running trials are queued again in the study, and KeyboardInterrupt passes on.

    Args:
        study: proposes and records.
        backend: trains; closed at the end, however it comes.
        seed: of every training, so that candidates meet the same images in the same order.
        retries: how often a lost trial is started again.
        watch: told after every event.
    """
    search = _Search(study, backend, seed, retries, watch)
    try:
        with _sigterm_as_interrupt():
            while search.start_jobs():
                for event in backend.wait(timeout_s=1.0):
                    search.handle(event)
    finally:
        backend.close()
        study.release()


class _Search:
    """The jobs under way, and what becomes of them."""

    def __init__(self, study: Study, backend: Backend, seed: int, retries: int, watch: Watcher) -> None:
        self.study = study
        self.backend = backend
        self.seed = seed
        self.retries = retries
        self.watch = watch
        self.progress = Progress(study)
        self.jobs: dict[int, tuple[Proposal, Job]] = {}
        self.losses: Counter[int] = Counter()

    def start_jobs(self) -> bool:
        """Fills the free workers; False where nothing runs and nothing is left to run."""
        while self.backend.num_free and (proposal := self.study.ask()) is not None:
            candidate = proposal.candidate
            job = Job(proposal.number, candidate.architecture.to_dict(), candidate.hyperparameters, self.seed)
            self.jobs[job.number] = proposal, job
            self._start(job)
        self.watch(self.progress)
        return bool(self.jobs)

    def handle(self, event: Event) -> None:
        """Passes an event on to the study."""
        if isinstance(event, EpochDone):
            self.progress.running[event.number] = event.epoch
        elif isinstance(event, Finished):
            self._tell(event.number, event.outcome)
        else:
            self.losses[event.number] += 1
            if self.losses[event.number] <= self.retries:
                self._start(self.jobs[event.number][1])
            else:
                self._tell(event.number, Outcome("failed", failure=f"worker lost: {event.reason}"))

    def _start(self, job: Job) -> None:
        self.progress.running[job.number] = None
        self.backend.start(job)

    def _tell(self, number: int, outcome: Outcome) -> None:
        self.study.tell(number, outcome)
        del self.progress.running[number]
        self.progress.finished = self.jobs.pop(number)[0], outcome
        self.watch(self.progress)
        self.progress.finished = None


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A polite end by SIGTERM (a batch system, `docker stop`) is a Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
