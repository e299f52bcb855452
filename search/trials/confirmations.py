"""Trainings of a candidate under other seeds, after its trial."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Confirmations:
    """The trainings of one candidate after its trial."""

    seeds: tuple[int, ...] = ()
    accuracies: tuple[float | None, ...] = ()
    """Under each seed; None where it failed and says nothing of the network."""

    def with_one_more(self, seed: int, accuracy: float | None) -> Confirmations:
        """These and another."""
        return Confirmations((*self.seeds, seed), (*self.accuracies, accuracy))

    @property
    def known(self) -> list[float]:
        """The accuracies there are."""
        return [accuracy for accuracy in self.accuracies if accuracy is not None]

    @property
    def mean(self) -> float:
        """NaN where there is none."""
        return statistics.fmean(self.known) if self.known else math.nan

    @property
    def std(self) -> float:
        """Of the sample; NaN where there are fewer than two."""
        return statistics.stdev(self.known) if len(self.known) > 1 else math.nan
