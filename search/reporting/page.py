"""The page of a study: one file that shows all of it to anyone with a browser, offline."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from search.reporting.figures import DARK, LIGHT, OptionsInfo, StudyFigures, draw_options, figure_summary
from search.reporting.figures.decisions import LEAST_TRIALS, short_name
from search.reporting.figures.theme import colours
from search.reporting.markup import HIDDEN_AT_FIRST, facts, front_table, legend
from search.reporting.model import gather_model
from search.reporting.record import Record
from search.reporting.tables import decision_columns, front, known_costs
from search.reporting.text import describe_objective, plain_value, unbroken
from search.system.files import replace_file

HERE = Path(__file__).parent
SCRIPTS = ("network.js", "table.js", "page.js")
"""What draws the page in the browser, in the order in which it is read."""

SLOW_FRAGMENTS = ("options", "importance", "curves")
"""Parts of the page's text that come with the chart of the same name."""

_FILES = 'The same in tables: <a href="trials.csv">trials.csv</a>, one row a trial; <a href="front.csv">front.csv</a>, the front.'


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
        self.costs = known_costs(record.trials, record.info.costs) or [record.info.objective.cost]
        objective_cost = record.info.objective.cost
        self.first_cost = objective_cost if objective_cost in self.costs else self.costs[0]
        self.first_figure = f"front:{self.first_cost}"
        """The chart that stands first on the page."""
        self._figures = StudyFigures(record, hover=False)

    @cached_property
    def _options(self) -> dict[str, dict[str, OptionsInfo]]:
        """By cost, then by a key that stays the trait's or decision's own while more of them come."""
        positions = {name: str(position) for position, name in enumerate(decision_columns(self.record.trials))}
        return {
            cost: {
                f"with {info.decision}" if info.is_trait else positions[info.decision]: info
                for info in self._figures.options(cost)
            }
            for cost in self.costs
        }

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
        if kind == "options":
            cost, _, key = rest.partition(":")
            return draw_options(self._options[cost][key])
        if kind == "hypervolume":
            return self._figures.hypervolume(rest)
        return self._figures.draw(kind, rest or self.first_cost)

    def settings(self) -> dict[str, Any]:
        """What the browser needs to know before anything is drawn."""
        return {
            "cost": self.first_cost,
            "dark": dict(zip(colours(LIGHT), colours(DARK), strict=True)),
            "hidden": list(HIDDEN_AT_FIRST),
        }

    def body(self, footer: str = _FILES) -> str:
        """The page's HTML, charts and tables of trials still empty.

        Args:
            footer: its last line, as HTML.
        """
        cost_buttons = "".join(
            f'<label><input type="radio" name="cost" value="{cost}"{" checked" * (cost == self.first_cost)}>'
            f"<span>{escape(self._info.costs[cost].short)}</span></label>"
            for cost in self.costs
        )
        chart = self._figures.front(self.first_cost)
        objective = describe_objective(self._info.objective, self._info.costs).split(" · ")
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
        words = {cost: self._info.costs[cost] for cost in self.costs}
        tables = (
            f'<div class="table" data-cost="{cost}"{" hidden" * (cost != self.first_cost)}>'
            f"{front_table(front(self.record.trials, cost), words)}</div>"
            for cost in self.costs
        )
        return {
            "facts": facts(self.record.trials, self._info),
            "legend": legend(self._figures.front(self.first_cost)),
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
        count = self._figures.importance.num_trials
        if count < LEAST_TRIALS:
            return f"It takes {LEAST_TRIALS} complete trials; there {'is' if count == 1 else 'are'} {count}."
        return (
            "The share of the differences between trials that a decision explains by itself (functional analysis of variance, "
            f"{count} trials): in accuracy, and in accuracy above or below other networks of the same cost."
        )

    def _curves_note(self) -> str:
        left_out = self._figures.curves.num_left_out
        more = (
            f" {left_out} more trials are not shown: these are an even sample, and all on the front."
            if left_out
            else ""
        )
        return f"A line is a trial; click one to see its network.{more}"

    def model(self) -> dict[str, Any]:
        """Every trial and every network: see `gather_model`."""
        return gather_model(self.record, self._folder, self.costs, self._options)
