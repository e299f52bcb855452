"""Problems whose whole truth is known, so that a search can be measured without training anything.

`chain`: a space of some 10^13 real architectures with real multiply-adds and a made-up accuracy, whose front is found exactly by
dynamic programming. `table`: architectures that were all trained, replayed from a CSV file (see train_tables.py).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from search.objective.pareto import hypervolume, non_dominated
from search.objective.reward import front_points, reference_point
from search.study.founding import NUM_REFERENCE
from spaces import Candidate, SearchSpace, cost
from spaces.costs import layer_costs

Array = NDArray[np.float64]
TABLES = Path(__file__).parent / "tables"


@dataclass
class Problem:
    """A space with an accuracy for each of its candidates, and the best there is."""

    name: str
    space: SearchSpace
    curve: Callable[[Candidate], tuple[float, ...]]
    """Accuracy after each epoch; the last one counts."""
    front: Array
    """(k, 2) multiply-adds and accuracy of the true front, by rising multiply-adds."""
    candidates: dict[str, Candidate] = field(default_factory=dict)
    """All candidates by digest, where they can be listed."""

    @cached_property
    def cost_range(self) -> tuple[float, float]:
        """Least and greatest multiply-adds among the random architectures by which a study finds its targets."""
        rng = np.random.default_rng(0)
        costs = [cost(self.space.random(rng).architecture).flops for _ in range(NUM_REFERENCE)]
        return min(costs), max(costs)

    @cached_property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / self.space.random(np.random.default_rng(0)).architecture.num_classes

    @property
    def reference(self) -> tuple[float, float]:
        """Of the hypervolume, in (log multiply-adds, -accuracy)."""
        return reference_point(self.cost_range[1], self.chance)

    @cached_property
    def hypervolume(self) -> float:
        """Of the true front."""
        return hypervolume(self.points(self.front), self.reference)

    def points(self, pairs: Array) -> Array:
        """(n, 2) multiply-adds and accuracies as points for `search.objective.pareto`, as a study measures them."""
        return front_points(pairs[:, 1], pairs[:, 0], self.cost_range[0])

    def oracle(self, shares: tuple[float, ...], max_points: int = 1_000) -> list[int]:
        """The fewest evaluations that reach each share of the hypervolume, if the truth were known.

        Exact for fronts of up to `max_points`, by dynamic programming; of larger ones a part is looked at, which may cost one more.
        """
        points, (right, bottom) = self.points(self.front), self.reference
        points = np.unique(points[non_dominated(points) & (points[:, 0] < right) & (points[:, 1] < bottom)], axis=0)
        if len(points) > max_points:
            points = points[np.unique(np.linspace(0, len(points) - 1, max_points).astype(int))]
        x, y = points.T
        # area[j]: the most that k points can dominate, j being the dearest of them; j after i gains what is right of j and below i
        after = np.arange(len(x)) > np.arange(len(x))[:, None]
        strips = np.where(after, (y[:, None] - y) * (right - x), -np.inf)
        area = (bottom - y) * (right - x)
        needed, k = [], 1
        for share in shares:
            while area.max() < share * self.hypervolume:
                area = np.maximum(area, (area[:, None] + strips).max(axis=0))
                k += 1
            needed.append(k)
        return needed


def _front_of(pairs: Array) -> Array:
    """The best of (n, 2) costs and accuracies, by rising cost."""
    best = np.unique(pairs[non_dominated(np.column_stack((pairs[:, 0], -pairs[:, 1])))], axis=0)
    return best[np.argsort(best[:, 0])]


_BLOCKS: list[dict[str, Any]] = [
    {
        "shuffle_agg": {
            "groups": {"choice": [2, 4, 8]},
            "kernel_size": {"choice": [2, 3, 5]},
            "aggregate": {"choice": ["max", "mean"]},
        }
    },
    {
        "inverted_residual": {
            "expand_ratio": {"int": [2, 6]},
            "kernel_size": {"choice": [3, 5]},
            "squeeze_ratio": {"choice": [0, 0.25]},
        }
    },
    {"depthwise_separable": {"kernel_size": {"choice": [3, 5]}}},
]
_CHANNELS = (24, 24, 32, 32, 48, 48, 64, 64)
_WIDTHS = (0.5, 0.75, 1.0, 1.5)
_LR = (1e-3, 1.0)


class _Chain:
    """Accuracy = a saturating function of the sum of what every layer adds, given the block before it.

    What a layer adds rises with the logarithm of its multiply-adds, times how good its block is there; every option adds an effect
    of its own; and every pair of neighbouring blocks fits together or does not. The sum is a chain, so the front is found by
    dynamic programming.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        layers = [
            {"block": {"choice": _BLOCKS}, "channels": channels, "stride": 2 if i in (2, 4) else 1}
            for i, channels in enumerate(_CHANNELS)
        ]
        stem = {"block": "conv", "channels": 16, "kernel_size": 3}
        description = {"width_multiplier": {"choice": list(_WIDTHS)}, "layers": [stem, *layers]}
        self.space = SearchSpace(
            description,
            {"lr": {"float": list(_LR), "log": True}},
            in_channels=3,
            num_classes=10,
            resolution=32,
            source="chain",
        )
        self.options = self._list_options()
        self.fits = self.rng.normal(0, 0.05, (len(_CHANNELS), 3, 3))
        self.best_lr = 0.12
        self.width_bonus = dict(zip(_WIDTHS, (0.0, 0.12, 0.2, 0.26), strict=True))
        efficiency = self.rng.uniform(0.08, 0.16, (len(_CHANNELS), 3))
        effects: dict[Any, float] = {}
        self.adds: dict[tuple[float, int, Any], float] = {}
        self.flops: dict[tuple[float, int, Any], int] = {}
        for width in _WIDTHS:
            for layer in range(len(_CHANNELS)):
                for option in self.options:
                    block, values = option
                    flops = self._flops(width, layer, option)
                    own = 0.0
                    for name, value in values:
                        own += effects.setdefault((layer, block, name, value), self.rng.normal(0, 0.03))
                    own += effects.setdefault((layer, option), self.rng.normal(0, 0.02))
                    self.flops[width, layer, option] = flops
                    self.adds[width, layer, option] = efficiency[layer, block] * math.log(flops / 3e4) + own

    def _list_options(self) -> list[tuple[int, tuple[tuple[str, Any], ...]]]:
        """Every block with every set of its options."""
        options: list[tuple[int, tuple[tuple[str, Any], ...]]] = []
        for i, block in enumerate(_BLOCKS):
            sets: list[tuple[tuple[str, Any], ...]] = [()]
            for name, opened in next(iter(block.values())).items():
                values = opened["choice"] if "choice" in opened else range(opened["int"][0], opened["int"][1] + 1)
                sets = [(*chosen, (name, value)) for chosen in sets for value in values]
            options += [(i, chosen) for chosen in sets]
        return options

    def _decisions(self, width: float, layer: int, option: tuple[int, Any]) -> dict[str, Any]:
        """A network with one option in one layer and the last option in all others."""
        decisions: dict[str, Any] = {"width_multiplier": width, "train.lr": self.best_lr}
        for i in range(len(_CHANNELS)):
            block, values = option if i == layer else self.options[-1]
            name = next(iter(_BLOCKS[block]))
            decisions[f"layers.{i + 1}.block"] = name
            decisions |= {f"layers.{i + 1}.block.{name}.{key}": value for key, value in values}
        return decisions

    def _flops(self, width: float, layer: int, option: tuple[int, Any]) -> int:
        candidate = self.space.candidate(self._decisions(width, layer, option))
        return layer_costs(candidate.architecture)[layer + 1].flops

    def curve(self, candidate: Candidate) -> tuple[float, ...]:
        """Accuracy after each of four made-up epochs."""
        decisions = candidate.decisions
        width = decisions["width_multiplier"]
        total, before = self.width_bonus[width], None  # type: ignore[index]
        for i in range(len(_CHANNELS)):
            name = decisions[f"layers.{i + 1}.block"]
            block = next(j for j, body in enumerate(_BLOCKS) if name in body)
            values = tuple((k, decisions[f"layers.{i + 1}.block.{name}.{k}"]) for k in _BLOCKS[block][name])  # type: ignore[index]
            total += self.adds[width, i, (block, values)]  # type: ignore[index]
            if before is not None:
                total += self.fits[i, before, block]
            before = block
        off = math.log10(decisions["train.lr"] / self.best_lr)  # type: ignore[operator]
        final = float(_accuracy(np.array(total - 0.25 * off**2)))
        return (*(final - (final - 0.1) * 0.5 * 0.4**epoch for epoch in range(1, 4)), final)

    def front(self) -> Array:
        """(k, 2) multiply-adds and accuracy of the front, exactly."""
        everything = []
        for width in _WIDTHS:
            candidate = self.space.candidate(self._decisions(width, 0, self.options[-1]))
            others = sum(self.flops[width, i, self.options[-1]] for i in range(len(_CHANNELS)))
            fixed = cost(candidate.architecture).flops - others
            states = {None: np.array([[fixed, self.width_bonus[width]]])}
            for i in range(len(_CHANNELS)):
                states = self._step(width, i, states)  # type: ignore[arg-type, assignment]
            everything += [*states.values()]
        best = _front_of(np.concatenate(everything))
        return np.column_stack((best[:, 0], _accuracy(best[:, 1])))

    def _step(self, width: float, layer: int, states: dict[int | None, Array]) -> dict[int | None, Array]:
        """The fronts of networks of one layer more, by its block."""
        ways: dict[int | None, list[Array]] = {}
        for option in self.options:
            for before, points in states.items():
                fit = 0.0 if before is None else self.fits[layer, before, option[0]]
                step = (self.flops[width, layer, option], self.adds[width, layer, option] + fit)
                ways.setdefault(option[0], []).append(points + step)
        return {block: _front_of(np.concatenate(found)) for block, found in ways.items()}


def _accuracy(total: Array) -> Array:
    """Between chance, 0.1, and 0.95."""
    return 0.1 + 0.85 / (1 + np.exp(3.0 - 1.1 * total))


def chain(seed: int = 0) -> Problem:
    """An instance of the large synthetic problem."""
    made = _Chain(seed)
    return Problem(f"chain:{seed}", made.space, made.curve, made.front())


def table(path: Path, epochs: int | None = None) -> Problem:
    """A problem replayed from a table, `<path>.yaml` for the space and `<path>.csv` for the accuracies.

    Args:
        path: without an ending.
        epochs: trainings count as if they ended after so many; None: in full.
    """
    described = yaml.safe_load(path.with_suffix(".yaml").read_text())
    space = SearchSpace(described["space"], source=path.stem, **described["images"])
    with path.with_suffix(".csv").open(newline="") as file:
        rows = [*csv.DictReader(line for line in file if not line.startswith("#"))]
    curves, candidates, pairs = {}, {}, []
    for row in rows:
        candidate = space.candidate(json.loads(row["decisions"]))
        candidates[candidate.digest] = candidate
        curves[candidate.digest] = tuple(float(row[key]) for key in row if key.startswith("accuracy_"))[:epochs]
        pairs.append((cost(candidate.architecture).flops, curves[candidate.digest][-1]))
    front = _front_of(np.array(pairs, dtype=float))
    name = path.stem if epochs is None else f"{path.stem}@{epochs}"
    return Problem(name, space, lambda candidate: curves[candidate.digest], front, candidates)


def problem(name: str) -> Problem:
    """By name: `chain:7` is instance 7 of the chain, anything else a table; `digits@2` is the one of digits, as after 2 epochs."""
    kind, _, seed = name.partition(":")
    if kind == "chain":
        return chain(int(seed))
    stem, _, epochs = name.partition("@")
    return table(TABLES / stem, int(epochs) if epochs else None)
