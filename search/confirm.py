"""An honest front: which networks are trained again under other seeds, and what all their trainings say.

One short training is noisy, and the best of many noisy numbers flatters: the accuracy that brought a network onto the front is,
on average, better than the network. So it is left out of the network's mean, which is that of the trainings afterwards alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.objective import front_points
from search.pareto import non_dominated

PREFIX = "confirmed:"
"""A study's attribute of this beginning holds the confirmations of one candidate."""
MAX_GROWTH = 3
"""Networks are confirmed up to so many times the number of those that were on the front at first, ..."""
MIN_BOUND = 8
"""... or up to this number."""


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


def seeds_after(seed: int, count: int) -> list[int]:
    """The seeds of confirming trainings: those that follow the search's own."""
    return [(seed + i) % 2**32 for i in range(1, count + 1)]


def to_confirm(accuracy: Sequence[float], mean: Sequence[float], cost: Sequence[float]) -> NDArray[np.int64]:
    """Who is to be trained again: members of the front, as far as it is known, that were not.

    Where a member's mean is lower than what brought it there, others come to light behind it: asked again, they are named, until
    the front consists of confirmed networks alone, or too many have been confirmed.

    Args:
        accuracy: (n,) accuracies of first trainings.
        mean: (n,) means of those that have been confirmed, NaN for others.
        cost: (n,) costs above 0.

    Returns:
        (k,) indices, cost rising.
    """
    first, confirmed, price = (np.asarray(values, dtype=float) for values in (accuracy, mean, cost))
    known = ~np.isnan(confirmed)
    bound = max(MIN_BOUND, MAX_GROWTH * int(non_dominated(front_points(first, price)).sum()))
    on_front = non_dominated(front_points(np.where(known, confirmed, first), price))
    members = np.flatnonzero(on_front & ~known)
    members = members[np.argsort(price[members], kind="stable")]
    return members[: max(0, bound - int(known.sum()))]
