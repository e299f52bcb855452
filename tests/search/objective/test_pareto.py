"""Fronts and hypervolume against literal answers and against naive code."""

import numpy as np
import pytest

from search.objective.pareto import Front, hypervolume, hypervolume_curve, non_dominated

NAN = float("nan")


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([[1, 3], [2, 2], [3, 1]], [True, True, True]),
        ([[1, 3], [2, 3], [3, 1]], [True, False, True]),  # worse in one, equal in the other
        ([[2, 2], [1, 1], [2, 2]], [False, True, False]),
        ([[1, 1], [2, 2], [1, 1]], [True, False, True]),  # equal points stand together
        ([[NAN, 0], [1, NAN], [2, 2]], [False, False, True]),  # and a NaN dominates nothing
        ([[NAN, NAN]], [False]),
        ([[np.inf, 0], [0, np.inf], [np.inf, np.inf]], [True, True, False]),
        ([[3], [1], [2], [1]], [False, True, False, True]),  # one objective: the least
        ([[1, 2, 3], [3, 2, 1], [2, 2, 2], [3, 3, 3]], [True, True, True, False]),
        ([[1, 1, 1, 0], [1, 1, 1, 1]], [True, False]),
    ],
)
def test_literal_fronts(costs: list[list[float]], expected: list[bool]) -> None:
    assert non_dominated(costs).tolist() == expected


def test_no_points_no_front() -> None:
    assert non_dominated(np.empty((0, 2))).shape == (0,)
    assert non_dominated(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 2, 2)])
def test_non_dominated_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        non_dominated(np.zeros(shape))


def naive_non_dominated(costs: np.ndarray) -> list[bool]:
    def dominates(a: np.ndarray, b: np.ndarray) -> bool:
        return bool((a <= b).all() and (a < b).any())

    return [not np.isnan(b).any() and not any(dominates(a, b) for a in costs) for b in costs]


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [4, 1000])  # few levels: many ties
def test_fast_front_equals_naive(num_objectives: int, levels: int) -> None:
    generator = np.random.default_rng(levels + num_objectives)
    for num_points in (1, 2, 30, 60):
        costs = generator.integers(levels, size=(num_points, num_objectives)).astype(float)
        costs[generator.random(costs.shape) < 0.02] = NAN
        assert non_dominated(costs).tolist() == naive_non_dominated(costs)


@pytest.mark.parametrize(
    ("points", "reference", "expected"),
    [
        ([[1, 1]], [3, 4], 6.0),
        ([[1, 3], [2, 2], [3, 1]], [4, 4], 6.0),
        ([[1, 3], [2, 2], [3, 1], [3, 3], [2, 2]], [4, 4], 6.0),  # dominated and equal points add nothing
        ([[1, 2], [1, 1]], [2, 3], 2.0),  # equal in the first objective
        ([[5, 0], [0, 5], [4, 4]], [4, 4], 0.0),  # outside, or on the edge
        ([[-1, -1], [5, -9]], [0, 0], 1.0),
        ([[NAN, 0], [1, 1]], [2, 2], 1.0),
        ([[-np.inf, 1], [0, 1]], [2, 2], np.inf),
    ],
)
def test_literal_hypervolumes(points: list[list[float]], reference: list[float], expected: float) -> None:
    assert hypervolume(points, reference) == pytest.approx(expected)


def test_hypervolume_of_a_line_in_closed_form() -> None:
    """The unit triangle beyond x + y = 1, less the n + 1 small triangles that the staircase of n points leaves out."""
    num_points = 99
    x = np.arange(1, num_points + 1) / (num_points + 1)
    points = np.column_stack((x, 1 - x))
    assert hypervolume(points, [1, 1]) == pytest.approx(0.5 * (1 - 1 / (num_points + 1)))


@pytest.mark.parametrize("reference", [[1.0], [1.0, NAN], [np.inf, 1.0]])
def test_hypervolume_refuses_a_reference_that_is_no_point(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference"):
        hypervolume([[0.0, 0.0]], reference)
    with pytest.raises(ValueError, match="reference"):
        Front(reference)


def test_hypervolume_refuses_three_objectives() -> None:
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        hypervolume(np.zeros((4, 3)), [1, 1])


def count_cells(points: np.ndarray, reference: np.ndarray) -> int:
    """The hypervolume of points with whole coordinates: the unit cells that lie above some point."""
    cells = np.stack(np.meshgrid(np.arange(reference[0]), np.arange(reference[1]), indexing="ij"), axis=-1)
    return int((cells[:, :, None, :] >= points).all(axis=-1).any(axis=-1).sum())


def test_hypervolume_and_its_curve_equal_counted_cells() -> None:
    generator = np.random.default_rng(0)
    reference = np.array([17, 23])
    for num_points in (1, 5, 40):
        points = generator.integers(0, 30, size=(num_points, 2))  # some lie outside the reference
        assert hypervolume(points, reference) == count_cells(points, reference)
        curve = hypervolume_curve(points, reference)
        assert curve.tolist() == [count_cells(points[: i + 1], reference) for i in range(num_points)]


def test_curve_stays_where_it_was_on_nan_and_starts_empty() -> None:
    assert hypervolume_curve([[1, 1], [NAN, 0], [0, 1]], [2, 2]).tolist() == [1, 1, 2]
    assert hypervolume_curve(np.empty((0, 2)), [1, 1]).shape == (0,)


@pytest.mark.parametrize("levels", [6, 10**6])
def test_growing_front_equals_the_front_of_all_points(levels: int) -> None:
    generator = np.random.default_rng(levels)
    points = generator.integers(levels, size=(200, 2)).astype(float)
    front = Front([0.8 * levels, 0.7 * levels])
    for i, (x, y) in enumerate(points):
        joined = front.add(x, y)
        mask = non_dominated(points[: i + 1])
        assert joined == mask[-1]
        assert len(front) == mask.sum()
        assert front.points.tolist() == np.unique(points[: i + 1][mask], axis=0).tolist()
    assert front.hypervolume == pytest.approx(hypervolume(points, front.reference))


def test_growing_front_ignores_nan() -> None:
    front = Front([1, 1])
    assert not front.add(NAN, 0.0)
    assert len(front) == 0
    assert front.points.shape == (0, 2)
