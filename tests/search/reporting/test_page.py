"""The page in a real browser: what it shows is what the table holds, and nothing a study says is run."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from search.reporting.page import write_page
from search.reporting.tables import front, trials_frame
from tests.search.reporting.fake import HOSTILE, INFO, fake_trials

CHROMIUM_ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
POINTS = "#chart .scatterlayer .trace:last-child .point"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(
        (found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None
    )
    assert path, "these tests need Chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """A realistic study in which one decision, one failure and the study's name mean harm."""
    trials = fake_trials(60)
    trials.loc[front(trials, "flops")["number"], "layers.1.block"] = HOSTILE
    trials.loc[trials["state"] == "failed", "failure"] = HOSTILE
    return trials


@pytest.fixture(scope="module")
def path(trials: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "pareto.html"
    write_page(trials, path, replace(INFO, name=HOSTILE))
    return path


@pytest.fixture(scope="module")
def desktop(browser: Browser, path: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page on a wide screen, loaded once: each test leaves it as it was."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield open_page(context, path)
    context.close()


def open_page(context: BrowserContext, path: Path) -> tuple[Page, list[str]]:
    """The page once its chart stands, and all that went wrong: console messages, errors, requests, dialogs."""
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    page.on(
        "request", lambda request: wrong.append(f"request: {request.url}") if request.url != path.as_uri() else None
    )
    page.goto(path.as_uri())
    page.wait_for_selector("#chart .main-svg", state="attached")
    # `data:,` is the empty icon that keeps the browser from asking for one
    return page, wrong


def harm(wrong: list[str]) -> list[str]:
    return [entry for entry in wrong if not entry.startswith("request: data:")]


def test_page_shows_the_table_and_runs_nothing(desktop: tuple[Page, list[str]], trials: pd.DataFrame) -> None:
    page, wrong = desktop
    traces = page.evaluate("chart.data.map(t => ({meta: t.meta, x: t.x, y: t.y, numbers: t.customdata}))")
    drawn = {trace["meta"]: trace for trace in traces}
    members = front(trials, "flops")
    assert drawn["front"]["numbers"] == members["number"].tolist()
    assert drawn["front"]["x"] == members["flops"].tolist()
    assert drawn["front"]["y"] == members["accuracy"].tolist()
    originals = trials[trials["duplicate_of"].isna()]
    complete = originals[(originals["state"] == "complete") & ~originals["number"].isin(members["number"])]
    assert drawn["dominated"]["numbers"] == complete["number"].tolist()
    for kind in ("stopped", "failed"):
        assert drawn[kind]["numbers"] == originals[originals["state"] == kind]["number"].tolist()
    num_markers = page.evaluate("document.querySelectorAll('#chart .scatterlayer .point').length")
    assert num_markers == sum(originals["state"].isin(["complete", "stopped", "failed"]))

    cells = "[...document.querySelectorAll('td.{}')].map(cell => Number(cell.dataset.value))"
    for column in ("number", "flops", "params", "accuracy", "reward"):
        name = "trial" if column == "number" else column
        assert page.evaluate(cells.format(name)) == members[column].tolist()
    assert page.inner_text("h1") == " ".join(HOSTILE.split())
    assert page.inner_text(".facts dd") == "60"

    page.locator(POINTS).nth(2).hover(force=True)
    hover = page.wait_for_selector("#chart .hoverlayer .hovertext")
    assert f"Trial {members['number'].iloc[2]}" in (hover.text_content() or "")
    assert "<script>alert('x')</script>" in " ".join((hover.text_content() or "").split())
    assert page.locator("script").count() == 3  # data, Plotly, ours
    assert page.locator("img").count() == 0
    assert harm(wrong) == []


def test_legend_hides_and_shows_a_kind(desktop: tuple[Page, list[str]]) -> None:
    page, wrong = desktop
    visible = "Object.fromEntries(chart.data.map(t => [t.meta, t.visible]))"
    page.focus(".legend button[data-kind=front]")
    page.keyboard.press("Enter")
    assert page.get_attribute(".legend button[data-kind=front]", "aria-pressed") == "false"
    shown = page.evaluate(visible)
    assert not shown["front"]
    assert not shown["area"]
    assert shown["dominated"]
    page.keyboard.press("Enter")
    assert all(page.evaluate(visible).values())
    assert harm(wrong) == []


def test_colours_follow_the_system(desktop: tuple[Page, list[str]]) -> None:
    page, wrong = desktop
    colours = "[chart._fullLayout.paper_bgcolor, getComputedStyle(document.body).color]"
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("light => chart._fullLayout.paper_bgcolor !== light", arg=light[0])
    assert page.evaluate(colours)[1] != light[1]
    page.emulate_media(color_scheme="light")
    page.wait_for_function("light => chart._fullLayout.paper_bgcolor === light", arg=light[0])
    assert harm(wrong) == []


def test_phone_fits_its_width_and_shows_decisions_below(browser: Browser, path: Path, trials: pd.DataFrame) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page, wrong = open_page(context, path)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(POINTS).nth(2).scroll_into_view_if_needed()
    page.locator(POINTS).nth(2).tap(force=True)
    page.wait_for_selector("#readout b")
    readout = page.inner_text("#readout")
    assert f"Trial {front(trials, 'flops')['number'].iloc[2]} " in readout
    assert "<script>alert('x')</script>" in " ".join(readout.split())
    assert page.locator("#readout script, #readout img").count() == 0
    assert harm(wrong) == []
    context.close()


def test_page_of_a_study_without_results(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    path = tmp_path / "pareto.html"
    write_page(trials_frame([{"number": 0, "state": "failed", "flops": 10**6, "params": 1}], []), path, INFO)
    page, wrong = open_page(context, path)
    assert "No trial is complete yet." in page.inner_text("main")
    assert page.locator("table").count() == 0
    assert harm(wrong) == []
    context.close()
