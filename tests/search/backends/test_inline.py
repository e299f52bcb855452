"""Jobs in the driver's own process: what the driver hears, and when an interruption is whose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from search.backends import make_backend
from search.backends.base import BackendSettings, EpochDone, Event, Finished
from search.backends.inline import InlineBackend
from search.backends.local import LocalBackend
from search.evaluation.user_function import UserFunction
from spaces import Architecture

from .test_local import make_job


def evaluate(architecture: Architecture, report: Callable[[int, float], bool]) -> float:
    for epoch in (1, 2, 3):
        if not report(epoch, epoch / 10):
            break
    return 0.3


@pytest.mark.parametrize(("last", "ending"), [(1, ("stopped", 0.1)), (3, ("complete", 0.3))])
def test_the_driver_hears_each_epoch_and_may_stop_the_job(last: int, ending: tuple[str, float]) -> None:
    backend = InlineBackend(UserFunction(evaluate))
    heard: list[Event] = []

    def handle(event: Event) -> None:
        heard.append(event)
        assert isinstance(event, EpochDone)
        assert not backend.is_evaluating
        if event.epoch.epoch in (1, 2):
            backend.answer(event.number, event.epoch.epoch < last)

    backend.handle = handle
    assert backend.num_free == 1
    backend.start(make_job(5, rungs=(1, 2)))
    assert backend.num_free == 0
    (event,) = backend.wait(0.5)
    assert isinstance(event, Finished)
    assert (event.number, event.outcome.state, event.outcome.accuracy) == (5, *ending)
    assert len(heard) == last
    assert backend.num_free == 1
    assert backend.wait(0.5) == []


def test_an_interruption_leaves_the_job_and_not_the_backend_at_work() -> None:
    states = []

    def interrupted(architecture: Architecture) -> float:
        states.append(backend.is_evaluating)
        raise KeyboardInterrupt

    backend = InlineBackend(UserFunction(interrupted))
    backend.start(make_job(0))
    with pytest.raises(KeyboardInterrupt):
        backend.wait(0.5)
    assert states == [True]
    assert not backend.is_evaluating


@pytest.mark.parametrize(
    ("settings", "workers", "bounded", "kind"),
    [
        ({}, 1, False, InlineBackend),
        ({}, 2, False, LocalBackend),
        ({}, 1, True, LocalBackend),
        ({"trial_timeout_s": 5}, 1, False, LocalBackend),
        ({"trial_memory_mb": 500}, 1, False, LocalBackend),
    ],
)
def test_what_may_have_to_be_ended_has_a_process_of_its_own(
    settings: dict[str, float], workers: int, bounded: bool, kind: type
) -> None:
    config = BackendSettings.from_config({"name": "local", "accelerator": "cpu", **settings})
    backend = make_backend(config, workers, UserFunction(evaluate), (), bounded=bounded)
    backend.close()
    assert isinstance(backend, kind)
