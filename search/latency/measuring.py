"""How long one run takes: warm-up, many repeats, several rounds, median and spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

REPEATS = 50
"""Runs a round has at least, where the budget allows."""
STEADY = 0.1
"""Spread over median up to which a measurement counts as undisturbed."""
ROUNDS, MORE_ROUNDS = 3, 3
"""Rounds for everything, and further ones for what is not steady by then."""

Run = Callable[[], object]
"""Runs a network once and returns when it is done."""


class Measurement(NamedTuple):
    """The latency of one network on one device."""

    median_ms: float
    """Of the fastest round."""
    iqr_ms: float
    """The spread: interquartile range of that round, or how far the next fastest round is behind it if that is more."""
    repeats: int
    """Runs of that round."""

    def cells(self) -> tuple[str, str, str]:
        """The numbers as a table holds them."""
        return f"{self.median_ms:.6g}", f"{self.iqr_ms:.3g}", str(self.repeats)

    @property
    def steady(self) -> bool:
        """Whether runs and rounds agree; if not, something else was running on the device."""
        return self.iqr_ms <= STEADY * self.median_ms


def measure(
    runs: Sequence[Run], budget_s: float = 1.0, clock: Callable[[], float] = time.perf_counter
) -> list[Measurement]:
    """Times several functions in turn, each in rounds that lie apart.

    What else runs on the machine slows it down for milliseconds or for seconds. The first widens the spread within a round, the
    second shows only from round to round: so the rounds of one function alternate with those of the others. The fastest counts,
    since disturbances only ever add.

    Args:
        runs: what to time.
        budget_s: seconds that one round of one of them may take. Its runs are at least 50 and at least a twentieth of that; fewer
            where the time is up.
        clock: seconds.

    Returns:
        one measurement for each.
    """
    rounds: list[list[Measurement]] = [[] for _ in runs]
    for number in range(ROUNDS + MORE_ROUNDS):
        for run, measured in zip(runs, rounds):
            if number < ROUNDS or not _best(measured).steady:
                measured.append(_round(run, budget_s, clock))
    return [_best(measured) for measured in rounds]


def _best(rounds: Sequence[Measurement]) -> Measurement:
    first, *others = sorted(rounds)
    behind = others[0].median_ms - first.median_ms if others else 0.0
    return first._replace(iqr_ms=max(first.iqr_ms, behind))


def _round(run: Run, budget_s: float, clock: Callable[[], float]) -> Measurement:
    start = clock()
    for _ in range(5):  # warm-up: caches, and memory that the first run allocates
        run()
        if clock() - start > budget_s / 10:
            break
    start = before = clock()
    samples: list[float] = []
    while True:
        run()
        now = clock()
        samples.append(1000 * (now - before))
        before, spent = now, now - start
        if spent >= budget_s or (len(samples) >= REPEATS and spent >= budget_s / 20):
            low, median, high = np.percentile(samples, [25, 50, 75])
            return Measurement(float(median), float(high - low), len(samples))
