"""Accuracy against cost: the front, and what became of every other trial."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from search.objective.costs import Cost
from search.reporting.figures.theme import LIGHT, Theme, figure, joined, plain, scatter
from search.reporting.record import KINDS, Record, kinds_of, reference_names
from search.reporting.tables import decision_columns, floats, front, judged, known_costs, spread_of
from search.reporting.text import decision_lines, duration, is_missing, percent, readable_cost, readable_number

KIND_WORDS = {
    "front": "on the front",
    "dominated": "dominated",
    "stopped": "stopped early",
    "failed": "failed",
    "infeasible": "outside the limits",
}
"""How a finished trial is called where a person reads it."""

_AT_EDGE = ("failed", "infeasible")
_MAX_DECISION_LINES = 24


class Points(NamedTuple):
    """Trials that are drawn alike."""

    numbers: list[int]
    """The trials' numbers."""
    costs: list[float]
    accuracies: list[float]
    """Between 0 and 1, the mean under other seeds where trials were trained again; empty for failed and infeasible ones."""
    texts: list[str]
    """What hovering shows: HTML whose study-given parts are escaped."""
    spreads: list[float]
    """Standard deviation of accuracy under other seeds, 0 where it is not known; empty where accuracies are."""


class FrontInfo(NamedTuple):
    """All that the accuracy-against-cost chart shows."""

    name: str
    """The study's name, unescaped."""
    cost: str
    words: Cost
    """How the cost is written."""
    front: Points
    """Costs rising."""
    dominated: Points
    stopped: Points
    """At the accuracy they had when they were stopped."""
    failed: Points
    infeasible: Points
    reference: Points
    """Networks of the literature among the trials on the front and the dominated ones, drawn over them."""
    reference_names: list[str]
    measured: list[float | None]
    """Of latency: what each member of the front was measured at; empty of other costs."""


def gather_front(record: Record, cost: str = "flops", *, hover: bool = True) -> FrontInfo:
    """Sorts the trials into those on the front, dominated, stopped, failed and infeasible ones.

    Duplicates (they coincide with the trial they repeat) and unfinished trials are not drawn, nor is a trial whose cost is
    missing; a failed or infeasible trial of known cost is, though it has no accuracy.

    Args:
        record: the study.
        cost: the column to show accuracy against.
        hover: whether texts are made for hovering, most of the work where there are thousands of trials.
    """
    trials = record.trials
    kinds = kinds_of(trials, cost)
    rows = {kind: trials[trials["number"].map(kinds) == kind] for kind in KINDS}
    rows["front"] = front(trials[trials[cost].notna()], cost)
    names = {n: name for n, name in reference_names(trials).items() if kinds.get(n) in ("front", "dominated")}
    points = {kind: _points(rows[kind], record, cost, kind, hover) for kind in KINDS}
    referenced = _points(trials[trials["number"].isin(list(names))], record, cost, "reference network", hover)
    return FrontInfo(
        record.info.name,
        cost,
        record.info.costs[cost],
        **points,
        reference=referenced,
        reference_names=[names[n] for n in referenced.numbers],
        measured=_measured(rows["front"]) if cost == "latency_ms" else [],
    )


def _measured(members: pd.DataFrame) -> list[float | None]:
    if "measured_ms" not in members:
        return []
    return [None if is_missing(cell) else float(cell) for cell in members["measured_ms"]]


def _points(rows: pd.DataFrame, record: Record, cost: str, kind: str, hover: bool) -> Points:
    decisions = decision_columns(rows)
    words = record.info.costs
    costs = {name: words[name] for name in known_costs(record.trials, words)}
    told = rows.to_dict("records") if hover else []
    texts = [_hover(row, costs, decisions, KIND_WORDS.get(kind, kind)) for row in told]
    numbers, values = [int(number) for number in rows["number"]], floats(rows, cost).tolist()
    if kind in _AT_EDGE:
        return Points(numbers, values, [], texts, [])
    spreads = np.nan_to_num(floats(rows, "accuracy_std")).tolist() if "accuracy_std" in rows else [0.0] * len(rows)
    return Points(numbers, values, judged(rows).tolist(), texts, spreads)


def _hover(row: Mapping[Any, Any], known: Mapping[str, Cost], decisions: list[str], kind: str) -> str:
    """One trial's metrics and decisions as lines of HTML."""
    costs = [readable_cost(cost, row[name]) for name, cost in known.items() if not is_missing(row[name])]
    effort = [] if is_missing(row["epochs"]) else [f"{int(row['epochs'])} epoch{'s' * (row['epochs'] != 1)}"]
    effort += [] if is_missing(row["seconds"]) else [duration(row["seconds"])]
    result = [] if is_missing(row["accuracy"]) else [f"accuracy {percent(row['accuracy'])}"]
    if not is_missing(row.get("accuracy_mean")):
        spread = f"{percent(row['accuracy_mean'])}{spread_of(row)}"
        result.append(f"under {int(row['confirmations'])} other seed{'s' * (row['confirmations'] != 1)} {spread}")
    result += [] if is_missing(row["reward"]) else [f"reward {row['reward']:.3f}"]
    reason = "" if is_missing(row["failure"]) else f"{row['failure']}"[:200]
    facts = [" · ".join(part) for part in (result, costs, effort) if part]
    lines = decision_lines({name: row[name] for name in decisions})
    if len(lines) > _MAX_DECISION_LINES:
        lines = [*lines[: _MAX_DECISION_LINES - 1], "… the rest is in trials.csv"]
    texts = [*facts, *([reason] if reason else []), *([""] if lines else []), *lines]
    name = "" if is_missing(row.get("name")) else f" · {plain(str(row['name']))}"
    return "<br>".join([f"<b>Trial {row['number']}</b>{name} · {kind}", *(_escaped(text) for text in texts)])


def _escaped(line: str) -> str:
    """A line as text in Plotly's HTML, its indentation kept."""
    indent = len(line) - len(line.lstrip(" "))
    return "&nbsp;" * indent + escape(line[indent:])


def draw_front(info: FrontInfo, theme: Theme = LIGHT) -> go.Figure:
    """Accuracy against cost on a log axis, the front as the stairs that bound what is dominated."""
    stairs = {"color": theme.front, "width": 2, "shape": "hv"}
    traces = [{**_stairs(info), "line": stairs, "fillcolor": theme.area}]
    if any(info.measured):
        traces.append(_deviations(info, theme))
    styles = _markers(theme, len(info.dominated.numbers))
    for kind in reversed(KINDS):
        points: Points = getattr(info, kind)
        heights: dict[str, Any] = {"y": points.accuracies}
        if kind in _AT_EDGE:  # they have no accuracy: they stand at the bottom
            heights = {"y": [0.015 if kind == "failed" else 0.03] * len(points.numbers), "yaxis": "y2"}
        confirmed = {"type": "data", "array": points.spreads, "color": theme.front, "thickness": 1.2, "width": 4}
        traces.append(
            scatter(
                len(points.numbers),
                meta=kind,
                name=f"{KIND_WORDS[kind].capitalize()} ({len(points.numbers)})",
                x=points.costs,
                **heights,
                customdata=points.numbers,
                hovertext=points.texts,
                hoverinfo="text",
                mode="markers",
                marker=styles[kind],
                cliponaxis=False,
                **({"error_y": confirmed} if kind == "front" and any(points.spreads) else {}),
                visible="legendonly" if kind == "infeasible" else True,
            )
        )
    return figure(
        theme,
        [*traces, _references(info, theme)],
        cost_axis(info.cost, info.words, *cost_range(info)),
        {"title": "Accuracy", "tickformat": "~%", "range": accuracy_range(info)},
        title={"text": escape(info.name)},
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        annotations=_far_below_note(info),
        legend={"traceorder": "reversed"},
    )


def _far_below_note(info: FrontInfo) -> list[dict[str, Any]]:
    far_below, _ = _by_height(info)
    if not far_below:
        return []
    corner = {"xref": "paper", "yref": "paper", "x": 1, "y": 0.05, "xanchor": "right", "yanchor": "bottom"}
    text = f"{len(far_below)} more below, {'at' if len(far_below) == 1 else 'up to'} {percent(far_below[-1])}"
    return [{**corner, "showarrow": False, "text": text}]


def _stairs(info: FrontInfo) -> dict[str, Any]:
    """From each point on the front level to the next cost, then up; the last level runs to the right end."""
    costs, accuracies = list(info.front.costs), list(info.front.accuracies)
    everything = [*costs, *info.dominated.costs, *info.stopped.costs, *info.failed.costs]
    if costs and max(everything) > costs[-1]:
        costs, accuracies = [*costs, max(everything)], [*accuracies, accuracies[-1]]
    return {
        "type": "scatter",
        "meta": "area",
        "x": costs,
        "y": accuracies,
        "mode": "lines",
        "fill": "tozeroy",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _deviations(info: FrontInfo, theme: Theme) -> dict[str, Any]:
    """From each predicted latency on the front a thin line to the measured one."""
    front = zip(info.front.costs, info.front.accuracies, info.measured, strict=True)
    known = [(cost, accuracy, measured) for cost, accuracy, measured in front if measured is not None]
    return {
        "type": "scatter",
        "meta": "measured",
        "name": "Measured",
        "x": joined([(cost, measured) for cost, _, measured in known]),
        "y": joined([(accuracy, accuracy) for _, accuracy, _ in known]),
        "mode": "lines+markers",
        "hoverinfo": "skip",
        "line": {"color": theme.muted, "width": 1.2, "dash": "dot"},
        "marker": {
            "symbol": "line-ns-open",
            "size": [0, 12, 0] * len(known),
            "color": theme.muted,
            "line": {"width": 2},
        },
    }


def _markers(theme: Theme, num_dominated: int) -> dict[str, dict[str, Any]]:
    """Symbol and colour of each kind; the more trials, the smaller and fainter their marks."""
    scale = min(1.0, (300 / max(1, num_dominated)) ** 0.25)
    marks = {
        "front": ("circle", 11 * max(scale, 0.7), theme.front, theme.paper, 2.0, 1.0),
        "dominated": ("circle-open", 7 * scale, theme.dominated, theme.dominated, 1.4, scale),
        "stopped": ("triangle-down-open", 8 * scale, theme.stopped, theme.stopped, 1.5, 1.0),
        "failed": ("x-thin-open", 7 * scale, theme.failed, theme.failed, 1.8, 1.0),
        "infeasible": ("line-ns-open", 9 * scale, theme.infeasible, theme.infeasible, 1.2, 1.0),
    }
    return {
        kind: {
            "symbol": symbol,
            "size": size,
            "color": colour,
            "opacity": opacity,
            "line": {"color": rim, "width": width * scale},
        }
        for kind, (symbol, size, colour, rim, width, opacity) in marks.items()
    }


def _references(info: FrontInfo, theme: Theme) -> dict[str, Any]:
    """Networks of the literature, each with its name beside it."""
    return {
        "type": "scatter",
        "meta": "reference",
        "name": f"Reference networks ({len(info.reference.numbers)})",
        "x": info.reference.costs,
        "y": info.reference.accuracies,
        "customdata": info.reference.numbers,
        "hovertext": info.reference.texts,
        "hoverinfo": "text",
        "text": [f" {plain(name, 32)}" for name in info.reference_names],
        "textposition": _name_places(info),
        "textfont": {"color": theme.reference, "size": 12},
        "mode": "markers+text",
        "marker": {
            "symbol": "diamond",
            "size": 11,
            "color": theme.reference,
            "line": {"color": theme.paper, "width": 1.5},
        },
        "cliponaxis": False,
        "showlegend": bool(info.reference.numbers),
    }


def _name_places(info: FrontInfo) -> list[str]:
    """Where the names of reference networks stand: towards the middle of the chart, near ones above and below each other."""
    low, high = np.log(cost_range(info))
    bottom, top = accuracy_range(info)
    x = (np.log(info.reference.costs) - low) / (high - low)
    y = (np.array(info.reference.accuracies) - bottom) / (top - bottom)
    places = []
    for i in range(len(x)):
        near = [j for j in range(len(x)) if j != i and abs(x[j] - x[i]) < 0.3 and abs(y[j] - y[i]) < 0.06]
        above = sum((y[i], x[i]) > (y[j], x[j]) for j in near)
        row = "middle" if not near else "top" if above else "bottom"
        places.append(f"{row} {'left' if x[i] > 0.7 else 'right'}")
    return places


def cost_axis(cost: str, words: Cost, low: float, high: float) -> dict[str, Any]:
    """A log axis over a cost's range, with labels at 1, 2 and 5 where they have the room."""
    spread = math.log10(high / low)
    # Plotly's own choice labels all of 1 to 9, one upon another; far or near it is right.
    ticks = {"dtick": "D2"} if 0.7 < spread < 3.5 else {}
    return {
        "title": f"{plain(words.label)}, predicted" if cost == "latency_ms" else plain(words.label),
        "type": "log",
        "tickformat": "~s" if words.is_count else "~g",  # thousandths of milliseconds would be "m" too
        "range": [math.log10(low), math.log10(high)],
        **ticks,
    }


def cost_range(info: FrontInfo) -> tuple[float, float]:
    """What the cost axis shows at first: every trained network, and some room beside the first and the last."""
    return with_room(
        [c for points in (info.front, info.dominated, info.stopped, info.failed) for c in points.costs]
        + [measured for measured in info.measured if measured is not None]
    )


def with_room(costs: list[float]) -> tuple[float, float]:
    """The range of some costs on a log axis, with room at its ends."""
    low, high = (min(costs), max(costs)) if costs else (1e5, 1e7)
    room = max((high / low) ** 0.03, 1.02)
    return low / room, high * room


def accuracy_range(info: FrontInfo) -> list[float]:
    """What the accuracy axis shows at first: every point but those far below, with room under them for the failed trials' marks."""
    _, others = _by_height(info)
    low, high = (others[0], others[-1]) if others else (0.0, 1.0)
    room = max(high - low, 0.02)
    return [low - 0.08 * room, high + 0.06 * room]


def _by_height(info: FrontInfo) -> tuple[list[float], list[float]]:
    """Accuracies, rising: those so far below that with them on the axis the front would be a line, and all others."""
    named = [*info.front.accuracies, *info.reference.accuracies]
    seen = sorted([*info.front.accuracies, *info.dominated.accuracies, *info.stopped.accuracies])
    if not seen:
        return [], []
    first, third = np.quantile(seen, [0.25, 0.75])
    # Tukey's outer fence; where most are alike, what is near them stays: the axis shows 0.02 anyway
    fence = first - max(3 * (third - first), 0.02)
    shown = bisect_left(seen, min([fence, *named]))
    return seen[:shown], seen[shown:]


def figure_summary(info: FrontInfo) -> str:
    """The chart in one sentence, for those who cannot see it."""
    if not info.front.numbers:
        return f"Accuracy against {info.words.label}: no trial is complete yet."
    first, last = info.front, len(info.front.numbers) - 1
    least, most = (readable_number(info.words, first.costs[i]) for i in (0, last))
    return (
        f"Accuracy against {info.words.label}: a front of {last + 1} from "
        f"{percent(first.accuracies[0])} at {least} to {percent(first.accuracies[last])} at "
        f"{most}; {len(info.dominated.numbers)} dominated, {len(info.stopped.numbers)} stopped "
        f"early, {len(info.failed.numbers)} failed."
    )
