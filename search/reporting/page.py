"""The page of a study: one file that shows all of it to anyone with a browser, offline."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from search.commands import export_command, hyperparameters, train_command
from search.reporting.figures import (
    DARK,
    LIGHT,
    CurvesInfo,
    EffortInfo,
    FrontInfo,
    ImportanceInfo,
    OptionsInfo,
    draw_curves,
    draw_effort,
    draw_front,
    draw_hypervolume,
    draw_importance,
    draw_options,
    draw_parallel,
    draw_timeline,
    figure_summary,
    gather_curves,
    gather_effort,
    gather_front,
    gather_hypervolume,
    gather_importance,
    gather_options,
    gather_parallel,
)
from search.reporting.figures.decisions import LEAST_TRIALS, short_name
from search.reporting.figures.theme import colours
from search.reporting.files import replace_file
from search.reporting.networks import DrawnLayer, read_network
from search.reporting.record import Record, kinds_of
from search.reporting.tables import (
    accuracy_of,
    best_trial,
    count_states,
    decision_columns,
    front,
    known_costs,
    split_decisions,
    table_hypervolume,
)
from search.reporting.text import (
    COST_WORDS,
    STATE_WORDS,
    decision_text,
    describe_objective,
    group_decisions,
    is_missing,
    percent,
    plain_value,
    readable,
    readable_cost,
    unbroken,
)

HERE = Path(__file__).parent
SCRIPTS = ("network.js", "table.js", "page.js")
"""What draws the page in the browser, in the order in which it is read."""

SLOW_FRAGMENTS = ("options", "importance", "curves")
"""Parts of the page's text that come with the chart of the same name."""

_FILES = 'The same in tables: <a href="trials.csv">trials.csv</a>, one row a trial; <a href="front.csv">front.csv</a>, the front.'
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
_HIDDEN_AT_FIRST = ("infeasible",)
_MAX_OPEN = 8
"""Rows of the front's table that are shown without being asked for."""
_PLACEHOLDER = "trial-0000-0000000000000000"


def write_page(record: Record, path: Path) -> None:
    """Writes the study's page, a single HTML file that asks the network for nothing.

    Names and decisions are shown as text, whatever they contain.

    Args:
        record: the study, with any number of trials, none included.
        path: the file, replaced whole; the study's tables and its `front/` are beside it.

    Raises:
        OSError: the file cannot be written.
    """
    page = StudyPage(record, path.parent)
    first = page.first_figure
    others = (_script(f"figure {name}", page.figure(name)) for name in page.figure_names() if name != first)
    parts = {
        "title": escape(f"{record.info.name} · Pareto front"),
        "style": stylesheet(),
        "body": page.body(),
        "settings": embedded(page.settings()),
        "first": first,
        "first_figure": embedded(page.figure(first)),
        "plotly": get_plotlyjs(),
        "script": "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "model": embedded(page.model()),
        "figures": "\n".join(others),
    }
    replace_file(path, fill((HERE / "page.html").read_text(encoding="utf-8"), parts))


def stylesheet() -> str:
    """The page's style, with the colours of its figures."""
    themes = {"light": LIGHT, "dark": DARK}
    named = {
        f"{name}.{key}": value
        for name, theme in themes.items()
        for key, value in vars(theme).items()
        if isinstance(value, str)
    }
    return fill((HERE / "page.css").read_text(encoding="utf-8"), named)


def fill(template: str, parts: Mapping[str, str]) -> str:
    """The template with its {{names}} replaced, once: what is put in is not looked at again."""
    return re.sub(r"\{\{([\w.]+)\}\}", lambda match: parts[match[1]], template)


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element: no character in it can end the element or begin another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script(name: str, data: Any) -> str:
    return f'<script type="application/json" id="{escape(name)}">{embedded(data)}</script>'


class StudyPage:
    """The parts of a study's page, each made when it is asked for: all of them for a file, some of them while it is live.

    Args:
        record: the study.
        folder: where its files are; commands name them from the current directory.
    """

    def __init__(self, record: Record, folder: Path) -> None:
        self.record = record
        self._folder = folder
        self._info = record.info
        self.costs = known_costs(record.trials) or [record.info.objective.cost]
        objective_cost = record.info.objective.cost
        self.first_cost = objective_cost if objective_cost in self.costs else self.costs[0]
        self.first_figure = f"front:{self.first_cost}"
        """The chart that stands first on the page."""
        self._fronts: dict[str, FrontInfo] = {}

    def _front(self, cost: str) -> FrontInfo:
        if cost not in self._fronts:
            self._fronts[cost] = gather_front(self.record, cost, hover=False)
        return self._fronts[cost]

    @cached_property
    def _importance(self) -> ImportanceInfo:
        return gather_importance(self.record)

    @cached_property
    def _curves(self) -> CurvesInfo:
        return gather_curves(self.record)

    @cached_property
    def _options(self) -> dict[str, dict[str, OptionsInfo]]:
        """By cost, then by a key that stays the trait's or decision's own while more of them come."""
        positions = {name: str(position) for position, name in enumerate(decision_columns(self.record.trials))}
        return {
            cost: {
                f"with {info.decision}" if info.is_trait else positions[info.decision]: info
                for info in gather_options(self.record, cost)
            }
            for cost in self.costs
        }

    @cached_property
    def _effort(self) -> EffortInfo:
        return gather_effort(self.record)

    def figure_names(self) -> Iterator[str]:
        """What `figure` knows."""
        for cost in self.costs:
            yield f"front:{cost}"
            for key in self._options[cost]:
                yield f"options:{cost}:{key}"
        yield from ("importance", "parallel", "hypervolume:trials", "hypervolume:time", "curves", "effort", "timeline")

    def figure(self, name: str) -> dict[str, Any]:
        """One of the page's figures as data.

        Raises:
            KeyError: there is none of this name.
        """
        kind, _, rest = name.partition(":")
        data = self._drawn(kind, rest).to_plotly_json()
        data["layout"]["title"] = None  # the page has headings of its own
        if kind == "front":
            for trace in data["data"]:  # what hovering shows is made in the browser, from the table
                trace["hovertext"] = None
                trace["hoverinfo"] = "skip" if trace["meta"] in ("area", "measured") else "none"
            data["layout"] |= {
                "showlegend": False,
                "margin": {"l": 4, "r": 16, "t": 34, "b": 4},
            }  # it has a legend that wraps
        return data

    def _drawn(self, kind: str, rest: str) -> go.Figure:
        record = self.record
        if kind == "front":
            return draw_front(self._front(rest))
        if kind == "options":
            cost, _, key = rest.partition(":")
            return draw_options(self._options[cost][key])
        if kind == "hypervolume":
            return draw_hypervolume(gather_hypervolume(record), rest)
        draw = {
            "importance": lambda: draw_importance(self._importance),
            "parallel": lambda: draw_parallel(gather_parallel(record, self._importance, self.first_cost)),
            "curves": lambda: draw_curves(self._curves),
            "effort": lambda: draw_effort(self._effort),
            "timeline": lambda: draw_timeline(self._effort),
        }
        return draw[kind]()

    def settings(self) -> dict[str, Any]:
        """What the browser needs to know before anything is drawn."""
        return {
            "cost": self.first_cost,
            "dark": dict(zip(colours(LIGHT), colours(DARK), strict=True)),
            "hidden": list(_HIDDEN_AT_FIRST),
        }

    def body(self, footer: str = _FILES) -> str:
        """The page's HTML, charts and tables of trials still empty.

        Args:
            footer: its last line, as HTML.
        """
        cost_buttons = "".join(
            f'<label><input type="radio" name="cost" value="{cost}"{" checked" * (cost == self.first_cost)}>'
            f"<span>{escape(_cost_name(cost))}</span></label>"
            for cost in self.costs
        )
        chart = self._front(self.first_cost)
        objective = describe_objective(self._info.objective).split(" · ")
        parts = {
            "name": escape(self._info.name),
            "objective": escape(" · ".join(map(unbroken, objective))),
            "costs": cost_buttons,
            "chart_summary": escape(figure_summary(chart)),
            "hint": " Latencies are predictions: a dotted line leads from one to what was measured."
            * ("latency_ms" in self.costs),
            "footer": footer,
        }
        fragments = {**self.fragments(), **{name: self.fragment(name) for name in SLOW_FRAGMENTS}}
        return fill((HERE / "body.html").read_text(encoding="utf-8"), {**parts, **fragments})

    def fragment(self, name: str) -> str:
        """One of `SLOW_FRAGMENTS`: a part of the body that changes with a chart, as HTML."""
        made = {"options": self._option_list, "importance": self._importance_note, "curves": self._curves_note}
        return made[name]()

    def fragments(self) -> dict[str, str]:
        """The parts of the body that change with every trial and are made at once, as HTML."""
        chart = self._front(self.first_cost)
        names = [kind for kind in _KINDS if kind not in ("reference", "infeasible") or getattr(chart, kind).numbers]
        tables = (
            f'<div class="table" data-cost="{cost}"{" hidden" * (cost != self.first_cost)}>'
            f"{_front_table(front(self.record.trials, cost), self.costs)}</div>"
            for cost in self.costs
        )
        return {
            "facts": "\n".join(_fact(*fact) for fact in _facts(self.record.trials, self._info)),
            "legend": "\n".join(_legend_entry(kind, len(getattr(chart, kind).numbers)) for kind in names),
            "tables": "\n".join(tables),
        }

    def _option_list(self) -> str:
        """What can be chosen to split the networks by, traits first."""
        groups: dict[str, list[str]] = {"Traits of the networks": [], "Decisions": []}
        for key, info in self._options[self.first_cost].items():
            label = info.decision if info.is_trait else short_name(info.decision)
            groups["Traits of the networks" if info.is_trait else "Decisions"].append(
                f'<option value="{escape(key)}">{escape(plain_value(label))}</option>'
            )
        filled = ((name, entries) for name, entries in groups.items() if entries)
        return "".join(f'<optgroup label="{name}">{"".join(entries)}</optgroup>' for name, entries in filled)

    def _importance_note(self) -> str:
        count = self._importance.num_trials
        if count < LEAST_TRIALS:
            return f"It takes {LEAST_TRIALS} complete trials; there {'is' if count == 1 else 'are'} {count}."
        return (
            "The share of the differences between trials that a decision explains by itself (functional analysis of variance, "
            f"{count} trials): in accuracy, and in accuracy above or below other networks of the same cost."
        )

    def _curves_note(self) -> str:
        left_out = self._curves.num_left_out
        more = (
            f" {left_out} more trials are not shown: these are an even sample, and all on the front."
            if left_out
            else ""
        )
        return f"A line is a trial; click one to see its network.{more}"

    def model(self) -> dict[str, Any]:
        """Every trial and every network, as the table, the hover labels and the drawings need them."""
        record = self.record
        trials = record.trials
        decisions = decision_columns(trials)
        columns = [
            str(name)
            for name in _confirmed_first(trials.columns)
            if name in ("number", "state") or (name not in decisions and trials[name].notna().any())
        ]
        layers: dict[str, int] = {}
        options = {
            cost: {
                key: [[o.label, o.num_trials, o.best_accuracy, o.volume, len(o.numbers)] for o in info.options]
                for key, info in self._options[cost].items()
            }
            for cost in self.costs
        }
        networks = {digest: _network(record, digest, layers) for digest in dict.fromkeys(trials["digest"].dropna())}
        return {
            "costs": [{"name": cost, "label": _cost_name(cost)} for cost in self.costs],
            "columns": {name: [_cell(value) for value in trials[name]] for name in columns},
            "decisions": [_coded(name, trials[name]) for name in decisions],
            "kinds": {cost: kinds_of(trials, cost) for cost in self.costs},
            "curves": {number: curve for number, curve in record.curves.items() if len(trials) <= 1000},
            "words": STATE_WORDS,
            "options": options,
            "layers": [json.loads(text) for text in layers],
            "networks": networks,
            "commands": self._commands(),
        }

    def _commands(self) -> dict[str, Any]:
        """The commands that go on from each network: from its file in front/, or from one saved off the page."""
        trials, config = self.record.trials, self.record.config
        if (
            not {"choices", "data"} <= config.keys()
        ):  # a study that was driven from Python: no command says what its images are
            return {}
        on_front = {int(number) for cost in self.costs for number in front(trials, cost)["number"]}
        names = [name for name in decision_columns(trials) if name.startswith("train.")]
        texts: dict[str, int] = {}
        positions: dict[int, int] = {}
        of_front = {}
        for row in trials[["number", "digest", *names]].to_dict("records"):
            number, found = int(row["number"]), {name: row[name] for name in names if not is_missing(row[name])}
            settings = hyperparameters(found)
            positions[number] = texts.setdefault(settings, len(texts))
            if number in on_front:
                name = f"{number:04d}-{row['digest']}"
                file = _from_here(self._folder / "front" / f"{name}.yaml")
                of_front[number] = [file, train_command(file, f"trained/{name}", config, found)]
        return {
            "placeholder": _PLACEHOLDER,
            "train": train_command(f"{_PLACEHOLDER}.yaml", f"trained/{_PLACEHOLDER}", config, {}),
            "export": export_command(f"trained/{_PLACEHOLDER}", config.get("imports") or ()),
            "settings": list(texts),
            "of": positions,
            "front": of_front,
        }


def _from_here(path: Path) -> str:
    """A path as it is written on a command line in the current directory."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative


def _confirmed_first(names: Iterable[Any]) -> list[Any]:
    """The columns with the confirmed accuracy beside that of the trial's own training."""
    confirmed = [name for name in names if name in ("accuracy_mean", "accuracy_std", "confirmations")]
    others = [name for name in names if name not in confirmed]
    place = others.index("accuracy") + 1
    return [*others[:place], *confirmed, *others[place:]]


def _cost_name(cost: str) -> str:
    return COST_WORDS[cost].label if cost == "latency_ms" else COST_WORDS[cost].label.partition(" (")[0]


def _cell(value: Any) -> Any:
    """A cell as JSON holds it; seven digits of a measurement are more than anybody reads."""
    if is_missing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value if isinstance(value, int) else str(value)


def _coded(name: str, column: Iterable[Any]) -> dict[str, Any]:
    """A decision as its values and, for each trial, the position of its value among them; -1 where it is absent."""
    values: dict[str, tuple[int, Any]] = {}
    codes = []
    for cell in column:
        if is_missing(cell):
            codes.append(-1)
            continue
        plain = cell if isinstance(cell, int | float | bool) else str(cell)
        codes.append(values.setdefault(repr(plain), (len(values), plain))[0])
    return {"name": name, "short": short_name(name), "values": [value for _, value in values.values()], "codes": codes}


def _network(record: Record, digest: str, layers: dict[str, int]) -> dict[str, Any]:
    """A network as positions in the table of all distinct layers; as it was stored where it does not build."""
    if digest not in record.architectures:
        return {"problem": "The storage holds no description of this network."}
    network = read_network(record.architectures[digest])
    if network.problem is not None:
        return {"problem": network.problem, "description": network.description}
    description = network.description
    return {
        "in_channels": description["in_channels"],
        "num_classes": description["num_classes"],
        "resolution": description["resolution"],
        "layers": [layers.setdefault(_layer_text(layer), len(layers)) for layer in network.layers],
    }


def _layer_text(layer: DrawnLayer) -> str:
    return json.dumps(
        [
            layer.description,
            layer.block,
            layer.in_channels,
            layer.out_channels,
            layer.size,
            layer.flops,
            layer.params,
            layer.inputs,
        ]
    )


def _facts(trials: pd.DataFrame, info: Any) -> list[tuple[str, str, str]]:
    """The study in four figures: name, figure, and a note in smaller type."""
    counts = count_states(trials)
    states = ", ".join(unbroken(f"{count} {STATE_WORDS[state]}") for state, count in counts.items())
    cost, high = info.objective.cost, info.cost_range[1]
    best, members = best_trial(trials), front(trials, cost)
    reached = "no trial is complete yet" if best is None else f"trial {best['number']}, {_costs_of(best, cost)}"
    spread = "" if members.empty else unbroken(readable_cost(cost, members[cost].iloc[-1]))
    if len(members) > 1:
        spread = f"{unbroken(readable(members[cost].iloc[0]))} to {spread}"
    bounds = f"log cost under {unbroken(readable_cost(cost, high))}, accuracy above {info.chance:.0%}"
    return [
        ("Trials", str(len(trials)), states),
        ("Best accuracy", "-" if best is None else percent(accuracy_of(best)), reached),
        ("On the front", str(len(members)), spread),
        ("Hypervolume", f"{table_hypervolume(trials, info):.4g}", bounds),
    ]


def _costs_of(trial: "pd.Series[Any]", first: str) -> str:
    named = (name for name in dict.fromkeys((first, "flops", "params")) if not is_missing(trial[name]))
    return ", ".join(unbroken(readable_cost(name, trial[name])) for name in named)


def _fact(name: str, figure: str, note: str) -> str:
    return f'<div><dt>{name}</dt><dd class="figure">{escape(figure)}</dd><dd class="note">{escape(note)}</dd></div>'


def _legend_entry(kind: str, count: int) -> str:
    symbol = f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SYMBOLS[kind]}</svg>'
    label = f'{_KINDS[kind]} <span class="count">{count}</span>'
    pressed = "false" if kind in _HIDDEN_AT_FIRST else "true"
    return f'<button type="button" data-kind="{kind}" aria-pressed="{pressed}">{symbol}<span>{label}</span></button>'


def _front_table(members: pd.DataFrame, costs: list[str]) -> str:
    """The front as an HTML table: metrics, and the decisions in which its members differ; below it what they share."""
    if members.empty:
        return '<p class="empty">No trial is complete yet.</p>'
    differ, shared = split_decisions(members)
    measured = ["Measured (ms)"] if "measured_ms" in members and members["measured_ms"].notna().any() else []
    labels = ["Trial", "Accuracy", *map(_cost_name, costs), *measured, "Reward"]
    head = "".join(f'<th scope="col">{label}</th>' for label in [*labels, "Decisions in which they differ"])
    rows = "\n".join(_front_row(row, costs, labels, differ) for row in members.to_dict("records"))
    table = f'<table class="front"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    if shared:
        table += f'\n<div class="shared"><p>Shared by all of them</p>{_groups(shared)}</div>'
    summary = f"The front as a table ({len(members)})"
    return f"<details{' open' * (len(members) <= _MAX_OPEN)}><summary>{summary}</summary>\n{table}</details>"


def _front_row(row: Mapping[Any, Any], costs: list[str], labels: list[str], differ: list[str]) -> str:
    number = f'<button type="button" class="link" data-trial="{row["number"]}">{row["number"]}</button>'
    accuracy, spread = accuracy_of(row), ""
    if not is_missing(row.get("accuracy_mean")):
        spread = f" ±\u00a0{percent(row['accuracy_std'])}"
    shown = [
        ("trial", row["number"], number),
        ("accuracy", accuracy, percent(accuracy) + spread),
        *((cost, row[cost], f"{row[cost]:.3g}" if cost == "latency_ms" else readable(row[cost])) for cost in costs),
        *([("measured", row["measured_ms"], _measured_text(row))] if "Measured (ms)" in labels else []),
        ("reward", row["reward"], "-" if is_missing(row["reward"]) else f"{row['reward']:.3f}"),
    ]
    cells = [
        f'<td class="figure {name}" data-label="{label}" data-value="{value}">{text}</td>'
        for label, (name, value, text) in zip(labels, shown, strict=True)
    ]
    name = "" if is_missing(row.get("name")) else f"<span><b>{escape(str(row['name']))}</b></span>"
    decisions = _groups({name: row[name] for name in differ}, name)
    return f'<tr>{"".join(cells)}<td class="decisions">{decisions}</td></tr>'


def _measured_text(row: Mapping[Any, Any]) -> str:
    return "-" if is_missing(row["measured_ms"]) else f"{row['measured_ms']:.3g}"


def _groups(decisions: Mapping[str, Any], before: str = "") -> str:
    """Decisions as escaped HTML, one span for each part of the network."""
    spans = [before]
    for group, pairs in group_decisions(decisions).items():
        name = f"<b>{escape(group)}</b> " if group else ""
        spans.append(f"<span>{name}{escape(decision_text('', pairs))}</span>")
    return f'<div class="groups">{"".join(spans)}</div>'
