"""The expected improvement against Monte Carlo, against hypervolumes, and against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from search.objective.pareto import hypervolume
from search.objective.reward import Objective, front_points, reference_point
from search.samplers.acquisition import OFFSET, Incumbents, accuracy_of, log_error, put

ACCURACY = np.array([0.55, 0.7, 0.68, 0.9])
COST = np.array([2e5, 5e5, 9e5, 4e6])
RANGE = (1e5, 5e6)
DRAWS = 200_000


def draws(mean: float, std: float, count: int = DRAWS) -> np.ndarray:
    """(count,) accuracies whose log errors are normal; below 0 where the error is above 1, as the acquisition has it."""
    return 1 + OFFSET - np.exp(mean + std * np.random.default_rng(0).standard_normal(count))


@pytest.mark.parametrize("cost", [5e4, 1.5e5, 5e5, 7e5, 3e6, 6e6])
def test_for_hard_targets_it_is_the_expected_hypervolume_improvement(cost: float) -> None:
    mean, std, chance = math.log(0.3), 0.4, 0.1
    objective = Objective(target=RANGE)
    found = Incumbents.of(objective, ACCURACY, COST, chance).expected_improvement([mean], [std], [cost])[0]
    known, reference = front_points(ACCURACY, COST, RANGE[0]), reference_point(RANGE[1], chance)
    before = hypervolume(known, reference)
    new = front_points(draws(mean, std, 4_000), np.full(4_000, cost), RANGE[0])
    gains = [hypervolume(np.vstack((known, point)), reference) - before for point in new]
    spread = np.std(gains) / math.sqrt(len(gains))
    assert found * math.log(RANGE[1] / RANGE[0]) == pytest.approx(np.mean(gains), abs=4 * spread + 1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, -1.0), (-0.07, -0.07), (0.0, -math.inf), (-0.2, -3.0)])
@pytest.mark.parametrize("cost", [1.5e5, 7e5, 6e6])
def test_over_a_range_it_is_the_mean_over_targets_of_each_improvement(alpha: float, beta: float, cost: float) -> None:
    mean, std = math.log(0.3), 0.4
    objective = Objective(target=RANGE, alpha=alpha, beta=beta)
    found = Incumbents.of(objective, ACCURACY, COST, num_cells=200).expected_improvement([mean], [std], [cost])[0]
    targets = objective.target_grid(400)
    best = objective.reward(ACCURACY, COST, targets).max(axis=0)
    rewards = objective.reward(draws(mean, std, 20_000), np.full(20_000, cost), targets)
    gains = np.maximum(0, rewards - best).mean(axis=1)
    spread = gains.std() / math.sqrt(len(gains))
    assert found == pytest.approx(gains.mean(), rel=0.01, abs=4 * spread + 1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, -1.0), (-0.07, -0.07), (0.0, -math.inf)])
@pytest.mark.parametrize("cost", [2e5, 6e5, 2e6])
def test_at_one_target_it_is_the_expected_improvement_of_the_reward(alpha: float, beta: float, cost: float) -> None:
    mean, std = math.log(0.2), 0.3
    objective = Objective(target=6e5, alpha=alpha, beta=beta)
    found = Incumbents.of(objective, ACCURACY, COST).expected_improvement([mean], [std], [cost])[0]
    best = objective.reward(ACCURACY, COST, 6e5).max()
    gains = np.maximum(0, objective.reward(draws(mean, std), np.full(DRAWS, cost), 6e5) - best)
    assert found == pytest.approx(gains.mean(), abs=4 * gains.std() / math.sqrt(DRAWS) + 1e-12)


def test_without_uncertainty_it_is_the_improvement_itself() -> None:
    objective = Objective(target=RANGE)
    incumbents = Incumbents.of(objective, [0.5], [RANGE[0]])
    better = incumbents.expected_improvement(log_error([0.8]), [0.0], [RANGE[0]])
    assert better == pytest.approx(0.3)
    assert incumbents.expected_improvement(log_error([0.4]), [0.0], [RANGE[0]]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("target", [RANGE, 6e5])
@pytest.mark.parametrize("cost", [1.5e5, 5.5e5, 4e6])
def test_where_costs_are_predicted_it_is_the_mean_over_what_they_may_be(cost: float, target: Any) -> None:
    mean, std, error = math.log(0.25), 0.3, 0.15
    incumbents = Incumbents.of(Objective(target=target, alpha=-0.07, beta=-0.5), ACCURACY, COST)
    found = incumbents.expected_improvement([mean], [std], [cost], [error])[0]
    costs = cost * np.exp(error * np.random.default_rng(0).standard_normal(20_000))
    gains = incumbents.expected_improvement(np.full(20_000, mean), np.full(20_000, std), costs)
    assert found == pytest.approx(gains.mean(), rel=0.03, abs=1e-5)


def test_nothing_dearer_than_every_target_is_an_improvement_where_targets_are_hard() -> None:
    incumbents = Incumbents.of(Objective(target=RANGE), [0.1], [RANGE[0]])
    assert incumbents.expected_improvement([math.log(1e-3)], [0.5], [2 * RANGE[1]]) == 0


def test_before_any_result_chance_is_to_be_beaten() -> None:
    incumbents = Incumbents.of(Objective(target=RANGE), [], [], chance=0.1)
    assert incumbents.expected_improvement(log_error([0.35]), [0.0], [RANGE[0]]) == pytest.approx(0.25)


def test_a_put_far_in_and_far_out_of_the_money() -> None:
    mean, std = -2.0, 0.5
    forward = math.exp(mean + std**2 / 2)
    assert put(np.array(50.0), np.array(mean), np.array(std)) == pytest.approx(50 - forward)
    assert put(np.array(1e-9), np.array(mean), np.array(std)) == pytest.approx(0, abs=1e-12)
    assert put(np.array(-0.5), np.array(mean), np.array(std)) == 0


def test_log_errors_come_back_as_accuracies() -> None:
    accuracy = np.array([0.0, 0.3, 0.999, 1.0])
    assert accuracy_of(log_error(accuracy)) == pytest.approx(accuracy)
    assert np.isfinite(log_error(1.0))
