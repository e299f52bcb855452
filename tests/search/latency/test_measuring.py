"""Rounds, medians and spreads, by a clock of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest

from search.latency.measuring import PATIENCE_S, Measurement, Pace, measure


class Clock:
    """Stands still unless a run takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, milliseconds: Iterator[float]) -> Callable[[], None]:
        """A function that takes these times, one after the other."""

        def take() -> None:
            self.now += next(milliseconds) / 1000

        return take


def test_a_constant_time_is_measured_exactly() -> None:
    clock = Clock()
    [found] = measure([clock.run(repeat(2.0))], 0.5, clock)
    assert found.median_ms == pytest.approx(2)
    assert found.iqr_ms == pytest.approx(0, abs=1e-9)
    assert found.repeats == 60
    assert found.steady


def test_the_warm_up_does_not_count() -> None:
    clock = Clock()
    [found] = measure([clock.run(chain(repeat(9.0, 5), repeat(1.0)))], 1.0, clock)
    assert found.median_ms == pytest.approx(1)
    assert found.iqr_ms == pytest.approx(0, abs=1e-9)


def test_a_slow_network_is_run_as_often_as_the_time_allows() -> None:
    clock = Clock()
    [found] = measure([clock.run(repeat(300.0))], 1.0, clock)
    assert found.repeats == 3 * 4


def test_a_fast_one_runs_for_a_hundredth_of_the_budget() -> None:
    clock = Clock()
    [found] = measure([clock.run(repeat(0.1))], 1.0, clock)
    assert found.repeats == pytest.approx(300, abs=3)


def test_a_disturbed_round_does_not_count() -> None:
    clock = Clock()
    disturbed = 25  # the first round: 5 runs of warm-up, 20 timed
    [found] = measure([clock.run(chain(repeat(3.0, disturbed), repeat(1.0)))], 0.5, clock)
    assert found.median_ms == pytest.approx(1)
    assert found.steady


def test_what_never_settles_is_flagged() -> None:
    clock = Clock()
    uneven = (1.0 + (i % 10) / 10 for i in range(10_000))
    runs = 0

    def counted() -> None:
        nonlocal runs
        runs += 1
        clock.now += next(uneven) / 1000

    [found] = measure([counted], 0.5, clock)
    assert not found.steady
    assert runs == 6 * 25  # further rounds were tried


def test_rounds_that_disagree_are_flagged() -> None:
    clock = Clock()
    times = chain.from_iterable(repeat(ms, 25) for ms in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5))
    [found] = measure([clock.run(times)], 0.5, clock)
    assert found == (pytest.approx(1.0), pytest.approx(0.5), 6 * 20)
    assert not found.steady


def test_a_slow_phase_is_waited_for() -> None:
    clock = Clock()

    def run() -> None:  # slower by half from second 1 to second 3
        clock.now += 0.0015 if 1 <= clock.now < 3 else 0.001

    def sleep(seconds: float) -> None:
        clock.now += seconds

    pace = Pace(run, clock, sleep)
    assert pace.slowness() == 1
    clock.now = 1.0
    [found] = measure([run], 0.5, clock, pace)
    assert clock.now > 3
    assert found.median_ms == pytest.approx(1)
    assert found.steady


def test_a_phase_that_does_not_pass_is_flagged() -> None:
    clock = Clock()

    def run() -> None:
        clock.now += 0.0015 if clock.now > 1 else 0.001

    def sleep(seconds: float) -> None:
        clock.now += seconds

    pace = Pace(run, clock, sleep)
    assert pace.slowness() == 1
    clock.now = 2.0
    first, second = measure([run, run], 0.5, clock, pace)
    assert clock.now < 2 + 2 * PATIENCE_S
    assert first.iqr_ms == pytest.approx(0.5 * first.median_ms)
    assert not second.steady
    before = clock.now
    measure([run], 0.5, clock, pace)
    assert clock.now < before + 1  # its patience is at an end


def test_functions_take_turns() -> None:
    clock = Clock()
    order: list[str] = []

    def named(name: str) -> Callable[[], None]:
        def take() -> None:
            clock.now += 0.01
            if not order or order[-1] != name:
                order.append(name)

        return take

    first, second = measure([named("a"), named("b")], 1.0, clock)
    assert order == ["a", "b"] * 3
    assert first.median_ms == pytest.approx(second.median_ms)


def test_steady_is_a_tenth() -> None:
    assert Measurement(1.0, 0.1, 50).steady
    assert not Measurement(1.0, 0.11, 50).steady
