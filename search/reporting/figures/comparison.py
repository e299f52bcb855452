"""Several studies side by side: their fronts over one another, and their hypervolume with bands over seeds."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from search.objective.costs import Cost
from search.objective.pareto import hypervolume, hypervolume_curve
from search.objective.reward import front_points, reference_point
from search.reporting.figures.front import Points, cost_axis, gather_front, with_room
from search.reporting.figures.theme import DASHES, LIGHT, SYMBOLS, Theme, figure, plain
from search.reporting.record import Record, evaluated
from search.reporting.tables import completed, floats, judged

_SAME = ("seed", "study", "results_dir", "workers", "backend", "storage", "trials", "confirm", "device")
"""Settings in which the runs of one band may differ."""


class Compared(NamedTuple):
    """One study among others."""

    name: str
    num_trials: int
    """Trained trials."""
    best_accuracy: float | None
    volume: float
    """Up to the reference that all compared studies share."""
    front: Points


class Band(NamedTuple):
    """Studies that differ in their seed alone, trial by trial."""

    label: str
    studies: list[str]
    middle: list[float]
    """Median hypervolume after each trial, as far as all of them have come."""
    low: list[float]
    high: list[float]
    """The least and the greatest of them."""


class ComparisonInfo(NamedTuple):
    """All that is shown of several studies."""

    cost: str
    words: Cost
    """How the cost is written."""
    reference: tuple[float, float, float]
    """What the hypervolumes share: costs below the first count as it, costs above the second and accuracies below the third count
    for nothing."""
    studies: list[Compared]
    bands: list[Band]


def gather_comparison(records: Sequence[Record]) -> ComparisonInfo:
    """The studies' fronts and hypervolumes, against the cost and the reference that suit them all.

    Where studies recorded different references, theirs is the range that holds all of them; the cost is the first's.
    """
    cost = records[0].info.objective.cost
    ranges = [record.info.cost_range for record in records if record.info.objective.cost == cost]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    chance = min(record.info.chance for record in records)
    point = reference_point(high, chance)
    studies, curves = [], []
    for record in records:
        done = completed(record.trials)
        points = front_points(judged(done), floats(done, cost), low)
        trained = evaluated(record)
        accuracies = np.where(trained["state"] == "complete", judged(trained), np.nan)
        curves.append(hypervolume_curve(front_points(accuracies, floats(trained, cost), low), point))
        best = judged(done)
        studies.append(
            Compared(
                record.info.name,
                len(trained),
                float(np.nanmax(best)) if len(best) and not np.isnan(best).all() else None,
                hypervolume(points, point),
                gather_front(record, cost).front,
            )
        )
    groups: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault(_without_seed(record), []).append(i)
    bands = [_band([records[i] for i in group], [curves[i] for i in group]) for group in groups.values()]
    return ComparisonInfo(cost, records[0].info.traded, (low, high, chance), studies, bands)


def _without_seed(record: Record) -> str:
    """What must be equal for studies to be runs of one search."""
    config = {key: value for key, value in record.config.items() if key not in _SAME}
    return json.dumps(config or record.info.name, sort_keys=True, default=str)


def _band(records: Sequence[Record], curves: Sequence[Any]) -> Band:
    length = min(len(curve) for curve in curves)
    values = np.array([curve[:length] for curve in curves])
    names = [record.info.name for record in records]
    label = names[0] if len(names) == 1 else f"{_common(names)} ({len(names)} seeds)"
    if not length:
        return Band(label, names, [], [], [])
    return Band(label, names, np.median(values, 0).tolist(), values.min(0).tolist(), values.max(0).tolist())


def _common(names: Sequence[str]) -> str:
    """What names share at their beginning, without a trailing seed's name."""
    shortest = min(names, key=len)
    same = next((i for i, letter in enumerate(shortest) if any(name[i] != letter for name in names)), len(shortest))
    return shortest[:same].rstrip("=-_. ").removesuffix("seed").rstrip("-_. ") or names[0]


def draw_fronts(info: ComparisonInfo, theme: Theme = LIGHT) -> go.Figure:
    """Every study's front as stairs; they differ in dash and symbol as well as in colour."""
    everything = [cost for study in info.studies for cost in study.front.costs]
    traces = []
    for i, study in enumerate(info.studies):
        style = _style(i, theme)
        points = study.front
        traces.append(
            {
                "type": "scatter",
                "meta": f"study:{i}",
                "name": plain(study.name, 48),
                "x": [*points.costs, *([max(everything)] if points.costs else [])],
                "y": [*points.accuracies, *points.accuracies[-1:]],
                "customdata": [*points.numbers, *([None] if points.numbers else [])],
                "hovertext": [*(f"<b>{plain(study.name)}</b><br>{text}" for text in points.texts), ""],
                "hoverinfo": "text",
                "mode": "lines+markers",
                "line": {"color": style["colour"], "width": 2, "shape": "hv", "dash": style["dash"]},
                "marker": {
                    "symbol": style["symbol"],
                    "size": [8] * len(points.costs) + [0],
                    "color": style["colour"],
                    "line": {"color": theme.paper, "width": 1},
                },
            }
        )
    return figure(
        theme,
        traces,
        cost_axis(info.cost, info.words, *with_room(everything)),
        {"title": "Accuracy", "tickformat": "~%"},
        legend={"traceorder": "normal"},
    )


def draw_bands(info: ComparisonInfo, theme: Theme = LIGHT) -> go.Figure:
    """The hypervolume over trials: the median over seeds, and a band from the least to the greatest."""
    traces = []
    for i, band in enumerate(info.bands):
        style = _style(i, theme)
        shared = {"type": "scatter", "legendgroup": str(i), "x": list(range(1, len(band.middle) + 1)), "mode": "lines"}
        if len(band.studies) > 1:
            edge = {**shared, "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip", "showlegend": False}
            traces.append({**edge, "meta": f"high:{i}", "y": band.high})
            traces.append({**edge, "meta": f"low:{i}", "y": band.low, "fill": "tonexty", "fillcolor": style["band"]})
        label = plain(band.label, 48)
        traces.append(
            {
                **shared,
                "meta": f"band:{i}",
                "name": label,
                "y": band.middle,
                "mode": "lines" if len(band.middle) > 1 else "markers",
                "line": {"color": style["colour"], "width": 2.2, "shape": "hv", "dash": style["dash"]},
                "hovertemplate": f"<b>%{{y:.4g}}</b> after %{{x}} trials<br>{label}<extra></extra>",
            }
        )
    return figure(
        theme,
        traces,
        {"title": "Trials trained", "rangemode": "tozero"},
        {"title": "Hypervolume", "rangemode": "tozero"},
        legend={"traceorder": "normal"},
    )


def _style(i: int, theme: Theme) -> dict[str, str]:
    return {
        "colour": theme.series[i % len(theme.series)],
        "band": theme.bands[i % len(theme.bands)],
        "dash": DASHES[i % len(DASHES)],
        "symbol": SYMBOLS[i % len(SYMBOLS)],
    }
