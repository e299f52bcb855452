"""Trainings of a candidate under other seeds, after its trial."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "confirmed:"
"""A study's attribute of this beginning holds the confirmations of one candidate."""


@dataclass(frozen=True)
class Confirmations:
    """The trainings of one candidate after its trial."""

    seeds: tuple[int, ...] = ()
    accuracies: tuple[float | None, ...] = ()
    """Under each seed; None where it failed and says nothing of the network."""

    @classmethod
    def of(cls, attributes: Mapping[str, Any], trial: Mapping[str, Any]) -> Confirmations:
        """Those of a trial among its study's attributes."""
        known = attributes.get(key_of(trial)) or {}
        return cls(tuple(known.get("seeds", ())), tuple(known.get("accuracies", ())))

    def with_one_more(self, seed: int, accuracy: float | None) -> Confirmations:
        """These and another."""
        return Confirmations((*self.seeds, seed), (*self.accuracies, accuracy))

    def to_dict(self) -> dict[str, Any]:
        """As the study keeps it."""
        return {"seeds": list(self.seeds), "accuracies": list(self.accuracies)}

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


def key_of(trial: Mapping[str, Any]) -> str:
    """The study's attribute for the confirmations of a trial with these attributes.

    It names the candidate, which is the architecture by its digest and, where hyperparameters are open too, those beside it.
    """
    return f"{PREFIX}{trial.get('candidate') or trial.get('digest')}"
