"""How long one run takes: warm-up, many repeats, several rounds, median and spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

REPEATS = 20
"""Runs a round has at least, where the budget allows: sixty in all."""
STEADY = 0.1
"""Spread over median up to which a measurement counts as undisturbed."""
ROUNDS, MORE_ROUNDS = 3, 3
"""Rounds for everything, and further ones for what is not steady by then."""
PATIENCE_S = 15.0
"""Seconds that are waited in all for a device to become as fast again as it was."""

Run = Callable[[], object]
"""Runs a network once and returns when it is done."""


class Measurement(NamedTuple):
    """The latency of one network on one device."""

    median_ms: float
    """Of the fastest round."""
    iqr_ms: float
    """The spread: interquartile range of that round, or how far the next fastest round is behind it if that is more."""
    repeats: int
    """Runs in all rounds."""

    def cells(self) -> tuple[str, str, str]:
        """The numbers as a table holds them."""
        return f"{self.median_ms:.6g}", f"{self.iqr_ms:.3g}", str(self.repeats)

    @property
    def steady(self) -> bool:
        """Whether runs and rounds agree; if not, something else was running on the device."""
        return self.iqr_ms <= STEADY * self.median_ms


class Latency(NamedTuple):
    """How fast a network is on a device."""

    device: str
    layers: Sequence[Measurement | None]
    """Each layer's latency, timed by itself; a block of the project between two cheap layers, which its latency includes. None: it
    cannot be run by itself."""
    network: Measurement
    """End to end."""
    predicted: list[float] | None = None
    """Milliseconds that each layer adds to the network by the device's table; None where it can say nothing."""
    predicted_ms: float = 0.0
    """Their sum: what the table said before the network itself was measured."""
    predicted_error: float = 0.0
    """Standard deviation of that, as a share of it."""
    num_networks: int = 0
    """Other networks in the table, by which the sum of blocks is calibrated."""


class Pace:
    """How fast a device is just now, by a run that is timed again and again.

    A machine that shares its processor with others, or is hot, is slower by a third for seconds on end, in which all rounds of a
    measurement agree with one another. What is the same every time tells.

    Args:
        run: always the same, of some microseconds at least.
        clock: seconds.
        sleep: lets seconds pass.
    """

    def __init__(
        self,
        run: Run,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run, self._clock, self._sleep = run, clock, sleep
        self.patience_s = PATIENCE_S
        """Seconds that it still waits."""
        self.best_ms = float("inf")
        """Of the run, at the device's fastest so far."""

    def slowness(self) -> float:
        """The time of the run over its best; 1 where the device is as fast as ever."""
        now = _round(self._run, 0.0, self._clock, REPEATS).median_ms
        self.best_ms = min(self.best_ms, now)
        return now / self.best_ms

    def wait(self) -> float:
        """The slowness, after waiting for it to pass as long as there is patience."""
        while (slowness := self.slowness()) > 1 + STEADY and self.patience_s > 0:
            start = self._clock()
            self._sleep(0.05)
            self.patience_s -= self._clock() - start
        return slowness


def measure(
    runs: Sequence[Run],
    budget_s: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
    pace: Pace | None = None,
) -> list[Measurement]:
    """Times several functions in turn, each in rounds that lie apart.

    What else runs on the machine slows it down for milliseconds or for seconds. The first widens the spread within a round, the
    second shows from round to round, or by the device's pace: so the rounds of one function alternate with those of the others.
    The fastest counts, since disturbances only ever add.

    Args:
        runs: what to time.
        budget_s: seconds that one round of one of them may take. Its runs are at least 20 and at least a hundredth of that; fewer
            where the time is up.
        clock: seconds.
        pace: of the device; a round during which it was slow counts as disturbed.

    Returns:
        one measurement for each.
    """
    rounds: list[list[Measurement]] = [[] for _ in runs]
    for number in range(ROUNDS + MORE_ROUNDS):
        wanted = [i for i, measured in enumerate(rounds) if number < ROUNDS or not _best(measured).steady]
        if not wanted:
            break
        before = 1.0 if pace is None else pace.wait()
        taken = [_round(runs[i], budget_s, clock) for i in wanted]
        slowness = before if pace is None else max(before, pace.slowness())
        for i, one in zip(wanted, taken):
            spread = max(one.iqr_ms, (slowness - 1) * one.median_ms) if slowness > 1 + STEADY else one.iqr_ms
            rounds[i].append(one._replace(iqr_ms=spread))
    return [_best(measured) for measured in rounds]


def _best(rounds: Sequence[Measurement]) -> Measurement:
    first, *others = sorted(rounds)
    behind = others[0].median_ms - first.median_ms if others else 0.0
    return Measurement(first.median_ms, max(first.iqr_ms, behind), sum(one.repeats for one in rounds))


def _round(run: Run, budget_s: float, clock: Callable[[], float], repeats: int = 0) -> Measurement:
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
        enough = len(samples) >= REPEATS and spent >= budget_s / 100
        if enough or (spent >= budget_s and len(samples) >= repeats):
            low, median, high = np.percentile(samples, [25, 50, 75])
            return Measurement(float(median), float(high - low), len(samples))
