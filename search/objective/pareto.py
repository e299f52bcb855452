"""Fronts and hypervolume: pure functions on arrays in which lower is better everywhere.

Objectives that are maximised (accuracy) change sign before they come here; `search.objective.reward` is that border.
"""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import ArrayLike, NDArray


def non_dominated(costs: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates (no worse in all objectives, better in one).

    Equal points do not dominate one another, so all copies of a point on the front are on it. A row with a NaN is never
    on the front and dominates nothing.

    Args:
        costs: (n, m) array, lower is better.

    Returns:
        (n,) mask in the order of `costs`.

    Raises:
        ValueError: `costs` is not two-dimensional with at least one objective.
    """
    points = np.asarray(costs, dtype=float)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"costs must have shape (n, m) with m >= 1, got {points.shape}")
    on_front = np.zeros(len(points), dtype=bool)
    valid = ~np.isnan(points).any(axis=1)
    # In lexicographic order of distinct points, a point can only be dominated by an earlier one.
    distinct, copies = np.unique(points[valid], axis=0, return_inverse=True)
    best = _best_of_pairs(distinct) if points.shape[1] == 2 else _best_of_sorted(distinct)
    on_front[valid] = best[copies.reshape(-1)]
    return on_front


def _best_of_pairs(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The front of (n, 2) distinct points in lexicographic order: strictly below every earlier second objective."""
    second = points[:, 1]
    best = np.ones(len(points), dtype=bool)
    best[1:] = second[1:] < np.minimum.accumulate(second)[:-1]
    return best


def _best_of_sorted(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The front of (n, m) distinct points in lexicographic order, in O(n * size of the front)."""
    best = np.zeros(len(points), dtype=bool)
    left = np.arange(len(points))
    while len(left):
        first = left[0]  # nothing that is left comes before it and nothing removed can dominate it alone
        best[first] = True
        left = left[1:]
        left = left[(points[left] < points[first]).any(axis=1)]
    return best


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The exact area that points dominate up to a reference point.

    Points that do not lie below the reference in both objectives, and points with a NaN, add nothing. Values are
    comparable only with the same reference.

    Args:
        points: (n, 2) array, lower is better; dominated points are welcome.
        reference: (2,) finite point.

    Raises:
        ValueError: the shapes are others, or the reference is not finite.
    """
    points, reference = _checked(points, reference)
    inside = points[(points < reference).all(axis=1)]  # a comparison with NaN is false
    if not len(inside):
        return 0.0
    x, y = inside[np.lexsort((inside[:, 1], inside[:, 0]))].T
    lowest = np.minimum.accumulate(y)
    drops = np.concatenate(([reference[1]], lowest[:-1])) - lowest
    steps = drops > 0  # the front itself; also keeps infinity * 0 out
    return float(np.sum((reference[0] - x[steps]) * drops[steps]))


def hypervolume_curve(points: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The hypervolume after each point, in the order given.

    Args:
        points: (n, 2) array, lower is better; a row with a NaN (a failed trial) leaves the curve where it was.
        reference: (2,) finite point.

    Returns:
        (n,) array that never falls; its last value is `hypervolume(points, reference)`.

    Raises:
        ValueError: as `hypervolume`.
    """
    points, reference = _checked(points, reference)
    front = Front(reference)
    curve = np.empty(len(points))
    for i, (x, y) in enumerate(points.tolist()):
        front.add(x, y)
        curve[i] = front.hypervolume
    return curve


class Front:
    """A front in two objectives that grows point by point, with its size and its hypervolume.

    Adding a point costs a binary search and the points it removes, and a point is removed at most once: n points cost
    O(n log n). Points outside the reference are kept on the front (they are non-dominated) but add no hypervolume.
    """

    def __init__(self, reference: ArrayLike) -> None:
        """Starts empty.

        Args:
            reference: (2,) finite point, lower is better.
        """
        _, checked = _checked(np.empty((0, 2)), reference)
        self.reference: tuple[float, float] = (float(checked[0]), float(checked[1]))
        self.hypervolume = 0.0
        # Distinct points with rising x, hence falling y; y is stored negated so that both lists rise for bisect.
        self._x: list[float] = []
        self._minus_y: list[float] = []
        self._copies: list[int] = []

    def __len__(self) -> int:
        """Number of points on the front, equal points each counted, as `non_dominated` counts them."""
        return sum(self._copies)

    @property
    def points(self) -> NDArray[np.float64]:
        """(k, 2) distinct points of the front, first objective rising."""
        return np.column_stack((self._x, [-value for value in self._minus_y])).reshape(-1, 2)

    def add(self, x: float, y: float) -> bool:
        """Takes one point in.

        Returns:
            Whether it is on the front now (a copy of a front point is). A point with a NaN is not.
        """
        if np.isnan(x) or np.isnan(y):
            return False
        after = bisect_right(self._x, x)  # the points before it cost no more
        if after and -self._minus_y[after - 1] <= y:
            equal = self._x[after - 1] == x and -self._minus_y[after - 1] == y
            if equal:
                self._copies[after - 1] += 1
            return equal
        # Those it dominates are neighbours: cost no less (from `start`) and are no better in y (up to `end`).
        start, end = bisect_left(self._x, x), bisect_right(self._minus_y, -y)
        self.hypervolume += self._gain(x, y, start, end)
        self._x[start:end] = [x]
        self._minus_y[start:end] = [-y]
        self._copies[start:end] = [1]
        return True

    def _gain(self, x: float, y: float, start: int, end: int) -> float:
        """The area that (x, y) adds where it replaces the points start..end: strips down to y, each non-negative."""
        reference_x, reference_y = self.reference
        above = -self._minus_y[start - 1] if start else reference_y
        right_end = self._x[end] if end < len(self._x) else reference_x
        edges = [x, *self._x[start:end], right_end]
        tops = [above, *(-value for value in self._minus_y[start:end])]
        floor = min(y, reference_y)
        gain = 0.0
        for left, right, top in zip(edges[:-1], edges[1:], tops, strict=True):
            width, height = min(right, reference_x) - min(left, reference_x), min(top, reference_y) - floor
            if width > 0 and height > 0:
                gain += width * height
        return gain


def _checked(points: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float arrays of the shapes that the two-dimensional functions need."""
    points, reference = np.asarray(points, dtype=float), np.asarray(reference, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (n, 2), got {points.shape}")
    if reference.shape != (2,) or not np.isfinite(reference).all():
        raise ValueError(f"reference must be a finite point of shape (2,), got {reference.tolist()}")
    return points, reference
