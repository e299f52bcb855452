"""Which decisions paid: their importance, the front that each of their options reaches, and all of them side by side."""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from search.objective.costs import Cost
from search.objective.pareto import hypervolume, non_dominated
from search.objective.reward import front_points, reference_point
from search.reporting.figures.front import cost_axis, with_room
from search.reporting.figures.theme import DASHES, LIGHT, SYMBOLS, Theme, figure, plain
from search.reporting.networks import gather_traits
from search.reporting.record import Record
from search.reporting.tables import completed, decision_columns, floats, front, judged, of_space
from search.reporting.text import is_missing, plain_value, readable_number
from spaces.checks import is_number

LEAST_TRIALS = 10
"""Complete trials below which nothing is said of importance."""
ABSENT = "–"
"""How a decision that was not to be made is shown."""

_MAX_TRIALS = 1000
_MAX_VALUES = 8
_MAX_BACKGROUND = 96
_MAX_BARS = 16
_MAX_AXES = 6
_MAX_LINES = 300
_MAX_OPTIONS = 6

Array = NDArray[np.float64]


class ImportanceInfo(NamedTuple):
    """How much of the differences between trials each decision explains by itself."""

    decisions: list[str]
    """Most important for accuracy first."""
    accuracy: list[float]
    """Shares of the variance of predicted accuracy, 0 to 1."""
    equal_cost: list[float]
    """Shares of the variance of what a network's accuracy is above that of others of its cost."""
    num_trials: int
    """Complete trials of the space behind it; below `LEAST_TRIALS` the lists are empty."""


def gather_importance(record: Record) -> ImportanceInfo:
    """Functional analysis of variance on a random forest.

    Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance" (2014),
    https://proceedings.mlr.press/v32/hutter14.html, section 4.2: a decision's share is the variance of its marginal, the mean
    prediction over all other decisions at each of its values. Marginals are taken over trials of the study instead of the whole
    space, and those of a decision that not every network has over those that have it, weighted by their share.

    Accuracy at equal cost is accuracy less the mean of the trials nearest in log cost.
    """
    complete = of_space(completed(record.trials[record.trials["accuracy"].notna()]))
    if len(complete) > _MAX_TRIALS:
        complete = complete.iloc[np.linspace(0, len(complete) - 1, _MAX_TRIALS).round().astype(int)]
    names = [name for name in decision_columns(complete) if complete[name].map(_text).nunique() > 1]
    if len(complete) < LEAST_TRIALS or not names:
        return ImportanceInfo([], [], [], len(complete))
    accuracy = judged(complete)
    residual = accuracy - mean_at_cost(accuracy, floats(complete, record.info.objective.cost))
    active = np.column_stack([~complete[name].map(is_missing).to_numpy(dtype=bool) for name in names])
    values = np.column_stack([encoded(complete[name].tolist(), accuracy) for name in names])
    shares = [explained(values, active, target) for target in (accuracy, residual)]
    order = np.argsort(-shares[0], kind="stable")
    return ImportanceInfo(
        [names[i] for i in order], shares[0][order].tolist(), shares[1][order].tolist(), len(complete)
    )


def mean_at_cost(accuracies: Array, costs: Array) -> Array:
    """For each trial the mean accuracy of the others nearest in log cost: a tenth of them, from 3 to 50."""
    n = len(accuracies)
    count = min(n - 1, int(np.clip(n // 10, 3, 50)))
    distance = np.abs(np.log(costs)[:, None] - np.log(costs)[None, :])
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return np.asarray(accuracies[nearest].mean(axis=1))


def encoded(cells: Sequence[Any], target: Array) -> Array:
    """One decision as numbers: numbers as they are, names in the order of their mean target, absent ones in their middle.

    There an absent decision says least: whether it was to be made is another decision's merit.
    """
    present = [cell for cell in cells if not is_missing(cell)]
    if all(map(is_number, present)):
        column = np.array([np.nan if is_missing(cell) else float(cell) for cell in cells])
    else:
        texts = pd.Series([None if is_missing(cell) else _text(cell) for cell in cells], dtype="object")
        means = pd.Series(target).groupby(texts).mean().sort_values(kind="stable")
        ranks = {text: rank for rank, text in enumerate(means.index)}
        column = np.array([np.nan if text is None else float(ranks[text]) for text in texts])
    return np.where(np.isnan(column), np.nanmean(np.unique(column)), column)


def explained(values: Array, active: NDArray[np.bool_], target: Array) -> Array:
    """The share of the variance of a forest's prediction that each decision's marginal explains.

    Args:
        values: (n, d) decisions as numbers.
        active: (n, d), which of them were made.
        target: (n,) what is explained.

    Returns:
        (d,) shares, 0 to 1.
    """
    from sklearn.ensemble import RandomForestRegressor  # takes a second to import, and not every report needs it

    d = values.shape[1]
    if np.ptp(target) == 0:
        return np.zeros(d)
    forest = RandomForestRegressor(n_estimators=48, min_samples_leaf=2, random_state=0)
    total = forest.fit(values, target).predict(values).var()
    grids = [_grid(values[active[:, j]], j) for j in range(d)]
    predicted = forest.predict(
        np.concatenate([rows for rows, _ in grids])
    )  # at once: each call takes as long as many rows
    shares = np.zeros(d)
    start = 0
    for j, (rows, weights) in enumerate(grids):
        marginal = predicted[start : start + len(rows)].reshape(len(weights), -1).mean(axis=1)
        start += len(rows)
        mean = np.average(marginal, weights=weights)
        shares[j] = np.average((marginal - mean) ** 2, weights=weights) * active[:, j].mean()
    return np.asarray(np.clip(shares / total, 0, 1)) if total > 0 else shares


def _grid(rows: Array, j: int) -> tuple[Array, Array]:
    """The trials that made decision j, with each of its values in turn.

    Returns:
        ((values * trials, d) rows, all trials of a value together; (values,) how often each value occurs).
    """
    distinct, counts = np.unique(rows[:, j], return_counts=True)
    if len(distinct) > _MAX_VALUES:
        distinct = np.quantile(rows[:, j], (np.arange(_MAX_VALUES) + 0.5) / _MAX_VALUES)
        counts = np.ones(_MAX_VALUES, dtype=int)
    at = np.linspace(0, len(rows) - 1, min(len(rows), _MAX_BACKGROUND)).round().astype(int)
    grid = np.tile(rows[at], (len(distinct), 1))
    grid[:, j] = np.repeat(distinct, len(at))
    return grid, counts.astype(float)


def draw_importance(info: ImportanceInfo, theme: Theme = LIGHT) -> go.Figure:
    """Two bars a decision: for accuracy, and for accuracy at equal cost."""
    best = np.maximum(info.accuracy, info.equal_cost)
    kept = sorted(np.argsort(-best, kind="stable")[:_MAX_BARS].tolist())
    labels = [plain(short_name(info.decisions[i]), 44) for i in kept]
    kinds = (
        ("accuracy", "Accuracy", info.accuracy, theme.series[0], ""),
        ("equal_cost", "Accuracy at equal cost", info.equal_cost, theme.series[1], "/"),
    )
    traces = [
        {
            "type": "bar",
            "meta": meta,
            "name": name,
            "orientation": "h",
            "y": labels,
            "x": [shares[i] for i in kept],
            "marker": {
                "color": colour,
                "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": theme.paper, "size": 5},
            },
            "hovertemplate": f"%{{y}}<br><b>%{{x:.1%}}</b> of {name.lower()}<extra></extra>",
        }
        for meta, name, shares, colour, pattern in kinds
    ]
    return figure(
        theme,
        traces if kept else [],
        {"title": "Share explained", "tickformat": "~%", "rangemode": "tozero"},
        {"autorange": "reversed", "showline": False, "tickcolor": theme.paper, "ticklen": 6, "type": "category"},
        barmode="group",
        bargap=0.3,
        bargroupgap=0.08,
        legend={"traceorder": "normal"},
    )


class Option(NamedTuple):
    """One option of a decision, and what the networks with it reach."""

    label: str
    num_trials: int
    """Complete trials."""
    best_accuracy: float
    volume: float
    """The hypervolume of their own front; comparable where the cost is the objective's."""
    numbers: list[int]
    costs: list[float]
    accuracies: list[float]
    """Of their own front, costs rising."""


class OptionsInfo(NamedTuple):
    """The front that each option of one decision reaches."""

    decision: str
    """The decision, or the trait that networks have or have not."""
    is_trait: bool
    cost: str
    words: Cost
    """How the cost is written."""
    options: list[Option]


def gather_options(record: Record, cost: str = "flops") -> list[OptionsInfo]:
    """For each trait and each decision with several options among the complete trials of the space, their fronts.

    Numbers with many values are put into ranges of about equally many trials.
    """
    trials = of_space(completed(record.trials[record.trials["accuracy"].notna() & record.trials[cost].notna()]))
    split, words = _Splitter(trials, record, cost), record.info.costs[cost]
    gathered = []
    for trait, has in gather_traits(record).items():
        labels = [_with_or_without(trait, has.get(digest)) for digest in trials["digest"]]
        gathered.append(OptionsInfo(trait, True, cost, words, split(labels)))
    for name in decision_columns(trials):
        gathered.append(OptionsInfo(name, False, cost, words, split(option_labels(trials[name].tolist()))))
    return [info for info in gathered if len(info.options) > 1]


def _with_or_without(trait: str, has: bool | None) -> str | None:
    return None if has is None else f"{'with' if has else 'without'} {trait}"


def option_labels(cells: Sequence[Any]) -> list[str | None]:
    """The option of each trial in words: a value, or a range where there are many numbers; None where absent."""
    present = [cell for cell in cells if not is_missing(cell)]
    numeric = all(map(is_number, present))
    if not numeric or len(set(map(_text, present))) <= _MAX_OPTIONS:
        return [None if is_missing(cell) else plain_value(cell) for cell in cells]
    edges = np.unique(np.quantile(np.array(present, dtype=float), [0, 0.25, 0.5, 0.75, 1]))
    words = [f"{plain_value(float(a))} to {plain_value(float(b))}" for a, b in itertools.pairwise(edges)]
    bins = [None if is_missing(cell) else int(np.searchsorted(edges[1:-1], float(cell))) for cell in cells]
    return [None if at is None else words[min(at, len(words) - 1)] for at in bins]


class _Splitter:
    """Fronts of parts of the complete trials."""

    def __init__(self, trials: pd.DataFrame, record: Record, cost: str) -> None:
        self._numbers = [int(number) for number in trials["number"]]
        self._costs, self._accuracies = floats(trials, cost), judged(trials)
        low, high = record.info.cost_range
        self._points = front_points(self._accuracies, floats(trials, record.info.objective.cost), low)
        self._reference = reference_point(high, record.info.chance)

    def __call__(self, labels: Sequence[str | None]) -> list[Option]:
        """One option for each label; of many, those whose fronts reach most."""
        found = sorted({label for label in labels if label is not None}, key=_natural)
        at = {label: np.array([i for i, other in enumerate(labels) if other == label]) for label in found}
        options = [self._option(label, at[label]) for label in found] if len(found) > 1 else []
        kept = sorted(options, key=lambda option: -option.volume)[:_MAX_OPTIONS]
        return [option for option in options if option in kept]

    def _option(self, label: str, at: NDArray[np.int64]) -> Option:
        costs, accuracies = self._costs[at], self._accuracies[at]
        members = np.flatnonzero(non_dominated(np.column_stack((costs, -accuracies))))
        members = members[np.argsort(costs[members], kind="stable")]
        return Option(
            label,
            len(at),
            float(accuracies.max()),
            hypervolume(self._points[at], self._reference),
            [self._numbers[i] for i in at[members]],
            costs[members].tolist(),
            accuracies[members].tolist(),
        )


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then names; "with" before "without"."""
    try:
        return 0, float(label.partition(" ")[0]), label
    except ValueError:
        return 1, 0.0, label


def draw_options(info: OptionsInfo, theme: Theme = LIGHT) -> go.Figure:
    """The fronts of the options as stairs over one another; all run on to the dearest network."""
    everything = [cost for option in info.options for cost in option.costs]
    low, high = with_room(everything)
    traces = []
    for i, option in enumerate(info.options):
        colour = theme.series[i % len(theme.series)]
        number = "%{x:.3~s}" if info.words.is_count else "%{x:.3~g}"
        text = f"<b>{plain(option.label)}</b><br>Trial %{{customdata}}: accuracy %{{y:.2%}}<br>{number} {plain(info.words.unit)}"
        traces.append(
            {
                "type": "scatter",
                "meta": f"option:{i}",
                "name": f"{plain(option.label, 40)} ({option.num_trials})",
                "x": [*option.costs, max(everything)],
                "y": [*option.accuracies, option.accuracies[-1]],
                "customdata": [*option.numbers, None],
                "hovertemplate": f"{text}<extra></extra>",
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2, "shape": "hv", "dash": DASHES[i % len(DASHES)]},
                "marker": {
                    "symbol": SYMBOLS[i % len(SYMBOLS)],
                    "size": [8] * len(option.costs) + [0],
                    "color": colour,
                    "line": {"color": theme.paper, "width": 1},
                },
            }
        )
    return figure(
        theme,
        traces,
        cost_axis(info.cost, info.words, low, high),
        {"title": "Accuracy", "tickformat": "~%"},
        title={"text": plain(info.decision)},
        legend={"traceorder": "normal"},
    )


class Axis(NamedTuple):
    """One axis of parallel coordinates."""

    name: str
    values: list[float]
    """Where each trial crosses it."""
    ticks: list[tuple[float, str]]
    """Where it is labelled; empty for Plotly's own choice."""


class ParallelInfo(NamedTuple):
    """Complete trials as lines across their cost, their most important decisions and their accuracy."""

    numbers: list[int]
    accuracies: list[float]
    axes: list[Axis]


def gather_parallel(record: Record, importance: ImportanceInfo, cost: str = "flops") -> ParallelInfo:
    """The complete trials of known cost, across the decisions that explain most; of many, an even sample and the front.

    The most accurate come last, so that they lie on top.
    """
    trials = completed(record.trials[record.trials["accuracy"].notna() & record.trials[cost].notna()])
    trials = trials.iloc[np.argsort(judged(trials), kind="stable")]
    if len(trials) > _MAX_LINES:
        sample = trials["number"].iloc[np.linspace(0, len(trials) - 1, _MAX_LINES).round().astype(int)]
        trials = trials[trials["number"].isin({*sample, *front(trials, cost)["number"]})]
    best = np.maximum(importance.accuracy, importance.equal_cost)
    ranked = [importance.decisions[i] for i in np.argsort(-best, kind="stable")] or decision_columns(trials)
    names = [name for name in ranked if _is_telling(trials[name])][:_MAX_AXES]
    accuracies = judged(trials).tolist()
    axes = [_cost_axis_of(trials, cost, record.info.costs[cost])] if len(trials) else []
    axes += [_decision_axis(name, trials[name].tolist()) for name in names]
    axes += [Axis("accuracy", accuracies, [])] if len(trials) else []
    return ParallelInfo([int(n) for n in trials["number"]], accuracies, axes)


def _is_telling(cells: "pd.Series[Any]") -> bool:
    """Whether a decision has several options, and was to be made in a third of the trials."""
    return cells.map(_text).nunique() > 1 and cells.notna().mean() >= 1 / 3


def _cost_axis_of(trials: pd.DataFrame, cost: str, words: Cost) -> Axis:
    logs = np.log10(floats(trials, cost))
    low, high = float(logs.min()), float(logs.max())
    places = np.linspace(low, high, 5) if high > low else [low]
    ticks = [(float(place), readable_number(words, 10**place)) for place in places]
    return Axis(words.label.partition(" (")[0], logs.tolist(), ticks)


def _decision_axis(name: str, cells: Sequence[Any]) -> Axis:
    """A decision's values from the bottom up, the absent one at the very bottom; many numbers keep their distances."""
    present = [cell for cell in cells if not is_missing(cell)]
    numeric = all(map(is_number, present))
    distinct = sorted({plain_value(cell) for cell in present}, key=_natural)
    if not numeric or len(distinct) <= _MAX_VALUES:
        places = {text: float(place) for place, text in enumerate(distinct)}
        labels = [(-1.0, ABSENT)] if len(present) < len(cells) else []
        ticks = [*labels, *((place, text if len(text) <= 18 else text[:17] + "…") for text, place in places.items())]
        return Axis(name, [-1.0 if is_missing(c) else places[plain_value(c)] for c in cells], ticks)
    low, high = min(present), max(present)
    scale = math.log10 if low > 0 and high / low > 20 else partial(float)
    step = (scale(high) - scale(low)) / 8 or 1.0
    ticks = [(scale(low) + i * (scale(high) - scale(low)) / 4, "") for i in range(5)]
    back = (lambda value: 10**value) if scale is math.log10 else float
    ticks = [(place, plain_value(float(back(place)))) for place, _ in ticks]
    if len(present) < len(cells):
        ticks = [(scale(low) - step, ABSENT), *ticks]
    return Axis(name, [scale(low) - step if is_missing(c) else scale(c) for c in cells], ticks)


def draw_parallel(info: ParallelInfo, theme: Theme = LIGHT) -> go.Figure:
    """Lines coloured by accuracy; dragging along an axis keeps those that cross it there."""
    dimensions = []
    for axis in info.axes:
        ticks = {"tickvals": [at for at, _ in axis.ticks], "ticktext": [text for _, text in axis.ticks]}
        span = [min(axis.values), max(axis.values)] if axis.values else [0, 1]
        margin = 0.5 if span[0] == span[1] else 0.0
        dimensions.append(
            {
                "label": short_name(axis.name),
                "values": axis.values,
                "range": [span[0] - margin, span[1] + margin],
                **(ticks if axis.ticks else {"tickformat": "~%"}),
            }
        )
    lines = {
        "type": "parcoords",
        "meta": "parallel",
        "dimensions": dimensions,
        "customdata": info.numbers,
        "line": {"color": info.accuracies, "colorscale": [[0, theme.low], [0.5, theme.middle], [1, theme.high]]},
        "labelangle": -20,
        "labelfont": {"color": theme.ink, "size": 12},
        "tickfont": {"color": theme.muted, "size": 11},
        "rangefont": {"color": "rgba(0,0,0,0)", "size": 1},
        "unselected": {"line": {"color": theme.grid, "opacity": 0.25}},
    }
    return figure(
        theme,
        [lines] if dimensions else [],
        {"visible": False},
        {"visible": False},
        margin={"l": 64, "r": 64, "t": 96, "b": 16},
    )


def short_name(decision: str) -> str:
    """A decision's name without the block it repeats: "layers.1 shuffle_agg groups"."""
    parts = [part for part in decision.split(".") if part != "block"] if "." in decision else [decision]
    if decision.endswith(".block"):
        parts.append("block")
    depth = 2 if parts[0] == "layers" and len(parts) > 2 else 1
    return " ".join([".".join(parts[:depth]), *parts[depth:]]) if len(parts) > 1 else decision


def _text(cell: Any) -> str:
    """A value as a key: values may be lists, which do not hash, and 1 and True are different decisions."""
    return "" if is_missing(cell) else f"={cell}"
