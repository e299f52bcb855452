"""The MnasNet reward: what a search looks for, and the hard limits of what it may train.

Paper: Tan et al. 2019, "MnasNet: Platform-Aware Neural Architecture Search for Mobile",
https://arxiv.org/abs/1807.11626, equations 2 and 3.

Two modes, told apart by the target:

- *One target*, the paper's: the study has one direction, the reward, upwards. It ends with one best network.
- *A range of targets*: the study has two directions, accuracy up and cost down, and ends with a whole front. A trial's
  reward is then its mean over targets that are log-uniform on the range: "twice the cost" counts the same everywhere.

With alpha 0 and beta -inf the best reward at target T is the best accuracy among networks of cost up to T. Its mean
over the range, times log(high / low), is the area under the front's staircase: the hypervolume in (log cost, accuracy)
with the reference (log high, 0). So improving rewards and improving the front are one thing, not two.

This module is the border where accuracy changes sign: `front_points` gives what `search.objective.pareto` works on.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.objective.costs import COSTS
from spaces.checks import is_number
from spaces.errors import InputError, did_you_mean

_LIMIT = "max_"
_KEYS = ("cost", "target", "alpha", "beta")


@dataclass(frozen=True, init=False)
class Objective:
    """The reward accuracy x (cost / target)^w, w = alpha up to the target and beta above it, with hard limits.

    A limit is given by the name of what it limits, `Objective(max_params=2e4)`, or in the mapping `limits`.
    """

    cost: str = "flops"
    """What accuracy is traded against, one of `names`."""
    target: float | tuple[float, float] | None = None
    """One target, a range (low, high), or None: a range still to be found, by `resolve`. In the cost's own unit."""
    alpha: float = 0.0
    """Exponent up to the target, finite and at most 0. Below 0, a network cheaper than the target earns more."""
    beta: float = -math.inf
    """Exponent above the target, at most 0. -inf: nothing above the target counts."""
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Hard limits by the names of the costs they limit; an architecture beyond one of them is not trained."""
    names: Collection[str] = field(default=(), repr=False, compare=False)
    """What can be traded or limited; empty: the costs in `COSTS`."""
    max_metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Limits on numbers that an evaluator finds beside accuracy, by name: known, and held, only after evaluation."""

    def __init__(
        self,
        cost: str = "flops",
        target: float | tuple[float, float] | None = None,
        alpha: float = 0.0,
        beta: float = -math.inf,
        limits: Mapping[str, float] | None = None,
        names: Collection[str] = (),
        max_metrics: Mapping[str, float] | None = None,
        **more_limits: float | None,
    ) -> None:
        """Takes the fields, and limits as max_<name>.

        Raises:
            InputError: a value that no objective can have.
        """
        stated = {_limited(key): limit for key, limit in more_limits.items() if limit is not None}
        values = {"cost": cost, "target": target, "alpha": alpha, "beta": beta, "names": names}
        values |= {"limits": {**(limits or {}), **stated}, "max_metrics": dict(max_metrics or {})}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        names = self.names or COSTS
        if self.cost not in names:
            raise InputError(f"objective.cost: no cost is named '{self.cost}'{did_you_mean(self.cost, names)}")
        _check_target(self.target)
        if not -math.inf < self.alpha <= 0:
            raise InputError(f"objective.alpha must be a finite number of at most 0, got {self.alpha:g}")
        if not self.beta <= 0:
            raise InputError(f"objective.beta must be at most 0 (-inf counts nothing above), got {self.beta:g}")
        for cost, limit in self.limits.items():
            if cost not in names:
                valid = [f"{_LIMIT}{name}" for name in names]
                hint = f"{did_you_mean(_LIMIT + cost, valid)}; max_metrics={{'{cost}': {limit:g}}} limits a metric"
                raise InputError(f"objective.max_{cost}={limit:g}: no such key{hint}")
            if not limit > 0:
                raise InputError(f"objective.max_{cost} must be above 0, got {limit:g}")
        for name, limit in self.max_metrics.items():
            if not is_number(limit) or math.isnan(limit):
                raise InputError(f"objective.max_{name} must be a number, got {limit!r}")

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        default_cost: str = "flops",
        names: Collection[str] = (),
        metrics: Collection[str] = (),
    ) -> "Objective":
        """The objective that a mapping states; absent keys take their defaults, a cost of null `default_cost`.

        Numbers may be written as strings ("-inf", "3e6"), as YAML and command lines do.

        Args:
            config: cost, target, alpha, beta, and limits as max_<name>.
            default_cost: the cost where none is stated.
            names: what can be traded or limited; empty: the costs in `COSTS`.
            metrics: names of an evaluator's metrics, limited by max_<name>.

        Raises:
            InputError: an unknown key, or a value of the wrong kind or out of its range.
        """
        valid = [*_KEYS, *(f"{_LIMIT}{name}" for name in (*(names or COSTS), *metrics))]
        limited = _metric_limits(config, metrics)
        values: dict[str, Any] = {"cost": default_cost, "names": names, "max_metrics": limited}
        for key, value in config.items():
            if key == "max_metrics" or key.removeprefix(_LIMIT) in limited:
                continue
            if key not in valid and not (value is None and key.startswith(_LIMIT)):
                raise InputError(f"objective.{key}={value}: no such key{did_you_mean(key, valid)}")
            if key == "cost":
                values[key] = default_cost if value is None else str(value)
            elif key == "target":
                values[key] = _target(value)
            elif value is not None:
                values[key] = _number(value, key)
            elif not key.startswith(_LIMIT):
                raise InputError(f"objective.{key} must be a number, got null")
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """The mapping from which `from_config` makes this objective again."""
        stated = {"cost": self.cost, "target": self.target, "alpha": self.alpha, "beta": self.beta}
        stated |= {f"{_LIMIT}{name}": limit for name, limit in self.limits.items()}
        return stated | ({"max_metrics": dict(self.max_metrics)} if self.max_metrics else {})

    def check_metrics(self, declared: Collection[str]) -> None:
        """Raises InputError for a limit on a metric that no evaluator declares."""
        for name in self.max_metrics:
            if name not in declared:
                said = f"it declares {', '.join(declared)}" if declared else "it declares none"
                raise InputError(f"objective.max_{name}: the evaluator declares no metric '{name}'; {said}")

    def beyond(self, metrics: Mapping[str, float]) -> str | None:
        """Which limits on metrics are exceeded, and by what; None where all are kept."""
        over = [name for name, limit in self.max_metrics.items() if metrics[name] > limit]
        return ", ".join(f"{name} {metrics[name]:g} > {self.max_metrics[name]:g}" for name in over) or None

    @property
    def has_one_target(self) -> bool:
        """Whether this is the paper's single target; otherwise it is a range, found or still to be found."""
        return self.target is not None and not isinstance(self.target, tuple)

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """The study's directions, in the order of `values`: (reward up), or (accuracy up, cost down)."""
        return ("maximize",) if self.has_one_target else ("maximize", "minimize")

    @property
    def target_range(self) -> tuple[float, float]:
        """The least and the greatest target; twice the same for one target.

        Raises:
            ValueError: the target is None, and must be resolved first.
        """
        if self.target is None:
            raise ValueError("the range of targets is not known yet; call resolve() with sampled costs first")
        return self.target if isinstance(self.target, tuple) else (self.target, self.target)

    def resolve(self, sampled_costs: ArrayLike) -> "Objective":
        """This objective with its range of targets stated: the least and the greatest of some sampled costs.

        A target that is stated already stays. Where all samples cost the same, the range is an octave to either side of
        that cost, so that the networks there still have an area to dominate.

        Args:
            sampled_costs: (n,) costs of random architectures, n >= 1, all above 0.

        Raises:
            ValueError: there is nothing to go by, or a cost is not above 0.
        """
        if self.target is not None:
            return self
        costs = np.asarray(sampled_costs, dtype=float)
        if not costs.size or not (costs > 0).all():
            raise ValueError("a range of targets needs sampled costs, all above 0")
        low, high = float(costs.min()), float(costs.max())
        return replace(self, target=(low, high) if low < high else (low / 2, low * 2))

    def target_grid(self, num_targets: int = 64) -> NDArray[np.float64]:
        """Targets that stand for the log-uniform range: the middles of equal steps in log cost; one for one target.

        Returns:
            (num_targets,) rising targets, or (1,).
        """
        if self.has_one_target:
            return np.array(self.target_range[:1])
        low, high = self.target_range
        middles = (np.arange(num_targets) + 0.5) / num_targets
        return np.exp(math.log(low) + middles * math.log(high / low))

    def reward(self, accuracy: ArrayLike, cost: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
        """The reward at each target: equations 2 and 3 of the paper.

        Args:
            accuracy: (...) accuracies; a NaN here or in the cost gives NaN.
            cost: (...) costs above 0, of the same shape or broadcast.
            targets: (t,) targets, or one.

        Returns:
            (..., t) rewards, or (...) for one target given as a number.
        """
        targets = np.asarray(targets, dtype=float)
        accuracy, cost = np.asarray(accuracy, dtype=float), np.asarray(cost, dtype=float)
        if targets.ndim:
            accuracy, cost = accuracy[..., None], cost[..., None]
        ratio = cost / targets
        # Each branch sees a ratio on its own side of 1, where its power cannot overflow; 0 * -inf never arises.
        met = np.minimum(ratio, 1) ** self.alpha
        exceeded = np.maximum(ratio, 1) ** self.beta if self.beta > -math.inf else 0.0
        factor = np.where(np.isnan(ratio), np.nan, np.where(ratio > 1, exceeded, met))
        return accuracy * factor

    def mean_reward(self, accuracy: ArrayLike, cost: ArrayLike) -> NDArray[np.float64]:
        """The reward averaged over the targets; the reward itself where there is one target.

        In closed form, since (cost / T)^w is an exponential in log T: no grid whose steps a cost could fall between,
        so that a slightly cheaper network always has a slightly higher mean.

        Args:
            accuracy: (...) accuracies; a NaN here or in the cost gives NaN.
            cost: (...) costs above 0, of the same shape or broadcast.

        Returns:
            (...) mean rewards.
        """
        if self.has_one_target:
            return self.reward(accuracy, cost, self.target_range[0])
        low, high = np.log(self.target_range)
        log_cost = np.log(np.asarray(cost, dtype=float))
        middle = np.clip(log_cost, low, high)  # targets below it are exceeded, those above it are met
        total = _integral(self.beta, log_cost, low, middle) + _integral(self.alpha, log_cost, middle, high)
        return np.asarray(accuracy, dtype=float) * total / (high - low)

    def values(self, accuracy: float, cost: float) -> tuple[float, ...]:
        """What a finished trial tells the study, in the order of `directions`."""
        return (float(self.mean_reward(accuracy, cost)),) if self.has_one_target else (accuracy, cost)

    def violations(self, costs: Mapping[str, float]) -> dict[str, float]:
        """How far an architecture is beyond each hard limit, by the name of the cost; at most 0 means satisfied.

        Raises:
            ValueError: a limited cost is missing in `costs`, so that its limit could not be held.
        """
        missing = [name for name in self.limits if name not in costs]
        if missing:
            raise ValueError(f"limits on {', '.join(missing)} cannot be checked: only {', '.join(costs)} are given")
        return {name: costs[name] - limit for name, limit in self.limits.items()}

    def excess(self, costs: Mapping[str, float]) -> float:
        """How far an architecture is beyond the hard limits, as the sum of log ratios; 0 where it keeps them."""
        return sum(max(0.0, math.log(costs[name] / limit)) for name, limit in self.limits.items())


def _metric_limits(config: Mapping[str, Any], metrics: Collection[str]) -> dict[str, float]:
    """The limits on an evaluator's metrics: those of `max_metrics`, and max_<name> of those that are declared."""
    stated = config.get("max_metrics") or {}
    if not isinstance(stated, Mapping):
        raise InputError(f"objective.max_metrics={stated}: must map metrics to their limits")
    named = {name: config.get(f"{_LIMIT}{name}") for name in metrics}
    limits = {**stated, **{name: limit for name, limit in named.items() if limit is not None}}
    return {name: _number(limit, f"{_LIMIT}{name}") for name, limit in limits.items()}


def front_points(accuracy: ArrayLike, cost: ArrayLike, low: float = 0.0) -> NDArray[np.float64]:
    """Accuracies and costs as points (log cost, -accuracy), lower is better in both.

    Args:
        accuracy: (n,) accuracies; NaN stays NaN.
        cost: (n,) costs above 0.
        low: Costs below it count as this. With the least target here, the hypervolume is the mean best reward's area.

    Returns:
        (n, 2) points for `search.objective.pareto`.
    """
    log_cost = np.log(np.maximum(np.asarray(cost, dtype=float), low))
    return np.stack((log_cost, -np.asarray(accuracy, dtype=float)), axis=-1)


def reference_point(high: float, chance: float = 0.0) -> tuple[float, float]:
    """The reference of the hypervolume among `front_points`: the greatest target, and the accuracy of guessing."""
    return math.log(high), -chance


def _integral(exponent: float, log_cost: NDArray[np.float64], start: ArrayLike, end: ArrayLike) -> NDArray[np.float64]:
    """The integral of (cost / T)^exponent over log T from start to end."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    if exponent == -math.inf:
        return np.zeros(np.broadcast(log_cost, start, end).shape)
    if exponent == 0:
        return end - start + 0 * log_cost
    # expm1, because the two exponentials differ by little where the exponent is small
    return np.exp(exponent * (log_cost - end)) * np.expm1(exponent * (end - start)) / exponent


def _limited(key: str) -> str:
    """What a keyword max_<name> limits."""
    if not key.startswith(_LIMIT):
        raise TypeError(f"Objective() got an unexpected keyword argument '{key}'")
    return key.removeprefix(_LIMIT)


def _target(value: Any) -> float | tuple[float, float] | None:
    """A target as configs write it: null, a number, or [low, high]."""
    if value is None:
        return None
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return _number(value, "target")
    if isinstance(value, Mapping) or len(value) != 2:
        raise InputError(f"objective.target must be a number, a range [low, high] or null, got {value}")
    low, high = (_number(bound, "target") for bound in value)
    return low, high


def _check_target(target: float | tuple[float, float] | None) -> None:
    """Raises InputError for targets that are no finite costs above 0, or a range without a length."""
    bounds = () if target is None else target if isinstance(target, tuple) else (target,)
    for bound in bounds:
        if not 0 < bound < math.inf:
            raise InputError(f"objective.target must be above 0 and finite, got {bound:g}")
    if len(bounds) == 2 and not bounds[0] < bounds[1]:
        raise InputError(f"objective.target: low must be below high, got [{bounds[0]:g}, {bounds[1]:g}]")


def _number(value: Any, key: str) -> float:
    """A number that may be written as a string; not a bool, not NaN."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise InputError(f"objective.{key} must be a number, got {value!r}")
    return number
