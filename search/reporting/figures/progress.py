"""How a search went: the hypervolume it reached, its learning curves, and where its time went."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from search.objective.pareto import hypervolume_curve
from search.objective.reward import front_points, reference_point
from search.reporting.figures.front import KIND_WORDS
from search.reporting.figures.theme import LIGHT, Theme, figure, joined, scatter
from search.reporting.record import Record, active_seconds, evaluated, kinds_of
from search.reporting.tables import floats, judged
from search.reporting.text import duration

MAX_CURVES = 300
"""Learning curves beside the front's; of more trials an even sample is shown."""


class HypervolumeInfo(NamedTuple):
    """The hypervolume in (log cost, accuracy) after each trained trial."""

    cost: str
    numbers: list[int]
    """The trials', in the order in which they ended."""
    seconds: list[float]
    """Wall time at which each ended, pauses left out; empty where it is not known."""
    volumes: list[float]


def gather_hypervolume(record: Record) -> HypervolumeInfo:
    """The hypervolume up to the study's recorded reference, trial by trial."""
    trials, info = evaluated(record), record.info
    accuracies = np.where(trials["state"] == "complete", judged(trials), np.nan)
    low, high = info.cost_range
    points = front_points(accuracies, floats(trials, info.objective.cost), low)
    volumes = hypervolume_curve(points, reference_point(high, info.chance))
    numbers = [int(number) for number in trials["number"]]
    known = all(number in record.spans for number in numbers)
    ends = [record.spans[number][1] for number in numbers] if known else []
    seconds = active_seconds(record.spans.values(), ends).tolist()
    return HypervolumeInfo(info.objective.cost, numbers, seconds, volumes.tolist())


def draw_hypervolume(info: HypervolumeInfo, over: str = "trials", theme: Theme = LIGHT) -> go.Figure:
    """The hypervolume as stairs, over "trials" or wall "time"."""
    x: list[float] = list(range(1, len(info.numbers) + 1))
    unit, title = "trials", "Trials trained"
    if over == "time":
        scale, unit = time_unit(info.seconds)
        x, title = [s / scale for s in info.seconds], f"Wall time ({unit})"
    volumes = info.volumes if len(x) == len(info.volumes) else []
    trace = {
        "type": "scatter",
        "meta": "hypervolume",
        "x": x,
        "y": volumes,
        "mode": "lines" if len(x) > 1 else "markers",
        "line": {"color": theme.front, "width": 2.2, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": theme.area,
        "customdata": info.numbers,
        "hovertemplate": f"<b>%{{y:.4g}}</b> after %{{x:.4~g}} {unit}<br>trial %{{customdata}}<extra></extra>",
    }
    return figure(
        theme,
        [trace],
        {"title": title, "rangemode": "tozero", "tickformat": "~g"},
        {"title": "Hypervolume", "rangemode": "tozero"},
        showlegend=False,
        margin={"t": 30},
    )


class CurvesInfo(NamedTuple):
    """Accuracy after each epoch."""

    numbers: dict[str, list[int]]
    """The trials' numbers by kind; those on the front last, so that they lie on top."""
    curves: dict[str, list[tuple[float, ...]]]
    """Their accuracies, in the same order."""
    num_left_out: int
    """Trials with a curve that are not shown, because there are too many."""


def gather_curves(record: Record) -> CurvesInfo:
    """The learning curves of trained trials: all on the front, and at most `MAX_CURVES` others."""
    kinds = kinds_of(record.trials, record.info.objective.cost)
    known = {kind: [n for n, k in kinds.items() if k == kind and record.curves.get(n)] for kind in _CURVE_KINDS}
    total = sum(len(numbers) for kind, numbers in known.items() if kind != "front")
    shown = dict(known)
    if total > MAX_CURVES:
        for kind in _CURVE_KINDS[:-1]:
            share = max(1, round(MAX_CURVES * len(known[kind]) / total))
            at = np.linspace(0, len(known[kind]) - 1, min(share, len(known[kind]))).round().astype(int)
            shown[kind] = [known[kind][i] for i in at]
    curves = {kind: [record.curves[n] for n in numbers] for kind, numbers in shown.items()}
    left_out = sum(len(known[kind]) - len(shown[kind]) for kind in known)
    return CurvesInfo(shown, curves, left_out)


_FEW_EPOCHS = 12
"""Up to so many each has its label: Plotly would put some between them."""
_LONE_SIZE = 5
_CURVE_KINDS = ("failed", "dominated", "stopped", "front")


def draw_curves(info: CurvesInfo, theme: Theme = LIGHT) -> go.Figure:
    """Accuracy over epochs, a line a trial; those that stopped early end in a triangle, failed ones in a cross."""
    traces = []
    lines = {
        "dominated": {"color": theme.faint, "width": 1},
        "stopped": {"color": theme.stopped, "width": 1},
        "failed": {"color": theme.failed, "width": 1},
        "front": {"color": theme.front, "width": 1.3},
    }
    ends = {"stopped": "triangle-down", "failed": "x-thin-open", "front": "circle", "dominated": "circle"}
    everything = [curve for curves in info.curves.values() for curve in curves]
    num_points, longest = sum(map(len, everything)), max(map(len, everything), default=0)
    for kind in _CURVE_KINDS:
        numbers, curves = info.numbers[kind], info.curves[kind]
        if not curves:
            continue
        traces.append(
            scatter(
                num_points,
                meta=kind,
                name=f"{KIND_WORDS[kind].capitalize()} ({len(numbers)})",
                x=joined([range(1, len(curve) + 1) for curve in curves]),
                y=joined(curves),
                customdata=joined([[n] * len(curve) for n, curve in zip(numbers, curves)]),
                mode="lines+markers",
                line=lines[kind],
                marker={
                    "symbol": ends[kind],
                    "color": lines[kind]["color"],
                    "size": _end_sizes(curves, 1 if kind == "dominated" else 6),
                    "line": {"width": 1.4 if kind == "failed" else 0},
                },
                hovertemplate="Trial %{customdata}: <b>%{y:.2%}</b> after epoch %{x}<extra></extra>",
            )
        )
    return figure(
        theme,
        traces,
        {"title": "Epoch", "tickformat": "d", **({"dtick": 1} if longest <= _FEW_EPOCHS else {})},
        {"title": "Validation accuracy", "tickformat": "~%"},
        legend={"traceorder": "reversed"},
    )


def _end_sizes(curves: Sequence[Sequence[float]], size: int) -> list[int]:
    """Of joined curves' marks: only the last of each has any; a curve of one point, which has no line, a visible one."""
    sizes = [s for c in curves for s in (*[0] * (len(c) - 1), max(size, _LONE_SIZE) if len(c) == 1 else size, 0)]
    return sizes[:-1]


class Bar(NamedTuple):
    """One trial on the time line."""

    number: int
    kind: str
    lane: int
    """The worker, as far as can be told: trials that overlap by more than `_BOOKING_S` are in different lanes."""
    start: float
    end: float
    """Seconds of wall time since the first trial began, pauses left out."""


class EffortInfo(NamedTuple):
    """Where the workers' time went."""

    seconds: dict[str, float]
    """By kind of trial, and "between" for what passed between trials."""
    counts: dict[str, int]
    bars: list[Bar]


_BETWEEN = "between"
_BOOKING_S = 0.2
"""A worker's next trial may begin this long before the last one's end is recorded."""


def gather_effort(record: Record) -> EffortInfo:
    """Worker time by what became of the trials, and the time line they make."""
    kinds = kinds_of(record.trials, record.info.objective.cost)
    spans = {n: record.spans[n] for n, kind in kinds.items() if n in record.spans and kind != "infeasible"}
    ordered = sorted(spans, key=lambda n: spans[n])
    starts = active_seconds(spans.values(), [spans[n][0] for n in ordered]).tolist()
    ends = active_seconds(spans.values(), [spans[n][1] for n in ordered]).tolist()
    lanes: list[float] = []
    bars = []
    for number, start, end in zip(ordered, starts, ends):
        free = [i for i, until in enumerate(lanes) if until <= start + _BOOKING_S]
        lane = free[0] if free else len(lanes)
        lanes[lane : lane + 1] = [end]
        bars.append(Bar(number, kinds[number], lane, start, end))
    shown = ("front", "dominated", "stopped", "failed")
    seconds = {kind: sum(b.end - b.start for b in bars if b.kind == kind) for kind in shown}
    counts = {kind: sum(b.kind == kind for b in bars) for kind in shown}
    seconds[_BETWEEN] = max(0.0, len(lanes) * max(ends, default=0.0) - sum(seconds.values()))
    return EffortInfo(seconds, counts, bars)


def draw_effort(info: EffortInfo, theme: Theme = LIGHT) -> go.Figure:
    """A bar for each kind of trial: its share of the workers' time."""
    total = sum(info.seconds.values()) or 1.0
    words = {**KIND_WORDS, _BETWEEN: "between trials"}
    colours = {
        "front": theme.front,
        "dominated": theme.dominated,
        "stopped": theme.stopped,
        "failed": theme.failed,
        _BETWEEN: theme.low,
    }
    kinds = [kind for kind, seconds in info.seconds.items() if seconds > 0]
    labels = [f"{words[k].capitalize()}" + (f" ({info.counts[k]})" if k in info.counts else "") for k in kinds]
    shares = [info.seconds[kind] / total for kind in kinds]
    bars = {
        "type": "bar",
        "meta": "effort",
        "orientation": "h",
        "y": labels,
        "x": shares,
        "text": [f" {share:.0%} · {duration(info.seconds[kind])}" for share, kind in zip(shares, kinds)],
        "textposition": "outside",
        "textfont": {"color": theme.ink},
        "marker": {"color": [colours[kind] for kind in kinds]},
        "customdata": [info.seconds[kind] for kind in kinds],
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
    return figure(
        theme,
        [bars],
        {
            "title": "Share of the workers' time",
            "tickformat": "~%",
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "range": [0, 1.45 * max(shares, default=1)],
        },
        {"autorange": "reversed", "showline": False, "tickcolor": theme.paper, "ticklen": 6},
        showlegend=False,
        margin={"t": 12},
        bargap=0.35,
    )


def draw_timeline(info: EffortInfo, theme: Theme = LIGHT) -> go.Figure:
    """Every trial as a bar from its start to its end, one row for each that ran at the same time."""
    scale, unit = time_unit([bar.end for bar in info.bars])
    num_lanes = 1 + max((bar.lane for bar in info.bars), default=0)
    traces = []
    width = max(3, min(18, 140 / num_lanes))
    colours = {"front": theme.front, "dominated": theme.dominated, "stopped": theme.stopped, "failed": theme.failed}
    for kind, colour in colours.items():
        bars = [bar for bar in info.bars if bar.kind == kind]
        if bars:
            traces.append(
                scatter(
                    2 * len(info.bars),
                    meta=kind,
                    name=KIND_WORDS[kind].capitalize(),
                    x=joined([(round(bar.start / scale, 4), round(bar.end / scale, 4)) for bar in bars]),
                    y=joined([(bar.lane + 1,) * 2 for bar in bars]),
                    customdata=joined([(bar.number,) * 2 for bar in bars]),
                    mode="lines",
                    line={"color": colour, "width": width},
                    hovertemplate=f"<b>Trial %{{customdata}}</b> · {KIND_WORDS[kind]}<extra></extra>",
                )
            )
    return figure(
        theme,
        traces,
        {"title": f"Wall time ({unit})", "rangemode": "tozero", "tickformat": "~g"},
        {"title": "Worker", "tickformat": "d", "dtick": max(1, num_lanes // 8), "range": [num_lanes + 0.5, 0.5]},
        legend={"traceorder": "normal"},
    )


def time_unit(seconds: Sequence[float]) -> tuple[float, str]:
    """The unit in which lengths of time are read best.

    Returns:
        (seconds in it, its name).
    """
    longest = max(seconds, default=0.0)
    return (3600.0, "hours") if longest >= 7200 else (60.0, "minutes") if longest >= 120 else (1.0, "seconds")
