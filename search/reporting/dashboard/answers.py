"""What the dashboard's server answers: what is new, the figures that are looked at, studies compared, and what is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import parse_qs

from dash import ctx, html, no_update

from search.reporting.dashboard.studies import Studies
from search.reporting.figures import DARK, LIGHT, ComparisonInfo, draw_bands, draw_fronts, gather_comparison
from search.reporting.page import SLOW_FRAGMENTS, StudyPage
from search.reporting.text import percent, readable_cost, readable_number
from spaces import InputError


class Answers:
    """The callbacks of a dashboard; each gives the values of its outputs, in their order.

    Args:
        studies: what is told of.
    """

    def __init__(self, studies: Studies) -> None:
        self._studies = studies

    def news(
        self,
        _: int,
        value: list[str] | None,
        unknown: str | None,
        seen: dict[str, Any] | None,
        options: list[dict[str, str]],
    ) -> tuple[Any, ...]:
        """What has changed since the browser was last told.

        Args:
            value: the names of the studies that are shown.
            unknown: what was wrong with the names in the address.
            seen: what the browser was last told of: names, and revisions in their order.
            options: the studies that it offers.
        """
        names = list(value or [])
        listed = as_options(self._studies.names())
        offered = no_update if listed == options else listed
        try:
            now = {"names": names, "revisions": [self._studies.revision(name) for name in names]}
            problem = unknown or ("" if names else "Choose a study.")
            if now == seen:
                return no_update, no_update, problem, offered
            first = seen is None or seen["names"] != names or not seen["revisions"]
            parts = _page_parts(self._studies.page(names[0]), first) if len(names) == 1 else {}
            return {**now, **parts}, now, problem, offered
        except InputError as error:
            now = {"names": names, "revisions": []}
            return now, now, str(error), offered

    def figures(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Figures of a study's page, its trials, and the text that goes with a figure; None for what there is no more."""
        try:
            page = self._studies.page(wanted["study"])
        except InputError:
            return {"id": wanted["id"], "figures": {}}
        found: dict[str, Any] = {}
        for name in wanted["names"]:
            try:
                found[name] = page.model() if name == "model" else page.figure(name)
            except KeyError:
                found[name] = None
        kinds = {name.partition(":")[0] for name in wanted["names"]}
        parts = {name: page.fragment(name) for name in SLOW_FRAGMENTS if name in kinds}
        return {"id": wanted["id"], "figures": found, "parts": parts}

    def comparison(self, seen: dict[str, Any] | None, scheme: str | None) -> tuple[Any, ...]:
        """Several studies over one another; hidden where there are fewer."""
        if seen is None or len(seen["names"]) < 2 or not seen["revisions"]:
            return True, *[no_update] * 4
        info = gather_comparison([self._studies.page(name).record for name in seen["names"]])
        theme = DARK if scheme == "dark" else LIGHT
        return False, draw_fronts(info, theme), draw_bands(info, theme), _figures_table(info), _reference(info)

    def choice(self, search: str | None, clicks: list[int | None], seen: dict[str, Any]) -> tuple[Any, Any]:
        """The studies that the address names, or the one whose name was clicked; and what is wrong with those names."""
        if isinstance(ctx.triggered_id, dict):
            return ([seen["names"][ctx.triggered_id["open"]]], "") if any(clicks) else (no_update, no_update)
        named = parse_qs((search or "").removeprefix("?")).get("study")
        if not named:
            return no_update, no_update
        known, problems = [], []
        for name in named:
            try:
                self._studies.check(name)
                known.append(name)
            except InputError as error:
                problems.append(str(error))
        return known, "; ".join(problems)


def as_options(names: Iterable[str]) -> list[dict[str, str]]:
    """Names as a dropdown takes them."""
    return [{"label": name, "value": name} for name in names]


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
    reach = f"{readable_number(info.words, low)} to {readable_cost(info.words, high)}"
    return (
        f"Accuracy against {info.words.label}. Hypervolumes share one reference: {reach}, accuracy above {chance:.0%}."
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
