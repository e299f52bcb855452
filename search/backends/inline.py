"""Jobs in the driver's own process, one at a time: a user's function sees its own objects, and a debugger sees the function."""

from __future__ import annotations

from collections.abc import Callable

from search.backends.base import EpochDone, Event, Finished
from search.evaluation.job import Evaluator, Job
from search.evaluation.training import Epoch


class InlineBackend:
    """Runs a job while the driver waits for it; Ctrl-C reaches the job."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._job: Job | None = None
        self._goes_on = True
        self.handle: Callable[[Event], None] = lambda event: None
        """Takes the epochs of a job, which come before `wait` returns; set by the driver."""
        self.is_evaluating = False
        """Whether the evaluator is at work now, so that an interruption belongs to it."""

    @property
    def num_free(self) -> int:
        """1 where there is no job."""
        return int(self._job is None)

    def start(self, job: Job) -> None:
        """Keeps the job until `wait`."""
        self._job = job

    def wait(self, timeout_s: float) -> list[Event]:
        """Runs the job to its end, whatever the time.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        if self._job is None:
            return []
        self.is_evaluating = True
        try:
            outcome = self._evaluator.evaluate(self._job, self._report)
        finally:
            self.is_evaluating = False
        number, self._job = self._job.number, None
        return [Finished(number, outcome)]

    def answer(self, number: int, go_on: bool) -> None:
        """Decides about the job, which is at a rung."""
        self._goes_on = go_on

    def close(self) -> None:
        """Forgets the job."""
        self._job = None

    def _report(self, epoch: Epoch) -> bool:
        assert self._job is not None
        self._goes_on = True
        self.is_evaluating = False  # an interruption now is the driver's, which writes
        try:
            self.handle(EpochDone(self._job.number, epoch))
        finally:
            self.is_evaluating = True
        return self._goes_on
