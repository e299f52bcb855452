"""The loop of a search: ask the study, start jobs, tell the study what became of them."""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from search.backends.base import Backend, Event, Finished, Job, Lost
from search.objective import front_points, reference_point
from search.pareto import Front
from search.reporting.progress import Ended, Status
from search.study import Outcome, Proposal, Study

Watcher = Callable[[Status, Ended | None], None]


def explore(study: Study, backend: Backend, *, seed: int, retries: int, watch: Watcher) -> None:
    """Trains what the study asks for until it has enough.

    A trial whose worker died starts again, `retries` times at the most, then it is a failure. On Ctrl-C or SIGTERM the workers are
    ended, running trials are queued again in the study, and KeyboardInterrupt passes on.

    Args:
        study: proposes and records.
        backend: trains; closed at the end, however it comes.
        seed: of every training, so that candidates meet the same images in the same order.
        retries: how often a lost trial is started again.
        watch: told where the search stands, and of every trial that ended.
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
        self.tally = _Tally(study)
        self.jobs: dict[int, tuple[Proposal, Job]] = {}
        self.losses: Counter[int] = Counter()

    def start_jobs(self) -> bool:
        """Fills the free workers; False where nothing runs and nothing is left to run."""
        while self.backend.num_free and (proposal := self.study.ask()) is not None:
            candidate = proposal.candidate
            job = Job(proposal.number, candidate.architecture.to_dict(), candidate.hyperparameters, self.seed)
            self.jobs[job.number] = proposal, job
            self.backend.start(job)
        self.watch(self.tally.status(len(self.jobs)), None)
        return bool(self.jobs)

    def handle(self, event: Event) -> None:
        """Passes an event on to the study."""
        if isinstance(event, Finished):
            self._tell(event.number, event.outcome)
        elif isinstance(event, Lost):
            self.losses[event.number] += 1
            if self.losses[event.number] <= self.retries:
                self.backend.start(self.jobs[event.number][1])
            else:
                self._tell(event.number, Outcome("failed", failure=f"worker lost: {event.reason}"))

    def _tell(self, number: int, outcome: Outcome) -> None:
        self.study.tell(number, outcome)
        proposal, _ = self.jobs.pop(number)
        self.tally.add(outcome.state, outcome.accuracy, proposal.costs)
        accuracy = math.nan if outcome.accuracy is None else outcome.accuracy
        ended = Ended(number, outcome.state, accuracy, proposal.costs["flops"], outcome.failure or "")
        self.watch(self.tally.status(len(self.jobs)), ended)


class _Tally:
    """What the search has reached, kept trial by trial."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.states: Counter[str] = Counter()
        self.best_accuracy = self.best_reward = math.nan
        self.low, high = study.reference["cost_range"][study.objective.cost]
        self.front = Front(reference_point(high, study.reference["chance"]))
        for outcome, costs in study.finished():
            self.add(outcome.state, outcome.accuracy, costs)

    def add(self, state: str, accuracy: float | None, costs: Mapping[str, float]) -> None:
        self.states[state] += 1
        if state != "complete" or accuracy is None:
            return
        price = costs[self.study.objective.cost]
        reward = float(self.study.objective.mean_reward(accuracy, price))
        self.best_accuracy = max(accuracy, self.best_accuracy)  # in this order NaN gives way
        self.best_reward = max(reward, self.best_reward)
        x, y = front_points(accuracy, price, self.low)
        self.front.add(float(x), float(y))

    def status(self, running: int) -> Status:
        return Status(
            self.study.trials,
            self.study.num_done,
            running,
            self.states["failed"],
            self.states["stopped"],
            self.study.num_duplicates,
            self.best_accuracy,
            self.best_reward,
            len(self.front),
            self.front.hypervolume,
        )


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
