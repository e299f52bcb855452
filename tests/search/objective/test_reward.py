"""The MnasNet reward against the paper's numbers, integrals done numerically, and the hypervolume."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import search.objective.reward
from search.objective.costs import COSTS
from search.objective.pareto import Front, hypervolume
from search.objective.reward import Objective, front_points, reference_point
from spaces.errors import InputError

INF = math.inf


@pytest.mark.parametrize(
    ("alpha", "beta", "cost", "expected"),
    [
        (0, -1, 50, 0.8),  # the paper's hard setting: nothing to gain below the target,
        (0, -1, 100, 0.8),  # the target itself is met,
        (0, -1, 200, 0.4),  # and twice the cost halves the reward
        (-1, -1, 50, 1.6),
        (-0.07, -0.07, 200, 0.8 * 0.9526380),  # the soft one: doubling the latency costs about 5% (section 3.1)
        (0, -INF, 100, 0.8),
        (0, -INF, 100.001, 0.0),
        (-0.5, -INF, 25, 1.6),
        (0, 0, 1e9, 0.8),
    ],
)
def test_reward_of_the_paper(alpha: float, beta: float, cost: float, expected: float) -> None:
    reward = Objective(target=100, alpha=alpha, beta=beta).reward(0.8, cost, 100)
    assert reward == pytest.approx(expected)


def test_reward_gives_one_column_a_target() -> None:
    rewards = Objective().reward([[0.5], [0.9]], [[10.0], [20.0]], [5, 10, 20])
    np.testing.assert_allclose(rewards, [[[0, 0.5, 0.5]], [[0, 0, 0.9]]])


def test_reward_of_a_failed_trial_is_nan_and_nothing_else_is() -> None:
    rewards = Objective().reward([np.nan, 0.5], [1.0, 1.0], [0.5, 2])
    assert np.isnan(rewards[0]).all()
    assert rewards[1].tolist() == [0, 0.5]
    assert np.isnan(Objective().reward(0.5, np.nan, [1, 2])).all()
    assert np.isnan(Objective(target=(1, 2)).mean_reward([np.nan, 0.5], [1, np.nan])).all()


@pytest.mark.parametrize("alpha", [0.0, -1e-12, -0.07, -2.0])
@pytest.mark.parametrize("beta", [0.0, -1e-12, -0.07, -1.0, -300.0, -INF])
def test_mean_reward_equals_the_integral(alpha: float, beta: float) -> None:
    objective = Objective(target=(1e5, 1e7), alpha=alpha, beta=beta)
    costs = np.array([1e4, 1e5, 3e5, 1e6, 9.9e6, 1e7, 5e7])
    numeric = objective.reward(0.7, costs, objective.target_grid(200_000)).mean(axis=-1)
    np.testing.assert_allclose(objective.mean_reward(0.7, costs), numeric, rtol=1e-4, atol=5e-6)


def test_mean_reward_has_no_steps() -> None:
    objective = Objective(target=(100, 1000))
    means = objective.mean_reward(0.7, np.arange(100, 1001))
    assert (np.diff(means) < 0).all()
    assert means[[0, -1]].tolist() == pytest.approx([0.7, 0])


def test_mean_reward_of_one_target_is_the_reward() -> None:
    assert Objective(target=100, beta=-1).mean_reward(0.8, 400) == pytest.approx(0.2)


def best_rewards(objective: Objective, accuracy: np.ndarray, cost: np.ndarray, num_targets: int) -> np.ndarray:
    return objective.reward(accuracy, cost, objective.target_grid(num_targets)).max(axis=0)


def test_mean_best_reward_is_the_hypervolume() -> None:
    """With hard targets, the mean over the range times its length in log cost is the area under the front.

    Costs lie on the edges between the grid's steps, so the best reward is constant within each step and the mean exact.
    """
    generator = np.random.default_rng(0)
    low, high, num_targets = 2e5, 3e7, 400
    objective = Objective(target=(low, high))
    for num_points in (1, 3, 30):
        edges = generator.integers(0, num_targets + 1, size=num_points)
        cost = low * (high / low) ** (edges / num_targets)
        accuracy = generator.random(num_points)
        area = hypervolume(front_points(accuracy, cost), reference_point(high))
        # a hair cheaper than the edge, so that rounding cannot lift a cost above the target it meets
        mean = best_rewards(objective, accuracy, cost * (1 - 1e-12), num_targets).mean()
        assert mean * math.log(high / low) == pytest.approx(area, rel=1e-9)


def test_mean_improvement_of_the_reward_is_the_gain_in_hypervolume() -> None:
    generator = np.random.default_rng(1)
    low, high, num_targets = 1e5, 1e7, 50_000
    objective = Objective(target=(low, high))
    accuracy, cost = generator.random(12), low * (high / low) ** generator.random(12)
    cost[3] = 0.2 * low  # cheaper than any target: counts as the least of them
    front = Front(reference_point(high))
    best = np.zeros(num_targets)
    for i, point in enumerate(front_points(accuracy, cost, low)):
        before = front.hypervolume
        front.add(*point)
        rewards = objective.reward(accuracy[i], cost[i], objective.target_grid(num_targets))
        improvement = np.maximum(0, rewards - best).mean() * math.log(high / low)
        assert improvement == pytest.approx(front.hypervolume - before, abs=1e-3)
        best = np.maximum(best, rewards)


def test_a_better_point_lies_lower() -> None:
    assert front_points([0.5, 0.9], [math.e, 1.0]).tolist() == [[1.0, -0.5], [0.0, -0.9]]
    assert front_points(0.5, 1.0, low=math.e).tolist() == [1.0, -0.5]
    assert reference_point(math.e, chance=0.1) == (1.0, -0.1)


def test_one_target_has_one_direction_and_a_range_two() -> None:
    one = Objective(target=100, beta=-1)
    assert one.directions == ("maximize",)
    assert one.values(0.8, 200) == pytest.approx((0.4,))
    for target in (None, (100.0, 200.0)):
        objective = Objective(target=target)
        assert objective.directions == ("maximize", "minimize")
        assert objective.values(0.8, 200.0) == (0.8, 200.0)


def test_resolve_takes_the_range_of_the_samples() -> None:
    assert Objective().resolve([30, 10, 20]).target == (10, 30)
    assert Objective(target=(1, 2)).resolve([30, 10]).target == (1, 2)
    assert Objective(target=7).resolve([30, 10]).target == 7
    assert Objective().resolve([8, 8]).target == (4, 16)  # one cost: it still has an area to dominate
    for costs in ([], [0, 1], [math.nan, 1]):
        with pytest.raises(ValueError, match="above 0"):
            Objective().resolve(costs)
    with pytest.raises(ValueError, match="resolve"):
        Objective().mean_reward(0.5, 1)


def test_target_grid_is_log_uniform_and_inside() -> None:
    np.testing.assert_allclose(Objective(target=(1, 10_000)).target_grid(2), [10, 1000])
    assert Objective(target=50).target_grid(64).tolist() == [50]


def test_violations_are_value_less_limit() -> None:
    objective = Objective(max_flops=100, max_params=10)
    assert objective.violations({"flops": 120, "params": 10, "seconds": 3}) == {"flops": 20, "params": 0}
    assert Objective().violations({"flops": 1e12}) == {}
    with pytest.raises(ValueError, match="params"):
        objective.violations({"flops": 1})


def test_default_config_states_the_defaults() -> None:
    path = Path(search.objective.reward.__file__).parents[2] / "conf/objective/mnasnet.yaml"
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    assert Objective.from_config(config) == Objective()
    assert list(config) == ["cost", "target", "alpha", "beta", *(f"max_{name}" for name in COSTS)]


def test_from_config_reads_what_yaml_and_command_lines_write() -> None:
    config = {"target": ["1e6", 2e7], "beta": "-inf", "alpha": "-0.07", "max_flops": "3e7", "max_params": None}
    expected = Objective(target=(1e6, 2e7), alpha=-0.07, max_flops=3e7)
    assert Objective.from_config(config) == expected
    assert Objective.from_config({"target": "5e6"}).target == 5e6
    assert Objective.from_config(OmegaConf.create({"target": [1, 2]})).target == (1, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"costs": "flops"}, "objective.costs=flops: no such key; did you mean 'cost'"),
        ({"cost": "param"}, "objective.cost.*'param'; did you mean 'params'"),
        ({"target": 0}, "objective.target must be above 0.*got 0"),
        ({"target": [-1, 5]}, "objective.target must be above 0.*got -1"),
        ({"target": [5, 5]}, r"low must be below high, got \[5, 5\]"),
        ({"target": [9, 5]}, r"low must be below high, got \[9, 5\]"),
        ({"target": [1, 2, 3]}, r"a range \[low, high\].*\[1, 2, 3\]"),
        ({"target": {"low": 1, "high": 2}}, r"a range \[low, high\]"),
        ({"target": "soon"}, "objective.target must be a number, got 'soon'"),
        ({"target": [1, "inf"]}, "finite, got inf"),
        ({"alpha": 0.1}, "objective.alpha.*at most 0, got 0.1"),
        ({"alpha": "-inf"}, "objective.alpha.*finite"),
        ({"beta": 0.5}, "objective.beta must be at most 0.*got 0.5"),
        ({"beta": math.nan}, "objective.beta must be a number"),
        ({"beta": None}, "objective.beta must be a number, got null"),
        ({"beta": True}, "objective.beta must be a number, got True"),
        ({"max_flops": 0}, "objective.max_flops must be above 0, got 0"),
        ({"max_params": "many"}, "objective.max_params must be a number, got 'many'"),
    ],
)
def test_bad_values_are_one_clear_error(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Objective.from_config(config)
