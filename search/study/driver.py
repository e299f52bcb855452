"""The loop of a search: ask the study, start jobs, tell the study what became of them."""

from __future__ import annotations

import math
import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from search.backends.base import Backend, EpochDone, Event, Finished, Job, Lost, Remark, out_of_memory
from search.backends.processes import SIGNALS
from search.evaluation.outcome import Outcome
from search.objective.pareto import Front
from search.objective.reward import front_points, reference_point
from search.samplers.fidelity import Curve, Fidelity, Full
from search.study.confirming import seeds_after
from search.study.progress import Ended, Status
from search.study.study import Proposal, Study
from search.system.signals import leave_terminal

Watcher = Callable[[Status, Ended | None], None]


def explore(
    study: Study,
    start_backend: Callable[[], Backend],
    *,
    seed: int,
    retries: int,
    watch: Watcher,
    fidelity: Fidelity | None = None,
    confirm: int = 0,
    say: Callable[[str], None] | None = None,
) -> None:
    """Trains what the study asks for until it has enough, then what is on the front again.

    One proposal is always made ahead: a worker that becomes free goes on at once, and waits neither for the sampler nor for the
    storage. A trial whose worker died starts again, `retries` times at the most, then it is a failure; one that runs out of memory
    starts again once with batches of half the size. With other drivers on the study, their trials are waited for: what one leaves
    behind is done here. On Ctrl-C, SIGTERM or SIGHUP the workers are ended, running trials are queued again in the study, and
    KeyboardInterrupt is raised.

    Args:
        study: proposes and records.
        start_backend: starts what trains; closed at the end, however it comes.
        seed: of every training, so that candidates meet the same images in the same order.
        retries: how often a lost trial is started again.
        watch: told where the search stands, and of every trial that ended.
        fidelity: says at rungs which trainings go on; None trains all of them in full.
        confirm: under how many other seeds the front's members are trained when the search is over.
        say: told in a sentence what happens besides.
    """
    with _Interruption() as interruption:
        study.say = say or study.say
        study.give_up = lambda: interruption.requested
        backend = start_backend()  # only now: interrupted amid its start, it would leave workers behind
        try:
            search = _Search(study, backend, seed, retries, watch, fidelity or Full(), seeds_after(seed, confirm))
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
    """Ctrl-C, SIGTERM (a batch system, `docker stop`) and SIGHUP (a closed terminal).

    They are noted first, so that no proposal or result is left half written.

    The loop looks at `requested` between two steps. The third signal no longer waits for that: something must have got stuck.
    """

    def __init__(self) -> None:
        self._num_signals = 0
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Interruption:
        heard = [
            number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        ]  # nohup
        self._before = {number: signal.signal(number, self._note) for number in heard}
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
        if signum == signal.SIGHUP:
            leave_terminal()
        if self._num_signals >= 3 and not self._held:
            raise KeyboardInterrupt


@dataclass
class _Work:
    """A job under way."""

    proposal: Proposal
    job: Job
    curve: Curve
    """What it has shown so far."""
    confirms: bool = False
    """Whether it is another training of what its trial has trained."""
    retried: tuple[str, ...] = ()
    """Why it was started again."""


class _Search:
    """The jobs under way, and what becomes of them."""

    def __init__(
        self,
        study: Study,
        backend: Backend,
        seed: int,
        retries: int,
        watch: Watcher,
        fidelity: Fidelity,
        confirming_seeds: Sequence[int],
    ) -> None:
        self.study = study
        self.backend = backend
        self.seed = seed
        self.retries = retries
        self.watch = watch
        self.fidelity = fidelity
        self.confirming_seeds = confirming_seeds
        self.tally = _Tally(study)
        self.under_way: dict[int, _Work] = {}
        self.losses: Counter[int] = Counter()
        self.ahead: Proposal | None = None
        self.to_confirm: deque[_Work] = deque()
        self.num_confirmed = 0

    def start_jobs(self, interruption: _Interruption) -> bool:
        """Fills the free workers and makes a proposal ahead; False where nothing runs and nothing is left to run."""
        while not interruption.requested:
            if self.ahead is None:
                self.ahead = self.study.ask()
            if not self._start_ahead():
                break
        elsewhere = self.study.num_elsewhere > 0 and self.study.stopped_early is None
        if self.ahead is None and not elsewhere and not interruption.requested:
            self._start_confirmations()
        self.watch(self._status(), None)
        return bool(self.under_way) or elsewhere

    def handle(self, event: Event) -> None:
        """Passes an event on to the study."""
        if isinstance(event, EpochDone):
            self._note_epoch(event)
        elif isinstance(event, Finished):
            if out_of_memory(event.outcome) and self._start_smaller(self.under_way[event.number]):
                return
            self._start_ahead()  # before the books are kept
            self._tell(event.number, event.outcome)
        elif isinstance(event, Remark):
            self.study.say(event.text)
        elif isinstance(event, Lost):
            self.losses[event.number] += 1
            if self.losses[event.number] <= self.retries:
                self._start_again(self.under_way[event.number], f"worker lost ({event.reason})")
            else:
                self._tell(event.number, Outcome("failed", failure=f"worker lost: {event.reason}"))

    def _start_ahead(self) -> bool:
        """Starts the proposal made ahead; False where there is none, or no worker for it."""
        if self.ahead is None or not self.backend.num_free:
            return False
        proposal, self.ahead = self.ahead, None
        self._start(self._work(proposal, proposal.number, self.seed, self.fidelity.rungs(proposal.epochs)))
        return True

    def _work(self, proposal: Proposal, number: int, seed: int, rungs: tuple[int, ...] = ()) -> _Work:
        candidate = proposal.candidate
        job = Job(number, candidate.architecture.to_dict(), candidate.hyperparameters, seed, rungs)
        return _Work(proposal, job, Curve(proposal.costs[self.study.objective.cost], (), proposal.epochs))

    def _start(self, work: _Work) -> None:
        self.under_way[work.job.number] = work
        self.backend.start(work.job)

    def _start_confirmations(self) -> None:
        """Fills the free workers with trainings of the front's members, once no trial can change the front any more."""
        if not self.under_way and not self.to_confirm:
            for proposal, seed in self.study.to_confirm(self.confirming_seeds):
                work = self._work(proposal, _number_to_confirm(proposal.number, seed - self.seed), seed)
                work.confirms = True
                if self.losses[work.job.number] <= self.retries:
                    self.to_confirm.append(work)
        while self.to_confirm and self.backend.num_free:
            self._start(self.to_confirm.popleft())

    def _start_smaller(self, work: _Work) -> bool:
        """Starts a trial that ran out of memory with batches of half the size; False where it has had that chance."""
        batch_size = work.job.hyperparameters.get("batch_size", 0)
        if batch_size < 4 or batch_size != work.proposal.candidate.hyperparameters.get("batch_size"):
            return False
        work.job = replace(work.job, hyperparameters={**work.job.hyperparameters, "batch_size": batch_size // 2})
        self._start_again(work, f"out of memory with batch_size {batch_size}, now {batch_size // 2}")
        return True

    def _start_again(self, work: _Work, reason: str) -> None:
        work.retried += (reason,)
        self.study.say(f"trial {work.proposal.number} starts again: {reason}")
        self.backend.start(work.job)

    def _note_epoch(self, event: EpochDone) -> None:
        """Answers a job that waits at a rung."""
        work = self.under_way[event.number]
        # a job that was lost begins again, and so does its curve
        before = work.curve.accuracies[: event.epoch.epoch - 1]
        work.curve = replace(work.curve, accuracies=(*before, event.epoch.accuracy))
        if event.epoch.epoch in work.job.rungs:
            running = (other.curve for other in self.under_way.values() if other is not work)
            go_on = self.fidelity.goes_on(work.curve, [*self.study.curves(), *running])
            self.backend.answer(event.number, go_on)

    def _tell(self, number: int, outcome: Outcome) -> None:
        work = self.under_way.pop(number)
        proposal, state = work.proposal, str(outcome.state)
        outcome = replace(outcome, retried="; ".join(work.retried) or None)
        if work.confirms:
            self.num_confirmed += 1
            if (
                self.losses[number] <= self.retries
            ):  # else nothing is known of the network, and the next run may find out
                self.study.confirm(proposal.number, work.job.seed, outcome)
            state = "confirmed" if outcome.state == "complete" else "failed"
        else:
            if not self.study.tell(number, outcome):
                return
            self.tally.add(outcome.state, outcome.accuracy, proposal.costs)
        accuracy = math.nan if outcome.accuracy is None else outcome.accuracy
        ended = Ended(proposal.number, state, accuracy, proposal.costs["flops"], outcome.failure or "")
        self.watch(self._status(), ended)

    def _status(self) -> Status:
        confirming = len(self.to_confirm) + sum(work.confirms for work in self.under_way.values())
        status = self.tally.status(len(self.under_way))
        return replace(status, confirmed=self.num_confirmed, to_confirm=confirming)


def _number_to_confirm(number: int, offset: int) -> int:
    """The number of a job that trains a trial's network again: that of no trial, and of no other training."""
    return number + 1_000_000 * (offset % 2**32)


class _Tally:
    """What the search has reached, kept trial by trial."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.states: Counter[str] = Counter()
        self.best_accuracy = self.best_reward = math.nan
        self.low, high = study.reference["cost_range"][study.objective.cost]
        reference = reference_point(high, study.reference["chance"])
        self.front = Front(reference)
        # in it, costs below the lowest target count as that
        self.area = Front(reference)
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
        for front, low in ((self.front, 0.0), (self.area, self.low)):
            x, y = front_points(accuracy, price, low)
            front.add(float(x), float(y))

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
            self.area.hypervolume,
        )
