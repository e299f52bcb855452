"""The loop of a search, on a backend that does its jobs at once or loses them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from search.backends.base import Event, Finished, Job, Lost
from search.driver import explore
from search.objective import Objective
from search.outcome import Outcome
from search.reporting.progress import Ended, Status
from search.study import Study
from spaces import InputError, SearchSpace


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
    explore(study, backend, seed=0, retries=1, watch=watch)
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

    explore(study, backend, seed=0, retries=0, watch=watch)
    assert study.num_done == 6


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_lost_trial_is_tried_again_so_often(small_space: SearchSpace, retries: int) -> None:
    study = open_study(small_space, 4)
    lost = FakeBackend(2, lambda job: Lost(job.number, "SIGKILL") if job.number == 1 else finish(job))
    explore(study, lost, seed=0, retries=retries, watch=lambda status, ended: None)
    assert lost.started.count(1) == 1 + retries
    failed = study.optuna_study.trials[1]
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["failure"] == "worker lost: SIGKILL"
    assert states(study).count(TrialState.COMPLETE) == 3


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
        explore(study, backend, seed=0, retries=1, watch=lambda status, ended: None)
    assert backend.closed
    assert set(states(study)) == {TrialState.COMPLETE, TrialState.WAITING}
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_breaks_the_backend_ends_the_search_and_queues_its_trials(small_space: SearchSpace) -> None:
    study = open_study(small_space, 9)

    def end(job: Job) -> Event:
        raise InputError("worker processes cannot start")

    backend = FakeBackend(2, end)
    with pytest.raises(InputError, match="cannot start"):
        explore(study, backend, seed=0, retries=1, watch=lambda status, ended: None)
    assert backend.closed
    assert set(states(study)) == {TrialState.WAITING}
