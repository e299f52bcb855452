"""The dashboard: the page of one study, or several side by side, drawn again as they go on.

The server only reads. Every few seconds the browser asks what is new; of a single study it then gets the parts of its page that
changed and asks for the charts that are looked at, so that what a reader has chosen, enlarged or opened stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html
from flask import Flask, abort, request
from werkzeug.exceptions import HTTPException

from search.reporting.dashboard.answers import Answers, as_options
from search.reporting.dashboard.studies import Studies
from search.reporting.page import HERE as PAGE
from search.reporting.page import SCRIPTS, stylesheet
from search.system.printable import printable

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

    _log_failures(app.server)
    app.layout = lambda: _layout(studies, chosen)
    _connect(app, studies)
    return app


def _log_failures(server: Flask) -> None:
    """Answers a request that fails, a forged one most often, with its status, and gives it a line in the log."""

    @server.errorhandler(Exception)
    def answer(error: Exception) -> HTTPException | tuple[str, int]:
        if isinstance(error, HTTPException):
            return error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        server.logger.error("%s %s failed: %s", request.method, ascii(request.path)[1:-1][:200], printable(reason))
        return "The request failed; the dashboard's log says why.", 500


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
                        options=as_options(studies.names()),
                        value=list(chosen),
                        multi=True,
                        placeholder="Choose one study, or several to compare",
                    ),
                    html.Span(id="pulse", role="status"),
                ],
                className="chooser",
            ),
            html.P(id="problem", className="problem", role="alert"),
            html.Div(id="study"),
            html.Main(comparison, id="comparison", hidden=True),
        ]
    )


def _connect(app: Dash, studies: Studies) -> None:
    """Everything that happens in answer to something, on the server and in the browser."""
    answers = Answers(studies)
    app.callback(
        Output("news", "data"),
        Output("seen", "data"),
        Output("problem", "children"),
        Output("studies", "options"),
        Input("tick", "n_intervals"),
        Input("studies", "value"),
        Input("unknown", "data"),
        State("seen", "data"),
        State("studies", "options"),
    )(answers.news)
    app.callback(Output("answer", "data"), Input("wanted", "data"), prevent_initial_call=True)(answers.figures)
    app.callback(
        Output("comparison", "hidden"),
        Output("fronts", "figure"),
        Output("bands", "figure"),
        Output("figures", "children"),
        Output("reference", "children"),
        Input("seen", "data"),
        Input("scheme", "data"),
        prevent_initial_call=True,
    )(answers.comparison)
    app.callback(
        Output("studies", "value"),
        Output("unknown", "data"),
        Input("location", "search"),
        Input({"open": ALL}, "n_clicks"),
        State("seen", "data"),
        prevent_initial_call=True,
    )(answers.choice)
    for output, function, inputs in (
        ("said", "tell", [Input("news", "data")]),
        ("done", "deliver", [Input("answer", "data")]),
        ("shown", "address", [Input("studies", "value")]),
        ("scheme", "scheme", [Input("location", "pathname")]),
    ):
        app.clientside_callback(ClientsideFunction("smallnets", function), Output(output, "data"), *inputs)
