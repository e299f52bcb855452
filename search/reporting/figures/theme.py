"""Colours, type and axes that all figures share."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
WEBGL_FROM = 1000
"""Points from which on a figure is drawn by the graphics card: below it SVG is sharper, and as fast."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
"""What tells lines and points of a comparison apart without colour."""


@dataclass(frozen=True)
class Theme:
    """Colours of a figure, no two of them equal, so that one theme's can be replaced by another's.

    Kinds of trials differ in symbol too, so colours may look alike to someone.
    """

    ink: str
    muted: str
    grid: str
    paper: str
    ground: str
    front: str
    area: str
    dominated: str
    stopped: str
    failed: str
    infeasible: str
    reference: str
    faint: str
    low: str
    middle: str
    high: str
    series: tuple[str, ...]
    band_opacity: float

    @property
    def bands(self) -> tuple[str, ...]:
        """The colours of the series as a band takes them, so faint that lines below it are seen."""
        parts = ([int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in self.series)
        return tuple(f"rgba({r},{g},{b},{self.band_opacity})" for r, g, b in parts)


LIGHT = Theme(
    ink="#1b2430",
    muted="#5b6675",
    grid="#e6e9ee",
    paper="#ffffff",
    ground="#f4f6f9",
    front="#0b62c4",
    area="rgba(11,98,196,0.07)",
    dominated="#8b96a5",
    stopped="#b45f06",
    failed="#a3338f",
    infeasible="#77706a",
    reference="#0f7b52",
    faint="rgba(120,132,148,0.30)",
    low="#c9d3df",
    middle="#5f9bd8",
    high="#0a3f80",
    series=("#1f6fd0", "#c8500a", "#117a55", "#9a2f88", "#7a6500", "#5a4fcf"),
    band_opacity=0.14,
)
DARK = Theme(
    ink="#e8ecf2",
    muted="#9aa5b4",
    grid="#2a323d",
    paper="#151b23",
    ground="#0d1117",
    front="#6cb4ff",
    area="rgba(108,180,255,0.09)",
    dominated="#748091",
    stopped="#f2a65a",
    failed="#e08fd2",
    infeasible="#a39b93",
    reference="#5ccf9d",
    faint="rgba(150,162,178,0.28)",
    low="#38424f",
    middle="#4f8fd0",
    high="#b8dcff",
    series=("#74b6ff", "#ff9a57", "#5ed3a5", "#ea9ade", "#dcc451", "#aaa2ff"),
    band_opacity=0.17,
)


def colours(theme: Theme) -> list[str]:
    """All colours of a theme, in one order for every theme."""
    single = [value for value in vars(theme).values() if isinstance(value, str)]
    return [*single, *theme.series, *theme.bands]


def figure(
    theme: Theme, traces: Sequence[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], **layout: Any
) -> go.Figure:
    """A figure of these traces.

    Args:
        theme: its colours.
        traces: as Plotly describes them, by their `type`.
        x: of the axis, beside what all axes share.
        y: likewise.
        layout: other parts of Plotly's layout; a mapping adds to what all figures share.
    """
    shared: dict[str, Any] = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": theme.muted},
        "paper_bgcolor": theme.paper,
        "plot_bgcolor": theme.paper,
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "namelength": -1,
            "bgcolor": theme.paper,
            "bordercolor": theme.grid,
            "font": {"family": FONT, "size": 12.5, "color": theme.ink},
        },
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "font": {"color": theme.ink}},
        "margin": {"l": 8, "r": 16, "t": 44, "b": 8},
        "uirevision": "kept",  # what a reader has enlarged stays so when the figure is drawn anew
        "xaxis": axis(theme, **x),
        "yaxis": axis(theme, **y),
    }
    for key, value in layout.items():
        shared[key] = {**shared.get(key, {}), **value} if isinstance(value, dict) else value
    # all at once: Plotly takes ten times as long to change a figure as to make one
    return go.Figure(data=list(traces), layout=shared)


def axis(theme: Theme, title: str = "", **more: Any) -> dict[str, Any]:
    """One axis of a figure."""
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 10},
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "gridcolor": theme.grid,
        "linecolor": theme.grid,
        "tickcolor": theme.grid,
        **more,
    }


def scatter(num_points: int, **trace: Any) -> dict[str, Any]:
    """A scatter trace, drawn by the graphics card where it is a large one."""
    if num_points < WEBGL_FROM:
        return {"type": "scatter", **trace}
    trace.pop("cliponaxis", None)
    return {"type": "scattergl", **trace}


def joined(lines: Sequence[Sequence[Any]]) -> list[Any]:
    """Several lines as the values of one trace, with gaps between them."""
    values: list[Any] = []
    for line in lines:
        values += [*line, None]
    return values[:-1]


def plain(text: str, width: int = 60) -> str:
    """A study's text as Plotly shows it: escaped, on one line, cut where it is very long."""
    text = " ".join(text.split())
    return escape(text if len(text) <= width else text[: width - 1] + "…")
