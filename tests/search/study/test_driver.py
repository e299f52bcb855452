"""The loop of a search, on a backend that does its jobs at once or loses them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from search.backends.base import EpochDone, Event, Finished, Job, Lost
from search.evaluation.outcome import Outcome
from search.evaluation.training import Epoch
from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.reporting.tables import front
from search.samplers.fidelity import Curve
from search.study.driver import explore
from search.study.enqueuing import Enqueued
from search.study.progress import Ended, Status
from search.study.study import Study
from search.trials.reader import read_trials
from search.trials.trial import State
from spaces import InputError, SearchSpace, decode
from tests.search.conftest import SMALL


class FakeBackend:
    """Ends the oldest job at every wait, as `end` says."""

    def __init__(self, workers: int, end: Callable[[Job], Event]) -> None:
        self.workers = workers
        self.end = end
        self.jobs: list[Job] = []
        self.started: list[int] = []
        self.closed = False

    @property
    def num_free(self) -> int:
        return self.workers - len(self.jobs)

    def start(self, job: Job) -> None:
        assert self.num_free > 0
        self.jobs.append(job)
        self.started.append(job.number)

    def wait(self, timeout_s: float) -> list[Event]:
        return [self.end(self.jobs.pop(0))]

    def answer(self, number: int, go_on: bool) -> None:
        raise AssertionError(f"trial {number} does not wait")

    def close(self) -> None:
        self.closed = True


def finish(job: Job) -> Event:
    return Finished(job.number, Outcome("complete", 0.5, None, 1, 0.1, (0.5,)))


def open_study(space: SearchSpace, trials: int) -> Study:
    return Study(space, Objective(), RandomSampler(seed=0), optuna.storages.InMemoryStorage(), trials=trials)


def states(study: Study) -> list[TrialState]:
    return [t.state for t in study.optuna_study.trials if "duplicate_of" not in t.user_attrs]


def test_a_search_ends_with_as_many_trials_as_it_shall_have(small_space: SearchSpace) -> None:
    study, seen = open_study(small_space, 9), []

    def watch(status: Status, ended: Ended | None) -> None:
        assert status.running <= 2
        seen.append((status, ended))

    backend = FakeBackend(2, finish)
    explore(study, lambda: backend, seed=0, retries=1, watch=watch)
    assert states(study) == [TrialState.COMPLETE] * 9
    assert backend.closed
    ended = [end.number for _, end in seen if end is not None]
    assert sorted(ended) == sorted(backend.started)
    assert seen[-1][0].done == 9
    assert seen[-1][0].running == 0


def test_a_free_worker_goes_on_before_the_books_are_kept(small_space: SearchSpace) -> None:
    study = open_study(small_space, 6)
    backend = FakeBackend(1, finish)

    def watch(status: Status, ended: Ended | None) -> None:
        if ended is not None and status.done < 6:
            assert len(backend.jobs) == 1  # the next was begun before this end was recorded
            assert backend.jobs[0].number != ended.number

    explore(study, lambda: backend, seed=0, retries=0, watch=watch)
    assert study.num_done == 6


def test_networks_below_the_lowest_target_count_for_the_front(small_space: SearchSpace) -> None:
    """As in its table; in the hypervolume they count as costing the target."""
    layers = [[{"block": "conv", "channels": channels, "kernel_size": 1, "stride": 4}] for channels in (1, 2)]
    image = {"in_channels": 1, "num_classes": 10, "resolution": 8}
    enqueued = [Enqueued("own", decode({"layers": own, **image})) for own in layers]
    storage, seen = optuna.storages.InMemoryStorage(), []
    study = Study(small_space, Objective(), RandomSampler(seed=0), storage, trials=2, enqueued=enqueued)

    def rise(job: Job) -> Event:
        accuracy = 0.5 + job.number / 4
        return Finished(job.number, Outcome("complete", accuracy, None, 1, 0.1, (accuracy,)))

    explore(study, lambda: FakeBackend(1, rise), seed=0, retries=0, watch=lambda status, ended: seen.append(status))
    low, high = study.reference["cost_range"]["flops"]
    costs = [trial.costs["flops"] for trial in read_trials(study.optuna_study)]
    assert costs[0] < costs[1] < low
    assert seen[-1].front_size == 2
    assert len(front(read_study(study.optuna_study)[0], "flops")) == 2
    assert seen[-1].hypervolume == pytest.approx(math.log(high / low) * (0.75 - 0.1))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_lost_trial_is_tried_again_so_often(small_space: SearchSpace, retries: int) -> None:
    study = open_study(small_space, 4)
    lost = FakeBackend(2, lambda job: Lost(job.number, "SIGKILL") if job.number == 1 else finish(job))
    explore(study, lambda: lost, seed=0, retries=retries, watch=lambda status, ended: None)
    assert lost.started.count(1) == 1 + retries
    failed = read_trials(study.optuna_study)[1]
    assert failed.state is State.FAILED
    assert failed.failure_text == "worker lost: SIGKILL"
    assert states(study).count(TrialState.COMPLETE) == 3


class Rungs:
    """Stops, after one of three epochs, those that it is told to."""

    def __init__(self, stopped: set[int]) -> None:
        self.stopped = stopped
        self.seen: list[tuple[Curve, list[Curve]]] = []

    def rungs(self, epochs: int) -> tuple[int, ...]:
        assert epochs == 3
        return (1,)

    def goes_on(self, trial: Curve, others: Sequence[Curve]) -> bool:
        self.seen.append((trial, list(others)))
        return len(self.seen) not in self.stopped


class RungBackend(FakeBackend):
    """Trains three epochs, and waits for an answer after those that the job names."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, finish)
        self.answers: dict[int, bool] = {}
        self.curves: dict[int, tuple[float, ...]] = {}

    def answer(self, number: int, go_on: bool) -> None:
        self.answers[number] = go_on

    def wait(self, timeout_s: float) -> list[Event]:
        job = self.jobs[0]
        curve = self.curves.get(job.number, ())
        if len(curve) < 3 and not (curve and not self.answers[job.number]):
            accuracy = job.number / 100 + len(curve) / 1000
            self.curves[job.number] = (*curve, accuracy)
            return [EpochDone(job.number, Epoch(len(curve) + 1, accuracy, None, 0.0, 0.0))]
        self.jobs.pop(0)
        state: Any = "complete" if len(curve) == 3 else "stopped"
        return [Finished(job.number, Outcome(state, curve[-1], None, len(curve), 0.1, curve))]


def test_at_rungs_the_fidelity_says_who_goes_on_and_sees_all_others() -> None:
    space = SearchSpace(SMALL, {"epochs": 3}, in_channels=1, num_classes=10, resolution=8)
    study, fidelity, backend = open_study(space, 5), Rungs(stopped={2, 4}), RungBackend(2)
    seen = []
    explore(
        study, lambda: backend, seed=0, retries=0, watch=lambda status, ended: seen.append(status), fidelity=fidelity
    )
    trials = [t for t in read_trials(study.optuna_study) if t.is_original]
    assert [t.state for t in trials] == ["complete", "stopped", "complete", "stopped", "complete"]
    assert [t.epochs for t in trials] == [3, 1, 3, 1, 3]
    assert [len(t.curve) for t in trials] == [3, 1, 3, 1, 3]
    assert seen[-1].stopped == 2
    assert seen[-1].best_accuracy == pytest.approx(0.042)
    last, others = fidelity.seen[-1]
    assert last.accuracies == (0.04,)
    assert sorted(len(other.accuracies) for other in others) == [1, 1, 3, 3]
    assert {other.epochs for other in others} == {3}


def test_a_stopped_training_that_is_lost_at_its_rung_begins_again() -> None:
    space = SearchSpace(SMALL, {"epochs": 3}, in_channels=1, num_classes=10, resolution=8)

    class Loses(RungBackend):
        def wait(self, timeout_s: float) -> list[Event]:
            if self.curves.get(1) and self.started.count(1) == 1:
                self.jobs.pop(0)
                del self.curves[1]
                return [Lost(1, "SIGKILL")]
            return super().wait(timeout_s)

    study, fidelity = open_study(space, 3), Rungs(stopped=set())
    explore(study, lambda: Loses(1), seed=0, retries=1, watch=lambda status, ended: None, fidelity=fidelity)
    assert study.num_done == 3
    assert [len(trial.accuracies) for trial, _ in fidelity.seen] == [1, 1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_running_and_handlers_as_they_were(
    small_space: SearchSpace, number: signal.Signals
) -> None:
    study = open_study(small_space, 9)
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]

    def end(job: Job) -> Event:
        if job.number == 2:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        return finish(job)

    backend = FakeBackend(2, end)
    with pytest.raises(KeyboardInterrupt):
        explore(study, lambda: backend, seed=0, retries=1, watch=lambda status, ended: None)
    assert backend.closed
    assert set(states(study)) == {TrialState.COMPLETE, TrialState.WAITING}
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_amid_the_backends_start_waits_for_it_and_closes_it(
    small_space: SearchSpace, number: signal.Signals
) -> None:
    study, backend = open_study(small_space, 9), FakeBackend(2, finish)

    def start_backend() -> FakeBackend:
        os.kill(os.getpid(), number)
        return backend

    with pytest.raises(KeyboardInterrupt):
        explore(study, start_backend, seed=0, retries=1, watch=lambda status, ended: None)
    assert backend.closed
    assert not backend.started


def test_what_breaks_the_backend_ends_the_search_and_queues_its_trials(small_space: SearchSpace) -> None:
    study = open_study(small_space, 9)

    def end(job: Job) -> Event:
        raise InputError("worker processes cannot start")

    backend = FakeBackend(2, end)
    with pytest.raises(InputError, match="cannot start"):
        explore(study, lambda: backend, seed=0, retries=1, watch=lambda status, ended: None)
    assert backend.closed
    assert set(states(study)) == {TrialState.WAITING}
