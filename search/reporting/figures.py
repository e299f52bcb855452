"""Figures: first all numbers and texts of one, gathered from the trials table; then its drawing with Plotly."""

import math
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from search.reporting.tables import StudyInfo, completed, decision_columns, floats, front, originals
from search.reporting.text import COST_LABELS, decision_lines, duration, is_missing, percent, readable, readable_cost

_MAX_DECISION_LINES = 24
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


class Points(NamedTuple):
    """Trials that are drawn alike."""

    numbers: list[int]
    """The trials' numbers."""
    costs: list[float]
    accuracies: list[float]
    """Between 0 and 1; empty for failed trials, which have none."""
    texts: list[str]
    """What hovering shows: HTML whose study-given parts are escaped."""


class FrontInfo(NamedTuple):
    """All that the accuracy-against-cost chart shows."""

    name: str
    """The study's name, unescaped."""
    cost: str
    front: Points
    """Costs rising."""
    dominated: Points
    stopped: Points
    """At the accuracy they had when they were stopped."""
    failed: Points


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. Kinds of trials differ in symbol too, so these may look alike to someone."""

    ink: str
    muted: str
    grid: str
    paper: str
    front: str
    area: str
    dominated: str
    stopped: str
    failed: str


LIGHT = Theme(
    "#1b2430", "#5b6675", "#e6e9ee", "#ffffff", "#0b62c4", "rgba(11,98,196,0.07)", "#8b96a5", "#b45f06", "#a3338f"
)
DARK = Theme(
    "#e8ecf2", "#9aa5b4", "#2a323d", "#151b23", "#6cb4ff", "rgba(108,180,255,0.09)", "#748091", "#f2a65a", "#e08fd2"
)


def gather_front(trials: pd.DataFrame, info: StudyInfo, cost: str = "flops") -> FrontInfo:
    """Sorts the trials into those on the front, dominated, stopped and failed ones.

    Duplicates (they coincide with the trial they repeat), infeasible and unfinished trials are not drawn, nor is a trial
    whose cost is missing; a failed trial of known cost is, though it has no accuracy.
    """
    priced = originals(trials[trials[cost].notna()])
    on_front = front(priced, cost)
    complete = completed(priced[priced["accuracy"].notna()])
    stopped = priced[(priced["state"] == "stopped") & priced["accuracy"].notna()]
    return FrontInfo(
        name=info.name,
        cost=cost,
        front=_points(on_front, cost, "on the front"),
        dominated=_points(complete[~complete["number"].isin(on_front["number"])], cost, "dominated"),
        stopped=_points(stopped, cost, "stopped early"),
        failed=_points(priced[priced["state"] == "failed"], cost, "failed"),
    )


def _points(rows: pd.DataFrame, cost: str, kind: str) -> Points:
    decisions = decision_columns(rows)
    texts = [_hover(row, decisions, kind) for row in rows.to_dict("records")]
    accuracies = [] if kind == "failed" else floats(rows, "accuracy").tolist()
    return Points([int(number) for number in rows["number"]], floats(rows, cost).tolist(), accuracies, texts)


def _hover(row: dict[Any, Any], decisions: list[str], kind: str) -> str:
    """One trial's metrics and decisions as lines of HTML."""
    costs = [readable_cost(name, row[name]) for name in ("flops", "params", "latency_ms") if not is_missing(row[name])]
    effort = [] if is_missing(row["epochs"]) else [f"{int(row['epochs'])} epoch{'s' * (row['epochs'] != 1)}"]
    effort += [] if is_missing(row["seconds"]) else [duration(row["seconds"])]
    result = [] if is_missing(row["accuracy"]) else [f"accuracy {percent(row['accuracy'])}"]
    result += [] if is_missing(row["reward"]) else [f"reward {row['reward']:.3f}"]
    reason = "" if is_missing(row["failure"]) else f"{row['failure']}"[:200]
    facts = [" · ".join(part) for part in (result, costs, effort) if part]
    lines = decision_lines({name: row[name] for name in decisions})
    if len(lines) > _MAX_DECISION_LINES:
        lines = [*lines[: _MAX_DECISION_LINES - 1], "… the rest is in trials.csv"]
    texts = [*facts, *([reason] if reason else []), *([""] if lines else []), *lines]
    return "<br>".join([f"<b>Trial {row['number']}</b> · {kind}", *(_escaped(text) for text in texts)])


def _escaped(line: str) -> str:
    """A line as text in Plotly's HTML, its indentation kept."""
    indent = len(line) - len(line.lstrip(" "))
    return "&nbsp;" * indent + escape(line[indent:])


def draw_front(info: FrontInfo, theme: Theme = LIGHT) -> go.Figure:
    """Accuracy against cost on a log axis, the front as the stairs that bound what is dominated."""
    figure = go.Figure()
    styles = trace_styles(theme, len(info.dominated.numbers))
    for trace in (_area(info), *_markers(info)):
        figure.add_trace(go.Scatter({**trace, **styles[trace["meta"]]}))
    figure.update_layout(_layout(info))
    figure.update_layout(**{key.replace(".", "_"): value for key, value in layout_style(theme).items()})
    return figure


def _area(info: FrontInfo) -> dict[str, Any]:
    """The stairs: from each point on the front level to the next cost, then up; the last level runs to the right end."""
    costs, accuracies = list(info.front.costs), list(info.front.accuracies)
    everything = [*costs, *info.dominated.costs, *info.stopped.costs, *info.failed.costs]
    if costs and max(everything) > costs[-1]:
        costs, accuracies = [*costs, max(everything)], [*accuracies, accuracies[-1]]
    return {
        "meta": "area",
        "x": costs,
        "y": accuracies,
        "mode": "lines",
        "fill": "tozeroy",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _markers(info: FrontInfo) -> list[dict[str, Any]]:
    """One trace a kind, the front last so that it lies on top. Failed trials stand at the bottom edge."""
    traces = []
    for kind, label in (
        ("failed", "Failed"),
        ("stopped", "Stopped early"),
        ("dominated", "Dominated"),
        ("front", "Front"),
    ):
        points: Points = getattr(info, kind)
        heights = {"y": [0.015] * len(points.numbers), "yaxis": "y2"} if kind == "failed" else {"y": points.accuracies}
        traces.append(
            {
                "meta": kind,
                "name": f"{label} ({len(points.numbers)})",
                "x": points.costs,
                **heights,
                "customdata": points.numbers,
                "hovertext": points.texts,
                "hoverinfo": "text",
                "mode": "markers",
                "cliponaxis": False,
            }
        )
    return traces


def trace_styles(theme: Theme, num_dominated: int) -> dict[str, dict[str, Any]]:
    """The colours and symbols of each kind of trace, by its `meta`; the more trials, the smaller and fainter their marks."""
    scale = min(1.0, (300 / max(1, num_dominated)) ** 0.25)
    marks = {
        "front": ("circle", 11 * scale, theme.front, _rim(theme.paper, 2 * scale), 1.0),
        "dominated": ("circle-open", 7 * scale, theme.dominated, _rim(theme.dominated, 1.4 * scale), scale),
        "stopped": ("triangle-down-open", 8 * scale, theme.stopped, _rim(theme.stopped, 1.5 * scale), 1.0),
        "failed": ("x-thin", 7 * scale, theme.failed, _rim(theme.failed, 1.8 * scale), 1.0),
    }
    styles: dict[str, dict[str, Any]] = {
        kind: {"marker": {"symbol": symbol, "size": size, "color": colour, "opacity": opacity, **rim}}
        for kind, (symbol, size, colour, rim, opacity) in marks.items()
    }
    styles["area"] = {"line": {"color": theme.front, "width": 2, "shape": "hv"}, "fillcolor": theme.area}
    return styles


def _rim(colour: str, width: float) -> dict[str, Any]:
    return {"line": {"color": colour, "width": width}}


def layout_style(theme: Theme) -> dict[str, Any]:
    """The colours of the layout, as dotted keys of Plotly's layout."""
    label = {"bgcolor": theme.paper, "bordercolor": theme.grid, "font.color": theme.ink}
    colours: dict[str, Any] = {"paper_bgcolor": theme.paper, "plot_bgcolor": theme.paper, "font.color": theme.muted}
    for axis in ("xaxis", "yaxis"):
        colours |= {f"{axis}.gridcolor": theme.grid, f"{axis}.linecolor": theme.grid, f"{axis}.tickcolor": theme.grid}
    return colours | {f"hoverlabel.{key}": value for key, value in label.items()}


def _layout(info: FrontInfo) -> dict[str, Any]:
    axis = {"zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4, "automargin": True}
    title = {"font": {"size": 13}, "standoff": 10}
    return {
        "template": "none",
        "font": {"family": _FONT, "size": 13},
        "title": {"text": escape(info.name)},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1, "font": {"family": _FONT, "size": 12.5}},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "traceorder": "reversed"},
        "margin": {"l": 8, "r": 16, "t": 60, "b": 8},
        "xaxis": {**axis, **_cost_axis(info), "title": {"text": COST_LABELS.get(info.cost, info.cost), **title}},
        "yaxis": {**axis, "tickformat": ".0%", "range": accuracy_range(info), "title": {"text": "Accuracy", **title}},
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    }


def _cost_axis(info: FrontInfo) -> dict[str, Any]:
    """A log axis over all costs, with room at its ends, and labels at 1, 2 and 5 where they have the room."""
    low, high = cost_range(info)
    spread = math.log10(high / low)
    # Plotly's own choice labels all of 1 to 9, one upon another; far or near it is right.
    ticks = {"dtick": "D2"} if 0.7 < spread < 3.5 else {}
    return {"type": "log", "tickformat": "~s", "range": [math.log10(low), math.log10(high)], **ticks}


def cost_range(info: FrontInfo) -> tuple[float, float]:
    """What the cost axis shows at first: every point, and some room beside the first and the last."""
    seen = [cost for points in (info.front, info.dominated, info.stopped, info.failed) for cost in points.costs]
    low, high = (min(seen), max(seen)) if seen else (1e5, 1e7)
    room = max((high / low) ** 0.03, 1.02)
    return low / room, high * room


def accuracy_range(info: FrontInfo) -> list[float]:
    """What the accuracy axis shows at first: every point, with room below for the failed trials' marks."""
    seen = [*info.front.accuracies, *info.dominated.accuracies, *info.stopped.accuracies] or [0.0, 1.0]
    low, high = min(seen), max(seen)
    room = max(high - low, 0.02)
    return [low - 0.08 * room, high + 0.06 * room]


def figure_summary(info: FrontInfo) -> str:
    """The chart in one sentence, for those who cannot see it."""
    if not info.front.numbers:
        return f"Accuracy against {COST_LABELS.get(info.cost, info.cost)}: no trial is complete yet."
    first, last = info.front, len(info.front.numbers) - 1
    return (
        f"Accuracy against {COST_LABELS.get(info.cost, info.cost)}: a front of {last + 1} from "
        f"{percent(first.accuracies[0])} at {readable(first.costs[0])} to {percent(first.accuracies[last])} at "
        f"{readable(first.costs[last])}; {len(info.dominated.numbers)} dominated, {len(info.stopped.numbers)} stopped "
        f"early, {len(info.failed.numbers)} failed."
    )
