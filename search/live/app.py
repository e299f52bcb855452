"""The dashboard: the page of one study, or several side by side, drawn again as they go on.

The server only reads. Every few seconds the browser asks what is new; of a single study it then gets the parts of its page that
changed and asks for the charts that are looked at, so that what a reader has chosen, enlarged or opened stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from flask import abort, request

from search.live.studies import Studies
from search.reporting.figures import DARK, LIGHT, ComparisonInfo, draw_bands, draw_fronts, gather_comparison
from search.reporting.page import HERE as PAGE
from search.reporting.page import SCRIPTS, SLOW_FRAGMENTS, StudyPage, stylesheet
from search.reporting.text import COST_WORDS, percent, readable, readable_cost
from spaces import InputError

HERE = Path(__file__).parent
REFRESH_S = 2.0
"""Seconds between two looks at the storage."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
<link rel="icon" href="data:,">
{%css%}
<style>STYLE</style>
</head>
<body>
{%app_entry%}
<script>SCRIPT</script>
{%config%}
{%scripts%}
{%renderer%}
</body>
</html>"""


def make_app(studies: Studies, chosen: Sequence[str], hosts: Iterable[str] = LOOPBACK) -> Dash:
    """The dashboard as a Dash application.

    Args:
        studies: what can be shown.
        chosen: what is shown at first.
        hosts: the names under which a browser may ask for it; none: any. A page elsewhere that has its own name point to this
            machine gets nothing.
    """
    app = Dash(__name__, title="Studies", update_title="", assets_folder=str(HERE / "none"), serve_locally=True)
    scripts = [*(PAGE / name for name in SCRIPTS), HERE / "live.js"]
    style = stylesheet() + (HERE / "live.css").read_text(encoding="utf-8")
    app.index_string = _INDEX.replace("STYLE", style).replace(
        "SCRIPT", "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    )
    allowed = set(hosts)

    @app.server.before_request
    def check_host() -> None:
        if allowed and urlsplit(f"//{request.host}").hostname not in allowed:
            abort(403)

    app.layout = lambda: _layout(studies, chosen)
    _connect(app, studies)
    return app


def _layout(studies: Studies, chosen: Sequence[str]) -> html.Div:
    graph: Any = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    }
    comparison = [
        html.H1("Studies compared"),
        html.P(id="reference", className="objective"),
        html.Section(
            [html.H2("Fronts"), dcc.Graph(id="fronts", config=graph, className="chart tall", responsive=True)]
        ),
        html.Section(
            [
                html.H2("Hypervolume"),
                html.P(
                    "Studies that differ in their seed alone are one band: their median, least and greatest.",
                    className="note",
                ),
                dcc.Graph(id="bands", config=graph, className="chart", responsive=True),
            ]
        ),
        html.Section([html.H2("In figures"), html.Div(id="figures", className="scroll")]),
    ]
    return html.Div(
        [
            dcc.Location(id="location", refresh=False),
            dcc.Interval(id="tick", interval=1000 * REFRESH_S),
            *(
                dcc.Store(id=name)
                for name in ("news", "seen", "said", "wanted", "answer", "scheme", "shown", "done", "unknown")
            ),
            html.Header(
                [
                    html.Label("Studies", htmlFor="studies"),
                    dcc.Dropdown(
                        id="studies",
                        options=_options(studies.names()),
                        value=list(chosen),
                        multi=True,
                        placeholder="Choose one study, or several to compare",
                    ),
                    html.Span(id="pulse", role="status"),
                ],
                className="bar",
            ),
            html.P(id="problem", className="problem", role="alert"),
            html.Div(id="study"),
            html.Main(comparison, id="comparison", hidden=True),
        ]
    )


def _options(names: Iterable[str]) -> list[dict[str, str]]:
    return [{"label": name, "value": name} for name in names]


def _connect(app: Dash, studies: Studies) -> None:
    """Everything that happens in answer to something."""

    @app.callback(
        Output("news", "data"),
        Output("seen", "data"),
        Output("problem", "children"),
        Output("studies", "options"),
        Input("tick", "n_intervals"),
        Input("studies", "value"),
        Input("unknown", "data"),
        State("seen", "data"),
        State("studies", "options"),
    )
    def look(
        _: int, value: list[str] | None, unknown: str | None, seen: dict[str, Any] | None, options: list[dict[str, str]]
    ) -> tuple[Any, ...]:
        """What has changed since the browser was last told."""
        names = list(value or [])
        listed = _options(studies.names())
        options = no_update if listed == options else listed  # type: ignore[assignment]
        try:
            now = {"names": names, "revisions": [studies.revision(name) for name in names]}
            problem = unknown or ("" if names else "Choose a study.")
            if now == seen:
                return no_update, no_update, problem, options
            first = seen is None or seen["names"] != names or not seen["revisions"]
            parts = _page_parts(studies.page(names[0]), first) if len(names) == 1 else {}
            return {**now, **parts}, now, problem, options
        except InputError as error:
            now = {"names": names, "revisions": []}
            return now, now, str(error), options

    @app.callback(Output("answer", "data"), Input("wanted", "data"), prevent_initial_call=True)
    def answer(wanted: dict[str, Any]) -> dict[str, Any]:
        """Figures of a study's page, its trials, and the text that goes with a figure."""
        try:
            page = studies.page(wanted["study"])
        except InputError:
            return {"id": wanted["id"], "figures": {}}
        found: dict[str, Any] = {}
        for name in wanted["names"]:
            try:
                found[name] = page.model() if name == "model" else page.figure(name)
            except KeyError:
                found[name] = None
        kinds = {name.partition(":")[0] for name in wanted["names"]}
        return {
            "id": wanted["id"],
            "figures": found,
            "parts": {name: page.fragment(name) for name in SLOW_FRAGMENTS if name in kinds},
        }

    @app.callback(
        Output("comparison", "hidden"),
        Output("fronts", "figure"),
        Output("bands", "figure"),
        Output("figures", "children"),
        Output("reference", "children"),
        Input("seen", "data"),
        Input("scheme", "data"),
        prevent_initial_call=True,
    )
    def compare(seen: dict[str, Any] | None, scheme: str | None) -> tuple[Any, ...]:
        """Several studies over one another."""
        if seen is None or len(seen["names"]) < 2 or not seen["revisions"]:
            return True, *[no_update] * 4
        info = gather_comparison([studies.page(name).record for name in seen["names"]])
        theme = DARK if scheme == "dark" else LIGHT
        return False, draw_fronts(info, theme), draw_bands(info, theme), _figures_table(info), _reference(info)

    @app.callback(
        Output("studies", "value"),
        Output("unknown", "data"),
        Input("location", "search"),
        Input({"open": ALL}, "n_clicks"),
        State("seen", "data"),
        prevent_initial_call=True,
    )
    def choose(search: str | None, clicks: list[int | None], seen: dict[str, Any]) -> tuple[Any, Any]:
        """The studies that the address names, or the one whose name was clicked."""
        if isinstance(ctx.triggered_id, dict):
            return ([seen["names"][ctx.triggered_id["open"]]], "") if any(clicks) else (no_update, no_update)
        named = parse_qs((search or "").removeprefix("?")).get("study")
        if not named:
            return no_update, no_update
        known, problems = [], []
        for name in named:
            try:
                studies.check(name)
                known.append(name)
            except InputError as error:
                problems.append(str(error))
        return known, "; ".join(problems)

    for output, function, inputs in (
        ("said", "tell", [Input("news", "data")]),
        ("done", "deliver", [Input("answer", "data")]),
        ("shown", "address", [Input("studies", "value")]),
        ("scheme", "scheme", [Input("location", "pathname")]),
    ):
        app.clientside_callback(ClientsideFunction("smallnets", function), Output(output, "data"), *inputs)


def _page_parts(page: StudyPage, first: bool) -> dict[str, Any]:
    """What a browser needs of a study's page: all of it at first, then what changes."""
    if not first:
        return {"parts": page.fragments()}
    return {
        "body": page.body(escape("Read from the study's storage; it is looked at again every few seconds.")),
        "settings": page.settings(),
    }


def _reference(info: ComparisonInfo) -> str:
    low, high, chance = info.reference
    label = COST_WORDS[info.cost].label
    return (
        f"Accuracy against {label}. Hypervolumes share one reference: {readable(low)} to {readable_cost(info.cost, high)}, "
        f"accuracy above {chance:.0%}."
    )


def _figures_table(info: ComparisonInfo) -> html.Table:
    heads = ["Study", "Trials", "Best accuracy", "On the front", "Hypervolume"]
    rows = [
        html.Tr(
            [
                html.Td(html.Button(study.name, id={"open": i}, className="link", title="Show this study alone")),
                *(
                    html.Td(text, className="number")
                    for text in (
                        str(study.num_trials),
                        "-" if study.best_accuracy is None else percent(study.best_accuracy),
                        str(len(study.front.numbers)),
                        f"{study.volume:.4g}",
                    )
                ),
            ]
        )
        for i, study in enumerate(info.studies)
    ]
    head = html.Tr([html.Th(text, scope="col", className="number" * (i > 0)) for i, text in enumerate(heads)])
    return html.Table([html.Thead(head), html.Tbody(rows)], className="plain")
