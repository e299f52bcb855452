"""Rungs, and who goes on at them: on made-up curves whose ranks and ends are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from search.objective.pareto import non_dominated
from search.objective.reward import Objective
from search.samplers.fidelity import (
    MIN_ENDED,
    Curve,
    Full,
    Halving,
    foresight,
    make_fidelity,
    non_dominated_ranks,
    optimistic_end,
)
from spaces import InputError

RANGE = Objective(target=(1e2, 1e6))
TARGET = Objective(target=1e4, beta=-1.0)


def curve(cost: float, *accuracies: float, epochs: int = 9) -> Curve:
    return Curve(cost, accuracies, epochs)


def whole(cost: float, at_1: float, at_3: float, end: float) -> Curve:
    """A training of nine epochs that ended."""
    return Curve(cost, (at_1, at_1, at_3, at_3, at_3, at_3, at_3, at_3, end), 9)


PROVEN = [whole(5e6 + i, 0.1 + 0.01 * i, 0.1 + 0.01 * i, 0.1 + 0.01 * i) for i in range(2 * MIN_ENDED)]
"""Rungs that foretold the ends exactly, of networks so dear and poor that they stand in nobody's way."""


@pytest.mark.parametrize(
    ("epochs", "arguments", "rungs"),
    [
        (1, {}, ()),
        (2, {}, (1,)),
        (4, {}, (1,)),
        (9, {}, (1, 3)),
        (12, {}, (1, 4)),
        (100, {}, (1, 4, 11, 33)),
        (100, {"min_epochs": 4}, (4, 11, 33)),
        (100, {"min_epochs": 34}, ()),
        (16, {"reduction": 2}, (1, 2, 4, 8)),
        (5, {"reduction": 2}, (1, 2)),
    ],
)
def test_rungs_grow_by_the_reduction_and_end_before_the_end(
    epochs: int, arguments: dict[str, int], rungs: tuple[int, ...]
) -> None:
    assert Halving(RANGE, **arguments).rungs(epochs) == rungs
    assert Full().rungs(epochs) == ()


def test_who_comes_first_goes_on() -> None:
    fidelity = Halving(RANGE)
    assert fidelity.goes_on(
        curve(1e4, 0.1), [curve(1e4, 0.9) for _ in range(30)]
    )  # nothing says yet what a rung foretells
    assert fidelity.goes_on(curve(1e4, 0.1), [])
    assert fidelity.goes_on(curve(1e4, 0.1), [curve(1e3, 0.9)])


def test_about_one_in_three_of_equal_cost_goes_on() -> None:
    rng = np.random.default_rng(0)
    fidelity, others, went_on = Halving(RANGE), [*PROVEN], 0
    for accuracy in rng.uniform(0, 1, 300):
        went_on += fidelity.goes_on(curve(1e4, accuracy), others)
        others.append(curve(1e4, accuracy))
    assert 0.25 < went_on / 300 < 0.45


def test_the_front_at_a_rung_goes_on_at_every_cost_and_is_compared_with_its_like() -> None:
    fidelity = Halving(RANGE)
    others = [*PROVEN] + [
        curve(cost, accuracy) for cost in (1e3, 1e4, 1e5) for accuracy in np.linspace(0, math.log10(cost) / 6, 20)
    ]
    assert fidelity.goes_on(curve(1e3, 0.51), others)  # poor as it is beside those of 1e5
    assert not fidelity.goes_on(curve(1e5, 0.51), others)
    assert fidelity.goes_on(curve(1e5, 0.84), others)
    assert fidelity.goes_on(curve(5e2, 0.01), others)  # nothing is as cheap


def test_with_one_target_the_reward_counts() -> None:
    others = [*PROVEN, *(curve(1e4, accuracy) for accuracy in np.linspace(0.3, 0.6, 12))]
    fidelity = Halving(TARGET)
    assert fidelity.goes_on(curve(1e4, 0.61), others)
    assert not fidelity.goes_on(curve(1e2, 0.1), others)  # cheap, and of no use
    assert not fidelity.goes_on(curve(4e4, 0.9), others)  # four times the target


def test_who_cannot_reach_the_front_is_stopped_however_it_ranks() -> None:
    ended = [whole(1e4, 0.3 + 0.01 * i, 0.5 + 0.01 * i, 0.8 + 0.01 * i) for i in range(MIN_ENDED)]
    fidelity = Halving(RANGE)
    # best of its peers by far, but those that ended began as it did and are better and cheaper
    poor = [curve(1e5, 0.1) for _ in range(30)]
    assert not fidelity.goes_on(curve(1e5, 0.28), [*ended, *poor])
    assert fidelity.goes_on(curve(1e5, 0.28), [*ended[1:], *poor])  # too few have ended to tell
    assert fidelity.goes_on(curve(1e3, 0.28), [*ended, *poor])  # nothing that ended is as cheap


def test_an_end_is_extrapolated_with_the_benefit_of_the_doubt() -> None:
    at_rung, costs = 1 - np.array([0.8, 0.6, 0.4, 0.2]), np.full(4, 1e4)
    exact = 1 - (1 - at_rung) / 4
    assert optimistic_end(1e4, 0.5, costs, at_rung, exact) == pytest.approx(1 - 0.5 / 4, abs=2e-3)
    noisy = exact + np.array([0.02, -0.02, 0.02, -0.02])
    assert optimistic_end(1e4, 0.5, costs, at_rung, noisy) > optimistic_end(1e4, 0.5, costs, at_rung, exact)
    assert optimistic_end(1e4, 0.5, costs, at_rung, np.full(4, 0.9)) == pytest.approx(0.9)
    assert optimistic_end(1e4, 0.5, costs, np.full(4, 0.5), np.full(4, 0.9)) == pytest.approx(0.9)


def test_an_end_is_extrapolated_from_those_of_its_cost() -> None:
    costs = np.geomspace(1e3, 1e5, 9)
    at_end = 1 - 40 / costs**0.8  # log error is a line in log cost; at the rung all looked the same
    end = optimistic_end(1e5, 0.5, costs, np.full(9, 0.5), at_end)
    assert end == pytest.approx(at_end[-1], abs=2e-2)
    assert end > at_end.mean()


@pytest.mark.parametrize(("tells", "low", "high"), [(1.0, 0.25, 0.45), (0.0, 0.8, 1.0)])
def test_a_rung_that_foretold_nothing_stops_hardly_anybody(tells: float, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    fidelity, others, went_on = Halving(RANGE), [], 0
    for seen, luck in rng.uniform(0.3, 0.5, (300, 2)):
        end = 0.4 + tells * seen + (1 - tells) * luck
        asked = curve(1e4, seen)
        goes_on = fidelity._is_promoted(
            asked, [(o.cost, o.accuracies[0]) for o in others], 3 ** -foresight([(o, o.accuracies[0]) for o in others])
        )
        went_on += goes_on
        others.append(whole(1e4, seen, seen, end))
    assert low < went_on / 300 <= high


def test_foresight_is_what_lies_beside_cost() -> None:
    rng = np.random.default_rng(0)
    costs, luck = np.geomspace(1e3, 1e5, 400), rng.uniform(-0.02, 0.02, (2, 400))
    at_rung, at_end = 1.001 - (10 + 50 * luck) / costs**0.5  # both rise with cost, and beside that by luck of their own
    assert np.corrcoef(at_rung, at_end)[0, 1] > 0.95
    assert foresight([(whole(c, a, a, e), a) for c, a, e in zip(costs, at_rung, at_end, strict=True)]) < 0.2
    apart = [(whole(1e4, 0.5 + a, 0.5 + a, 0.8 + b), 0.5 + a) for a, b in luck.T]
    alike = [(whole(1e4, 0.5 + a, 0.5 + a, 0.8 + a), 0.5 + a) for a in luck[0]]
    assert foresight(apart) < 0.2
    assert foresight(alike) > 0.95
    assert foresight(alike[: MIN_ENDED - 1]) == 0


def test_trainings_of_other_lengths_meet_at_the_same_share() -> None:
    fidelity = Halving(RANGE)
    long = PROVEN + [Curve(1e4, (0.1,) * 9 + (0.5,), 30) for _ in range(12)]  # 10 of 30 epochs, as 3 of 9
    assert not fidelity.goes_on(curve(1e4, 0.3, 0.3, 0.4), long)
    assert fidelity.goes_on(curve(1e4, 0.3, 0.3, 0.6), long)


def test_what_never_began_or_failed_is_no_peer() -> None:
    empty = [Curve(1e4, (), 9) for _ in range(50)]
    assert Halving(RANGE).goes_on(curve(1e4, 0.1), empty)


@pytest.mark.parametrize("size", [0, 1, 7, 200])
@pytest.mark.parametrize("values", [2, 12, 10_000])
def test_ranks_are_the_layers_that_peeling_off_fronts_leaves(size: int, values: int) -> None:
    points = np.random.default_rng(size).integers(0, values, (size, 2)).astype(float)
    ranks, left, layer = np.full(size, -1), np.arange(size), 0
    while len(left):
        front = non_dominated(points[left])
        ranks[left[front]] = layer
        left, layer = left[~front], layer + 1
    assert non_dominated_ranks(points).tolist() == ranks.tolist()
    assert non_dominated_ranks(points[:, :1]).tolist() == np.unique(points[:, 0], return_inverse=True)[1].tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "halfing"}, "unknown fidelity 'halfing'; did you mean 'halving'"),
        (
            {"name": "halving", "reduction": 1},
            "fidelity=halving: reduction must be a whole number of at least 2, got 1",
        ),
        ({"name": "halving", "reduction": 2.5}, "got 2.5"),
        ({"name": "halving", "min_epochs": 0}, "min_epochs must be a whole number of at least 1, got 0"),
        ({"name": "halving", "eta": 3}, "fidelity=halving: .*eta"),
        ({"name": "full", "reduction": 3}, "fidelity=full"),
    ],
)
def test_settings_that_no_fidelity_has(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_fidelity(settings, RANGE)
    assert isinstance(make_fidelity({"name": "full"}, RANGE), Full)
    assert isinstance(make_fidelity({"name": "halving", "reduction": 4}, RANGE), Halving)
