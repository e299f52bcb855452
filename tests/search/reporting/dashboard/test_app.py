"""The dashboard in a real browser, while a search goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from optuna.samplers import RandomSampler
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server

from search.objective.reward import Objective
from search.reporting.dashboard import Studies, make_app
from search.reporting.figures import gather_comparison
from search.reporting.tables import front
from search.study.study import Study
from search.trials.storage import DATABASE, open_database
from spaces import SearchSpace
from tests.search.conftest import SMALL, instant_outcome
from tests.search.reporting.browsing import DESKTOP, OVERFLOWING, PHONE, WIDEST_BAR, chart, chromium, show, watched

HOSTILE = "<img src=x onerror=alert(1)>{{plotly}}?#%41"


def start_study(results: Path, name: str, seed: int, trials: int = 14) -> Study:
    """A search in which some networks have been evaluated and one is being trained."""
    folder = results / name
    folder.mkdir(parents=True)
    space = SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8)
    storage = open_database(folder / DATABASE)
    config = {"objective": {}, "seed": seed, "space": "hostile" if name == HOSTILE else "small"}
    study = Study(space, Objective(), RandomSampler(seed=seed), storage, name=name, trials=1000, config=config)
    for _ in range(trials):
        go_on(study)
    study.ask()
    return study


def go_on(study: Study) -> int:
    """Evaluates one more network; returns the number of its trial."""
    proposal = study.ask()
    assert proposal is not None
    study.tell(proposal.number, instant_outcome(proposal))
    return proposal.number


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def searches(results: Path) -> dict[str, Study]:
    return {name: start_study(results, name, seed) for seed, name in enumerate(("a-seed=0", "a-seed=1", HOSTILE))}


@pytest.fixture(scope="module")
def address(results: Path, searches: dict[str, Study]) -> Iterator[str]:
    app = make_app(Studies(results), ["a-seed=0"])
    server = make_server("127.0.0.1", 0, app.server, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def opened(browser: Browser, address: str, *names: str, **context: object) -> tuple[Page, list[str]]:
    """The dashboard showing these studies, or those it shows by itself."""
    page = browser.new_context(**{"viewport": DESKTOP, **context}).new_page()  # type: ignore[arg-type]
    wrong = watched(page)
    query = "&".join(f"study={quote(name)}" for name in names)
    page.goto(f"{address}?{query}" if names else address)
    page.wait_for_selector(
        "#comparison .main-svg" if len(names) > 1 else "[data-chart=front] .main-svg", state="attached"
    )
    return page, wrong


def test_a_new_trial_is_shown_and_nothing_a_reader_did_is_lost(
    browser: Browser, address: str, results: Path, searches: dict[str, Study]
) -> None:
    page, wrong = opened(browser, address)
    study = searches["a-seed=0"]
    assert page.inner_text("h1") == "a-seed=0"
    page.check("input[name=cost][value=params]", force=True)
    page.wait_for_function(f"{chart('front')}.dataset.drawn === 'front:params'")
    page.click(".legend button[data-kind=dominated]")
    box = page.locator("[data-chart=front] .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    enlarged = page.evaluate(f"{chart('front')}.layout.xaxis.range")
    page.evaluate("document.querySelector('#trials').scrollIntoView({behavior: 'instant'})")
    page.wait_for_selector("[data-table=trials] tbody tr")
    page.fill("[data-filter=text]", "state=complete")
    page.locator("[data-table=trials] tbody button").first.click()
    title = page.inner_text("#detail-title")
    assert page.evaluate(WIDEST_BAR) > 50

    number = go_on(study)
    drawn = f"{chart('front')}.data.flatMap(t => t.customdata ?? []).includes({number})"
    page.wait_for_function(drawn)
    numbers = "[...document.querySelectorAll('[data-table=trials] tbody button')].map(b => Number(b.textContent))"
    page.wait_for_function(f"{numbers}.includes({number})")
    trials = Studies(results).page("a-seed=0").record.trials
    assert page.evaluate(numbers) == trials[trials["state"] == "complete"]["number"].tolist()[::-1]
    members = front(trials, "params")
    traces = page.evaluate(f"{chart('front')}.data.map(t => ({{meta: t.meta, x: t.x, y: t.y, visible: t.visible}}))")
    drawn_front = next(trace for trace in traces if trace["meta"] == "front")
    assert (drawn_front["x"], drawn_front["y"]) == (members["params"].tolist(), members["accuracy"].tolist())
    assert page.inner_text(".facts dd") == str(len(trials))

    assert next(trace for trace in traces if trace["meta"] == "dominated")["visible"] is False
    assert page.evaluate(f"{chart('front')}.layout.xaxis.range") == enlarged
    assert page.is_checked("input[name=cost][value=params]")
    assert page.input_value("[data-filter=text]") == "state=complete"
    assert page.inner_text("#detail-title") == title
    page.keyboard.press("Escape")
    for name in ("importance", "options", "curves", "hypervolume", "timeline"):
        show(page, name)
    assert page.locator("[data-chart=options] .trace").count() > 1
    assert wrong == []
    page.context.close()


def test_studies_are_compared_and_hostile_names_are_text(
    browser: Browser, address: str, results: Path, searches: dict[str, Study]
) -> None:
    page, wrong = opened(browser, address, *searches)
    plots = "document.querySelector('#{} .js-plotly-plot').data"
    page.wait_for_function(f"{plots.format('bands')}.length > 0")
    studies = Studies(results)
    info = gather_comparison([studies.page(name).record for name in searches])
    assert page.evaluate(f"{plots.format('fronts')}.map(t => t.customdata.slice(0, -1))") == [
        study.front.numbers for study in info.studies
    ]
    lines = {line["meta"]: line["y"] for line in page.evaluate(plots.format("bands"))}
    assert lines["band:0"] == pytest.approx(info.bands[0].middle)
    assert lines["low:0"] == pytest.approx(info.bands[0].low)
    assert [band.studies for band in info.bands] == [["a-seed=0", "a-seed=1"], [HOSTILE]]
    cells = page.locator("#figures tbody td:first-child").all_inner_texts()
    assert cells == list(searches)

    go_on(searches["a-seed=1"])
    row = "[...document.querySelectorAll('#figures tbody tr')].find(r => r.innerText.includes('a-seed=1'))"
    (now,) = gather_comparison([Studies(results).page("a-seed=1").record]).studies
    page.wait_for_function(f"{row}?.cells[1].innerText === '{now.num_trials}'")
    page.get_by_role("button", name=HOSTILE, exact=True).click()
    page.wait_for_selector("[data-chart=front] .main-svg", state="attached")
    assert page.inner_text("#study h1") == HOSTILE
    assert page.locator("#comparison").is_hidden()
    assert page.locator("img").count() == 0
    assert wrong == []
    page.context.close()


def test_a_search_is_watched_from_its_very_beginning(browser: Browser, address: str, results: Path) -> None:
    study = start_study(results, "new", 3, trials=0)
    page, wrong = opened(browser, address, "new")
    charts = ("importance", "options", "curves", "parallel")
    for name in charts:
        show(page, name)
        assert page.inner_text(f"[data-chart={name}]") == "Nothing to show yet."
    for _ in range(12):
        go_on(study)
    for name in charts:
        page.evaluate(f"{chart(name)}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        page.wait_for_function(f"{chart(name)}.data?.length > 0")
        assert page.locator(f"[data-chart={name}] .empty").count() == 0
    assert page.input_value("[data-switch=option]") != ""
    assert wrong == []
    page.context.close()


def test_a_phone_has_room_for_it(browser: Browser, address: str, searches: dict[str, Study]) -> None:
    for names in (list(searches), ["a-seed=0"]):
        page, wrong = opened(browser, address, *names, viewport=PHONE, has_touch=True, is_mobile=True)
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert wrong == []
        page.context.close()


def test_what_cannot_be_shown_is_said(browser: Browser, address: str) -> None:
    page = browser.new_page()
    wrong = watched(page)
    page.goto(f"{address}?study=a-seed%3D2")
    page.wait_for_function("document.querySelector('#problem')?.innerText.includes('did you mean')")
    assert "there is no study 'a-seed=2'" in page.inner_text("#problem")
    assert wrong == []
    page.close()


def test_only_this_machine_is_answered_and_nothing_is_written(address: str, results: Path) -> None:
    assert requests.get(address, timeout=10).status_code == 200
    assert requests.get(address, headers={"Host": "elsewhere.example"}, timeout=10).status_code == 403
    assert {path.name for path in (results / "a-seed=0").iterdir()} <= {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}


def test_a_study_that_was_removed_is_no_longer_there(tmp_path: Path) -> None:
    start_study(tmp_path, "gone", 0)
    studies = Studies(tmp_path)
    assert studies.names() == ["gone"]
    before = studies.revision("gone")
    assert studies.page("gone") is studies.page("gone")
    assert studies.revision("gone") == before
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    assert studies.names() == []
    with pytest.raises(ValueError, match="there is no study 'gone'"):
        studies.revision("gone")
