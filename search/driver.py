"""The loop of a search: ask the study, start jobs, tell the study what became of them."""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from search.backends.base import Backend, EpochDone, Event, Finished, Job, Lost
from search.fidelity import Curve, Fidelity, Full
from search.objective import front_points, reference_point
from search.outcome import Outcome
from search.pareto import Front
from search.reporting.progress import Ended, Status
from search.study import Proposal, Study

Watcher = Callable[[Status, Ended | None], None]


def explore(
    study: Study, backend: Backend, *, seed: int, retries: int, watch: Watcher, fidelity: Fidelity | None = None
) -> None:
    """Trains what the study asks for until it has enough.

    One proposal is always made ahead: a worker that becomes free goes on at once, and waits neither for the sampler nor for the
    storage. A trial whose worker died starts again, `retries` times at the most, then it is a failure. On Ctrl-C or SIGTERM the
    workers are ended, running trials are queued again in the study, and KeyboardInterrupt is raised.

    Args:
        study: proposes and records.
        backend: trains; closed at the end, however it comes.
        seed: of every training, so that candidates meet the same images in the same order.
        retries: how often a lost trial is started again.
        watch: told where the search stands, and of every trial that ended.
        fidelity: says at rungs which trainings go on; None trains all of them in full.
    """
    with _Interruption() as interruption:
        try:
            search = _Search(study, backend, seed, retries, watch, fidelity or Full())
            while search.start_jobs(interruption) and not interruption.requested:
                for event in backend.wait(timeout_s=0.5):
                    search.handle(event)
        finally:
            interruption.hold()
            backend.close()
            study.release()
    if interruption.requested:
        raise KeyboardInterrupt


class _Interruption:
    """Ctrl-C and SIGTERM (a batch system, `docker stop`): noted first, so that no proposal or result is left half written.

    The loop looks at `requested` between two steps. The third signal no longer waits for that: something must have got stuck.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._num_signals = 0
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Interruption:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._num_signals > 0

    def hold(self) -> None:
        """From here on nothing interrupts: what follows is short, and must be done."""
        self._held = True

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._num_signals += 1
        if self._num_signals >= 3 and not self._held:
            raise KeyboardInterrupt


class _Search:
    """The jobs under way, and what becomes of them."""

    def __init__(
        self, study: Study, backend: Backend, seed: int, retries: int, watch: Watcher, fidelity: Fidelity
    ) -> None:
        self.study = study
        self.backend = backend
        self.seed = seed
        self.retries = retries
        self.watch = watch
        self.fidelity = fidelity
        self.tally = _Tally(study)
        self.jobs: dict[int, tuple[Proposal, Job]] = {}
        self.curves: dict[int, Curve] = {}
        """Of the trainings under way."""
        self.losses: Counter[int] = Counter()
        self.ahead: Proposal | None = None

    def start_jobs(self, interruption: _Interruption) -> bool:
        """Fills the free workers and makes a proposal ahead; False where nothing runs and nothing is left to run."""
        while not interruption.requested:
            if self.ahead is None:
                self.ahead = self.study.ask()
            if not self._start_ahead():
                break
        self.watch(self.tally.status(len(self.jobs)), None)
        return bool(self.jobs)

    def handle(self, event: Event) -> None:
        """Passes an event on to the study."""
        if isinstance(event, EpochDone):
            self._note_epoch(event)
        elif isinstance(event, Finished):
            self._start_ahead()  # before the books are kept
            self._tell(event.number, event.outcome)
        elif isinstance(event, Lost):
            self.losses[event.number] += 1
            if self.losses[event.number] <= self.retries:
                self.backend.start(self.jobs[event.number][1])
            else:
                self._tell(event.number, Outcome("failed", failure=f"worker lost: {event.reason}"))

    def _start_ahead(self) -> bool:
        """Starts the proposal made ahead; False where there is none, or no worker for it."""
        if self.ahead is None or not self.backend.num_free:
            return False
        proposal, self.ahead = self.ahead, None
        number, candidate = proposal.number, proposal.candidate
        rungs = self.fidelity.rungs(proposal.epochs)
        job = Job(number, candidate.architecture.to_dict(), candidate.hyperparameters, self.seed, rungs)
        self.jobs[number] = proposal, job
        self.curves[number] = Curve(proposal.costs[self.study.objective.cost], (), proposal.epochs)
        self.backend.start(job)
        return True

    def _note_epoch(self, event: EpochDone) -> None:
        """Answers a job that waits at a rung."""
        before = self.curves.pop(event.number)
        # a job that was lost begins again, and so does its curve
        curve = replace(before, accuracies=(*before.accuracies[: event.epoch.epoch - 1], event.epoch.accuracy))
        if event.epoch.epoch in self.jobs[event.number][1].rungs:
            others = [*self.study.curves(), *self.curves.values()]
            self.backend.answer(event.number, self.fidelity.goes_on(curve, others))
        self.curves[event.number] = curve

    def _tell(self, number: int, outcome: Outcome) -> None:
        self.study.tell(number, outcome)
        proposal, _ = self.jobs.pop(number)
        del self.curves[number]
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
