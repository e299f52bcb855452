"""The page of a study: one file that shows its front to anyone with a browser, offline."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from search.reporting.figures import (
    DARK,
    LIGHT,
    FrontInfo,
    draw_front,
    figure_summary,
    gather_front,
    layout_style,
    trace_styles,
)
from search.reporting.files import replace_file
from search.reporting.tables import (
    StudyInfo,
    best_trial,
    count_states,
    front,
    known_costs,
    split_decisions,
    table_hypervolume,
)
from search.reporting.text import (
    COST_LABELS,
    STATE_WORDS,
    decision_text,
    describe_objective,
    group_decisions,
    percent,
    readable,
    readable_cost,
    unbroken,
)

_HERE = Path(__file__).parent
_SYMBOLS = {  # the markers of the figure, drawn again for the legend
    "front": '<circle cx="8" cy="8" r="5.5" fill="var(--front)"/>',
    "dominated": '<circle cx="8" cy="8" r="3.8" fill="none" stroke="var(--dominated)" stroke-width="1.6"/>',
    "stopped": '<path d="M3 4.5h10L8 13z" fill="none" stroke="var(--stopped)" stroke-width="1.6"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8" stroke="var(--failed)" stroke-width="1.9"/>',
}
_KINDS = {"front": "Front", "dominated": "Dominated", "stopped": "Stopped early", "failed": "Failed"}


def write_page(trials: pd.DataFrame, path: Path, info: StudyInfo) -> None:
    """Writes the study's page, a single HTML file that asks the network for nothing.

    It shows accuracy against FLOPs with the front, and the front as a table. Names and decisions are shown as text,
    whatever they contain.

    Args:
        trials: the trials table, of any length, none included.
        path: the file, replaced whole.
        info: what else is said of the study.

    Raises:
        OSError: the file cannot be written.
    """
    chart = gather_front(trials, info)
    themes = {name: asdict(theme) for name, theme in (("light", LIGHT), ("dark", DARK))}
    colours = {f"{name}.{key}": value for name, theme in themes.items() for key, value in theme.items()}
    style = _fill((_HERE / "page.css").read_text(encoding="utf-8"), colours)
    parts = {
        "title": escape(f"{info.name} · Pareto front"),
        "style": style,
        "name": escape(info.name),
        "objective": escape(" · ".join(unbroken(part) for part in describe_objective(info.objective).split(" · "))),
        "facts": "\n".join(_fact(*fact) for fact in _facts(trials, info)),
        "chart_title": "Accuracy against FLOPs",
        "chart_summary": escape(figure_summary(chart)),
        "legend": "\n".join(_legend_entry(kind, len(getattr(chart, kind).numbers)) for kind in _KINDS),
        "front": _front_table(front(trials, "flops"), known_costs(trials)),
        "data": _embedded(_chart_data(chart)),
        "plotly": get_plotlyjs(),
        "script": (_HERE / "page.js").read_text(encoding="utf-8"),
    }
    replace_file(path, _fill((_HERE / "page.html").read_text(encoding="utf-8"), parts))


def _fill(template: str, parts: Mapping[str, str]) -> str:
    """The template with its {{names}} replaced, once: what is put in is not looked at again."""
    return re.sub(r"\{\{([\w.]+)\}\}", lambda match: parts[match[1]], template)


def _embedded(data: Any) -> str:
    """JSON that may stand inside a script element: no character in it can end the element or begin another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chart_data(chart: FrontInfo) -> dict[str, Any]:
    """The figure, with the colours of both themes beside it."""
    figure = draw_front(chart)
    # The page has its own heading and legend, in type that wraps.
    figure.update_layout(title=None, showlegend=False, margin={"l": 4, "r": 16, "t": 34, "b": 4})
    themes = {
        name: {"traces": trace_styles(theme, len(chart.dominated.numbers)), "layout": layout_style(theme)}
        for name, theme in (("light", LIGHT), ("dark", DARK))
    }
    return {"figure": json.loads(figure.to_json()), "themes": themes}


def _facts(trials: pd.DataFrame, info: StudyInfo) -> list[tuple[str, str, str]]:
    """The study in four figures: name, figure, and a note in smaller type."""
    counts = count_states(trials)
    states = ", ".join(unbroken(f"{count} {STATE_WORDS[state]}") for state, count in counts.items())
    best, members = best_trial(trials), front(trials, "flops")
    cost, high = info.objective.cost, info.cost_range[1]
    reached = "no trial is complete yet" if best is None else f"trial {best['number']}, {_costs_of(best)}"
    spread = "" if members.empty else unbroken(readable(members["flops"].iloc[0]))
    if len(members) > 1:
        spread += f" to {unbroken(readable(members['flops'].iloc[-1]))}"
    bounds = f"log cost under {unbroken(readable_cost(cost, high))}, accuracy above {info.chance:.0%}"
    return [
        ("Trials", str(len(trials)), states),
        ("Best accuracy", "-" if best is None else percent(best["accuracy"]), reached),
        ("On the front", str(len(members)), f"{spread} FLOPs" if spread else ""),
        ("Hypervolume", f"{table_hypervolume(trials, info):.4g}", bounds),
    ]


def _costs_of(trial: "pd.Series[Any]") -> str:
    return ", ".join(unbroken(readable_cost(cost, trial[cost])) for cost in ("flops", "params"))


def _fact(name: str, figure: str, note: str) -> str:
    return f'<div><dt>{name}</dt><dd class="figure">{escape(figure)}</dd><dd class="note">{escape(note)}</dd></div>'


def _legend_entry(kind: str, count: int) -> str:
    symbol = f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SYMBOLS[kind]}</svg>'
    label = f'{_KINDS[kind]} <span class="count">{count}</span>'
    return f'<button type="button" data-kind="{kind}" aria-pressed="true">{symbol}<span>{label}</span></button>'


def _front_table(members: pd.DataFrame, costs: list[str]) -> str:
    """The front as an HTML table: metrics, and the decisions in which its members differ; below it what they share."""
    if members.empty:
        return '<p class="empty">No trial is complete yet.</p>'
    differ, shared = split_decisions(members)
    labels = ["Trial", "Accuracy", *(COST_LABELS[cost].partition(" (")[0] for cost in costs), "Reward"]
    if "latency_ms" in costs:
        labels[2 + costs.index("latency_ms")] = COST_LABELS["latency_ms"]
    head = "".join(f'<th scope="col">{label}</th>' for label in [*labels, "Decisions in which they differ"])
    rows = "\n".join(_front_row(row, costs, labels, differ) for row in members.to_dict("records"))
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    if not shared:
        return table
    return f'{table}\n<div class="shared"><p>Shared by all of them</p>{_groups(shared)}</div>'


def _front_row(row: Mapping[Any, Any], costs: list[str], labels: list[str], differ: list[str]) -> str:
    shown = [
        ("trial", row["number"], str(row["number"])),
        ("accuracy", row["accuracy"], percent(row["accuracy"])),
        *((cost, row[cost], f"{row[cost]:.3g}" if cost == "latency_ms" else readable(row[cost])) for cost in costs),
        ("reward", row["reward"], f"{row['reward']:.3f}"),
    ]
    cells = [
        f'<td class="figure {name}" data-label="{label}" data-value="{value}">{text}</td>'
        for label, (name, value, text) in zip(labels, shown, strict=True)
    ]
    decisions = _groups({name: row[name] for name in differ})
    return f'<tr>{"".join(cells)}<td class="decisions">{decisions}</td></tr>'


def _groups(decisions: Mapping[str, Any]) -> str:
    """Decisions as escaped HTML, one span for each part of the network."""
    spans = []
    for group, pairs in group_decisions(decisions).items():
        name = f"<b>{escape(group)}</b> " if group else ""
        spans.append(f"<span>{name}{escape(decision_text('', pairs))}</span>")
    return f'<div class="groups">{"".join(spans)}</div>'
