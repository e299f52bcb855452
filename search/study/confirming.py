"""An honest front: which networks are trained again under other seeds, and what all their trainings say.

One short training is noisy, and the best of many noisy numbers flatters: the accuracy that brought a network onto the front is,
on average, better than the network. So it is left out of the network's mean, which is that of the trainings afterwards alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.objective.pareto import non_dominated
from search.objective.reward import front_points

MAX_GROWTH = 3
"""Networks are confirmed up to so many times the number of those that were on the front at first, ..."""
MIN_BOUND = 8
"""... or up to this number."""


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
