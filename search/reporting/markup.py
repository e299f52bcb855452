"""Parts of a study's page as HTML: its facts, its legend, its front as a table. What a study says is escaped."""

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from search.objective.costs import Cost
from search.reporting.figures import FrontInfo
from search.reporting.tables import (
    StudyInfo,
    accuracy_of,
    best_trial,
    count_states,
    front,
    split_decisions,
    spread_of,
    table_hypervolume,
)
from search.reporting.text import (
    STATE_WORDS,
    decision_text,
    group_decisions,
    is_missing,
    percent,
    readable_cost,
    readable_number,
    unbroken,
)

_SYMBOLS = {  # the markers of the figure, drawn again for the legend
    "front": '<circle cx="8" cy="8" r="5.5" fill="var(--front)"/>',
    "dominated": '<circle cx="8" cy="8" r="3.8" fill="none" stroke="var(--dominated)" stroke-width="1.6"/>',
    "reference": '<path d="M8 2l5.5 6L8 14 2.5 8z" fill="var(--reference)"/>',
    "stopped": '<path d="M3 4.5h10L8 13z" fill="none" stroke="var(--stopped)" stroke-width="1.6"/>',
    "failed": '<path d="M4 4l8 8M12 4l-8 8" stroke="var(--failed)" stroke-width="1.9"/>',
    "infeasible": '<path d="M8 3v10" stroke="var(--infeasible)" stroke-width="1.9"/>',
}
_KINDS = {
    "front": "Front",
    "dominated": "Dominated",
    "reference": "Reference networks",
    "stopped": "Stopped early",
    "failed": "Failed",
    "infeasible": "Outside the limits",
}
HIDDEN_AT_FIRST = ("infeasible",)
"""Kinds of trials that a reader must ask for."""
_MEASURED = Cost(None, unit="ms", label="Measured (ms)")
_MAX_OPEN = 8
"""Rows of the front's table that are shown without being asked for."""


def facts(trials: pd.DataFrame, info: StudyInfo) -> str:
    """The study in four figures."""
    return "\n".join(_fact(*fact) for fact in _facts(trials, info))


def legend(chart: FrontInfo) -> str:
    """A button for each kind of trial; kinds that most studies do not have are there where they occur."""
    names = [kind for kind in _KINDS if kind not in ("reference", "infeasible") or getattr(chart, kind).numbers]
    return "\n".join(_legend_entry(kind, len(getattr(chart, kind).numbers)) for kind in names)


def _facts(trials: pd.DataFrame, info: StudyInfo) -> list[tuple[str, str, str]]:
    """The study in four figures: name, figure, and a note in smaller type."""
    counts = count_states(trials)
    states = ", ".join(unbroken(f"{count} {STATE_WORDS[state]}") for state, count in counts.items())
    cost, high = info.objective.cost, info.cost_range[1]
    best, members = best_trial(trials, cost), front(trials, cost)
    reached = "no trial is complete yet" if best is None else f"trial {best['number']}, {_costs_of(best, info)}"
    spread = "" if members.empty else unbroken(readable_cost(info.traded, members[cost].iloc[-1]))
    if len(members) > 1:
        spread = f"{unbroken(readable_number(info.traded, members[cost].iloc[0]))} to {spread}"
    bounds = f"log cost under {unbroken(readable_cost(info.traded, high))}, accuracy above {info.chance:.0%}"
    return [
        ("Trials", str(len(trials)), states),
        ("Best accuracy", "-" if best is None else percent(accuracy_of(best)), reached),
        ("On the front", str(len(members)), spread),
        ("Hypervolume", f"{table_hypervolume(trials, info):.4g}", bounds),
    ]


def _costs_of(trial: "pd.Series[Any]", info: StudyInfo) -> str:
    named = (name for name in dict.fromkeys((info.objective.cost, "flops", "params")) if not is_missing(trial[name]))
    return ", ".join(unbroken(readable_cost(info.costs[name], trial[name])) for name in named)


def _fact(name: str, figure: str, note: str) -> str:
    return f'<div><dt>{name}</dt><dd class="figure">{escape(figure)}</dd><dd class="note">{escape(note)}</dd></div>'


def _legend_entry(kind: str, count: int) -> str:
    symbol = f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SYMBOLS[kind]}</svg>'
    label = f'{_KINDS[kind]} <span class="count">{count}</span>'
    pressed = "false" if kind in HIDDEN_AT_FIRST else "true"
    return f'<button type="button" data-kind="{kind}" aria-pressed="{pressed}">{symbol}<span>{label}</span></button>'


def front_table(members: pd.DataFrame, costs: Mapping[str, Cost]) -> str:
    """The front as an HTML table: metrics, and the decisions in which its members differ; below it what they share.

    Args:
        members: the front.
        costs: the costs that have a column.
    """
    if members.empty:
        return '<p class="empty">No trial is complete yet.</p>'
    differ, shared = split_decisions(members)
    quantities = list(costs)
    if "latency_ms" in costs and "measured_ms" in members and members["measured_ms"].notna().any():
        quantities.insert(quantities.index("latency_ms") + 1, "measured_ms")
    words = {**costs, "measured_ms": _MEASURED}
    names = [escape(words[name].short) for name in quantities]
    labels = ["Trial", "Accuracy", *names, "Reward"]
    head = "".join(f'<th scope="col">{label}</th>' for label in [*labels, "Decisions in which they differ"])
    rows = "\n".join(
        _front_row(row, {name: words[name] for name in quantities}, labels, differ)
        for row in members.to_dict("records")
    )
    table = f'<table class="front"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    if shared:
        table += f'\n<div class="shared"><p>Shared by all of them</p>{_groups(shared)}</div>'
    summary = f"The front as a table ({len(members)})"
    return f"<details{' open' * (len(members) <= _MAX_OPEN)}><summary>{summary}</summary>\n{table}</details>"


def _front_row(row: Mapping[Any, Any], quantities: Mapping[str, Cost], labels: list[str], differ: list[str]) -> str:
    number = f'<button type="button" class="link" data-trial="{row["number"]}">{row["number"]}</button>'
    accuracy, spread = accuracy_of(row), spread_of(row).replace("± ", "±\u00a0")
    shown = [
        ("trial", row["number"], number),
        ("accuracy", accuracy, percent(accuracy) + spread),
        *((name, row[name], readable_number(cost, row[name])) for name, cost in quantities.items()),
        ("reward", row["reward"], "-" if is_missing(row["reward"]) else f"{row['reward']:.3f}"),
    ]
    cells = [
        f'<td class="figure {name}" data-label="{label}" data-value="{value}">{text}</td>'
        for label, (name, value, text) in zip(labels, shown, strict=True)
    ]
    name = "" if is_missing(row.get("name")) else f"<span><b>{escape(str(row['name']))}</b></span>"
    decisions = _groups({name: row[name] for name in differ}, name)
    return f'<tr>{"".join(cells)}<td class="decisions">{decisions}</td></tr>'


def _groups(decisions: Mapping[str, Any], before: str = "") -> str:
    """Decisions as escaped HTML, one span for each part of the network."""
    spans = [before]
    for group, pairs in group_decisions(decisions).items():
        name = f"<b>{escape(group)}</b> " if group else ""
        spans.append(f"<span>{name}{escape(decision_text('', pairs))}</span>")
    return f'<div class="groups">{"".join(spans)}</div>'
