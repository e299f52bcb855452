"""The page in a real browser: what it shows is what the study holds, and nothing a study says is run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page

from search.reporting.figures import (
    gather_curves,
    gather_effort,
    gather_hypervolume,
    gather_importance,
    gather_options,
    gather_parallel,
)
from search.reporting.figures.decisions import short_name
from search.reporting.networks import read_network
from search.reporting.page import write_page
from search.reporting.record import Record, kinds_of
from search.reporting.tables import front, originals, trials_frame
from spaces import decode
from tests.search.reporting.browsing import DESKTOP, OVERFLOWING, PHONE, WIDEST_BAR, chart, chromium, show, watched
from tests.search.reporting.fake import HOSTILE, RECORD_INFO, fake_record

POINTS = "[data-chart=front] .scatterlayer .trace:nth-last-child(2) .point"
"""The front's marks: the reference networks come after them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def record() -> Record:
    """A study in which decisions, a failure and the study's name mean harm, and one network no longer builds."""
    record = fake_record(60, name=HOSTILE)
    trials = record.trials
    trials.loc[front(trials, "flops")["number"], "layers.1.block"] = HOSTILE
    trials.loc[trials["state"] == "failed", "failure"] = HOSTILE
    lost = trials["digest"].iloc[gone(record)]
    description = {**record.architectures[lost], "layers": [{"block": "of_another_time", "channels": 8}]}
    return replace(record, architectures={**record.architectures, lost: description})


def gone(record: Record) -> int:
    """The number of the trial whose network no longer builds."""
    return next(n for n, kind in kinds_of(record.trials, "flops").items() if kind == "dominated")


@pytest.fixture(scope="module")
def path(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "pareto.html"
    write_page(record, path)
    return path


@pytest.fixture(scope="module")
def desktop(browser: Browser, path: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page on a wide screen, loaded once: each test leaves it as it was."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    wrong = watched(page)
    page.goto(path.as_uri())
    page.wait_for_function(f"{chart('front')}.dataset.drawn")
    yield page, wrong
    context.close()


def test_the_chart_and_the_front_show_the_trials_and_run_nothing(
    desktop: tuple[Page, list[str]], record: Record
) -> None:
    page, wrong = desktop
    trials = record.trials
    traces = page.evaluate(f"{chart('front')}.data.map(t => ({{meta: t.meta, x: t.x, y: t.y, numbers: t.customdata}}))")
    drawn = {trace["meta"]: trace for trace in traces}
    members = front(trials, "flops")
    assert drawn["front"]["numbers"] == members["number"].tolist()
    assert drawn["front"]["x"] == members["flops"].tolist()
    assert drawn["front"]["y"] == members["accuracy"].tolist()
    once = originals(trials)
    complete = once[(once["state"] == "complete") & ~once["number"].isin(members["number"])]
    assert drawn["dominated"]["numbers"] == complete["number"].tolist()
    for kind in ("stopped", "failed", "infeasible"):
        assert drawn[kind]["numbers"] == once[once["state"] == kind]["number"].tolist()
    assert drawn["reference"]["numbers"] == [0]
    symbols = page.evaluate(
        f"{chart('front')}._fullData.filter(t => t.visible === true && t.mode !== 'lines').map(t => t.marker.symbol)"
    )
    assert len(set(symbols)) == 5  # those outside the limits are not shown at first

    cells = "[...document.querySelectorAll('.table[data-cost=flops] td.{}')].map(cell => Number(cell.dataset.value))"
    for column in ("number", "flops", "params", "accuracy", "reward"):
        assert page.evaluate(cells.format("trial" if column == "number" else column)) == members[column].tolist()
    assert page.inner_text("h1") == " ".join(HOSTILE.split())
    assert page.inner_text(".facts dd") == "60"
    assert page.locator("img").count() == 0
    assert page.evaluate("[...document.scripts].every(s => s.type === 'application/json' || !s.src)")

    page.locator(POINTS).nth(2).hover(force=True)
    page.wait_for_selector("#tip:not([hidden])")
    said = " ".join(page.inner_text("#tip").split())
    assert f"Trial {members['number'].iloc[2]} · on the front" in said
    assert "<script>alert('x')</script>" in said
    assert wrong == []


def test_every_other_chart_holds_what_was_gathered(desktop: tuple[Page, list[str]], record: Record) -> None:
    page, wrong = desktop

    def traces(name: str) -> list[dict[str, list[float]]]:
        show(page, name)
        return page.evaluate(f"{chart(name)}.data.map(t => ({{meta: t.meta, x: t.x, y: t.y, of: t.customdata}}))")

    importance = gather_importance(record)
    accuracy, equal_cost = traces("importance")
    shares = {short_name(name): share for name, share in zip(importance.decisions, importance.accuracy, strict=True)}
    assert accuracy["x"] == pytest.approx([shares[label] for label in accuracy["y"]])
    assert len(equal_cost["x"]) == len(accuracy["x"]) > 5
    options = gather_options(record)[0].options
    assert [trace["x"][:-1] for trace in traces("options")] == [option.costs for option in options]
    counts = (
        "[...document.querySelectorAll('[data-table=options] tbody td:nth-child(2)')].map(c => Number(c.textContent))"
    )
    page.wait_for_function(f"{counts}.length > 0")
    assert page.evaluate(counts) == [option.num_trials for option in options]
    assert traces("hypervolume")[0]["y"] == pytest.approx(gather_hypervolume(record).volumes)
    curves = {trace["meta"]: trace for trace in traces("curves")}
    for kind, numbers in gather_curves(record).numbers.items():
        assert list(dict.fromkeys(n for n in curves[kind]["of"] if n is not None)) == numbers
    effort = gather_effort(record)
    assert traces("effort")[0]["of"] == pytest.approx([seconds for seconds in effort.seconds.values() if seconds])
    ends = [x for trace in traces("timeline") for x in trace["x"] if x is not None]
    assert len(ends) == 2 * len(effort.bars)
    show(page, "parallel")
    axes = page.evaluate(f"{chart('parallel')}.data[0].dimensions.map(d => d.values)")
    assert axes == [axis.values for axis in gather_parallel(record, importance).axes]
    assert page.evaluate(f"{chart('parallel')}.querySelectorAll('canvas').length") > 0

    page.check("input[name=over][value=time]")
    page.wait_for_function(f"{chart('hypervolume')}.dataset.drawn === 'hypervolume:time'")
    seconds = page.evaluate(f"{chart('hypervolume')}.data[0].x")
    scale = gather_hypervolume(record).seconds[-1] / seconds[-1]
    assert [x * scale for x in seconds] == pytest.approx(gather_hypervolume(record).seconds)
    page.check("input[name=over][value=trials]")
    assert wrong == []


def test_another_cost_changes_the_charts_and_the_table(desktop: tuple[Page, list[str]], record: Record) -> None:
    page, wrong = desktop
    page.evaluate("scrollTo(0, 0)")
    page.focus("input[name=cost][value=flops]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{chart('front')}.dataset.drawn === 'front:params'")
    drawn = page.evaluate(f"{chart('front')}.data.find(t => t.meta === 'front')")
    members = front(record.trials, "params")
    assert (drawn["x"], drawn["y"]) == (members["params"].tolist(), members["accuracy"].tolist())
    assert page.evaluate(f"{chart('front')}.layout.xaxis.type") == "log"
    assert page.is_visible(".table[data-cost=params]")
    assert not page.is_visible(".table[data-cost=flops]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"{chart('front')}.dataset.drawn === 'front:flops'")
    assert wrong == []


def test_a_click_opens_the_network(desktop: tuple[Page, list[str]], record: Record, path: Path) -> None:
    page, wrong = desktop
    page.evaluate("scrollTo(0, 0)")
    page.locator(POINTS).nth(1).click(force=True)
    page.wait_for_selector("#detail:not([hidden])")
    members = front(record.trials, "flops")
    # where marks lie upon one another, either is right
    [position] = [i for i, n in enumerate(members["number"]) if page.inner_text("#detail-title") == f"Trial {n}"]
    member = members.iloc[position]
    layers = read_network(record.architectures[member["digest"]]).layers
    assert page.evaluate("[...document.querySelectorAll('.layer[data-block]')].map(l => l.dataset.block)") == [
        layer.block for layer in layers
    ]
    bars = "[...document.querySelectorAll('.layer .bar:{}-child')].map(bar => Number(bar.dataset.value))"
    assert page.evaluate(bars.format("first")) == [layer.flops for layer in layers]
    assert page.evaluate(bars.format("last")) == [layer.params for layer in layers]
    assert page.evaluate(WIDEST_BAR) > 50
    training, exporting, description = page.locator("#detail pre").all_inner_texts()
    name = f"{member['number']:04d}-{member['digest']}"
    assert training.startswith("python -m search.train architecture=")
    assert f"front/{name}.yaml" in training
    assert f"train.lr={member['train.lr']}" in training
    assert exporting == f"python -m search.export folder=trained/{name}"
    assert decode(yaml.safe_load(description)).digest == member["digest"]
    assert HOSTILE[:30] in page.inner_text("#detail")
    page.keyboard.press("Escape")
    assert not page.is_visible("#detail")
    assert wrong == []


def test_a_network_that_no_longer_builds_is_shown_as_it_was_stored(
    desktop: tuple[Page, list[str]], record: Record
) -> None:
    page, wrong = desktop
    page.evaluate(f"smallnets.page.open({gone(record)})")
    page.wait_for_selector("#detail:not([hidden])")
    said = page.inner_text("#detail")
    assert "does not build" in said
    assert "of_another_time" in said
    stored = yaml.safe_load(page.locator("#detail pre").last.inner_text())
    assert stored == record.architectures[record.trials["digest"].iloc[gone(record)]]
    page.keyboard.press("Escape")
    assert wrong == []


def test_every_network_is_written_as_it_is(desktop: tuple[Page, list[str]], record: Record) -> None:
    page, _ = desktop
    texts = page.evaluate(
        """async () => {
            const model = await smallnets.page.source.model();
            const built = Object.entries(model.networks).filter(([, network]) => !network.problem);
            return Object.fromEntries(built.map(([digest, network]) => [digest, smallnets.yaml(network, model.layers)]));
        }"""
    )
    assert len(texts) == len(record.architectures) - 1
    for digest, text in texts.items():
        assert decode(yaml.safe_load(text)).digest == digest


def test_the_table_is_sorted_filtered_and_turned(desktop: tuple[Page, list[str]], record: Record) -> None:
    page, wrong = desktop
    trials = record.trials
    page.evaluate("document.querySelector('[data-table=trials]').scrollIntoView({behavior: 'instant'})")
    page.wait_for_selector("[data-table=trials] tbody tr")
    numbers = "[...document.querySelectorAll('[data-table=trials] tbody button')].map(b => Number(b.textContent))"
    assert page.evaluate(numbers) == list(range(59, 9, -1))
    page.click("[data-table=pages] button:last-child")
    assert page.evaluate(numbers) == list(range(9, -1, -1))
    page.click("[data-table=trials] th[data-column=flops] button")
    assert page.evaluate(numbers) == trials.sort_values("flops", ascending=False, kind="stable")["number"][:50].tolist()
    assert page.get_attribute("th[data-column=flops]", "aria-sort") == "descending"
    page.click("[data-table=trials] th[data-column=number] button")
    page.fill("[data-filter=text]", "accuracy>=0.8 activation=relu")
    wanted = trials[(trials["accuracy"] >= 0.8) & (trials["activation"] == "relu")]
    assert sorted(page.evaluate(numbers)) == wanted["number"].tolist()
    page.fill("[data-filter=text]", "<script>alert")
    hostile = trials[(trials["layers.1.block"] == HOSTILE) | (trials["failure"] == HOSTILE)]
    assert sorted(page.evaluate(numbers)) == hostile["number"].tolist()
    for query, said in (
        ("colour>3", "No trial matches, and there is no column colour"),
        ("nothing", "No trial matches"),
    ):
        page.fill("[data-filter=text]", query)
        assert page.inner_text("[data-table=pages] span") == said
    page.fill("[data-filter=text]", "accuracy>=")
    assert len(page.evaluate(numbers)) == 50, "a bound that is being typed"
    page.fill("[data-filter=text]", "")
    page.select_option("[data-filter=state]", "outside the limits")
    assert sorted(page.evaluate(numbers)) == trials[trials["state"] == "infeasible"]["number"].tolist()
    page.select_option("[data-filter=state]", "")
    assert wrong == []


def test_legend_hides_and_shows_a_kind(desktop: tuple[Page, list[str]]) -> None:
    page, wrong = desktop
    page.evaluate("scrollTo(0, 0)")
    visible = f"Object.fromEntries({chart('front')}.data.map(t => [t.meta, t.visible]))"
    assert page.evaluate(visible)["infeasible"] is False
    page.focus(".legend button[data-kind=front]")
    page.keyboard.press("Enter")
    assert page.get_attribute(".legend button[data-kind=front]", "aria-pressed") == "false"
    page.wait_for_function(f"!{visible}.front")
    shown = page.evaluate(visible)
    assert not shown["area"]
    assert shown["dominated"]
    page.keyboard.press("Enter")
    page.wait_for_function(f"{visible}.front")
    assert wrong == []


def test_colours_follow_the_system(desktop: tuple[Page, list[str]]) -> None:
    page, wrong = desktop
    colours = f"[{chart('front')}._fullLayout.paper_bgcolor, getComputedStyle(document.body).color]"
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"light => {chart('front')}._fullLayout.paper_bgcolor !== light", arg=light[0])
    assert page.evaluate(colours)[1] != light[1]
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"light => {chart('front')}._fullLayout.paper_bgcolor === light", arg=light[0])
    assert wrong == []


def test_every_width_shows_all_of_it_within_its_cards(browser: Browser, tmp_path: Path, record: Record) -> None:
    flops = record.trials["flops"]
    costs = {"latency_ms": flops / 1e6, "memory_access": 4 * flops, "activation_bytes": flops // 7}
    record = replace(record, trials=record.trials.assign(**costs, measured_ms=flops / 9e5))
    path = tmp_path / "pareto.html"
    write_page(record, path)
    wide = browser.new_page(viewport=DESKTOP)
    wide.goto(path.as_uri())
    wide.wait_for_function(f"{chart('front')}.dataset.drawn")
    assert wide.evaluate(OVERFLOWING) == []
    wide.close()
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    wrong = watched(page)
    page.goto(path.as_uri())
    page.wait_for_function(f"{chart('front')}.dataset.drawn")
    for name in ("importance", "parallel", "timeline"):
        show(page, name)
    assert page.locator("input[name=cost]").count() == 5
    assert page.evaluate(OVERFLOWING) == []
    page.evaluate("scrollTo(0, 0)")
    page.locator(POINTS).nth(2).tap(force=True)
    page.wait_for_selector("#detail:not([hidden])")
    assert int(page.inner_text("#detail-title").removeprefix("Trial ")) in set(front(record.trials, "flops")["number"])
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate("document.querySelector('main').inert")
    page.tap("#detail button[aria-label=Close]")
    assert not page.evaluate("document.querySelector('main').inert")
    assert wrong == []
    context.close()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"number": 0, "state": "failed", "flops": 10**6, "params": 1, "digest": "a"}],
        [{"number": 0, "state": "complete", "accuracy": 0.5, "flops": 10**5, "params": 9, "digest": "a"}],
    ],
    ids=["no trial", "one that failed", "a front of one"],
)
def test_a_study_that_holds_little_is_a_page_too(
    browser: Browser, tmp_path: Path, rows: list[dict[str, object]]
) -> None:
    path = tmp_path / "pareto.html"
    write_page(Record(trials_frame(rows, ["width"]), RECORD_INFO), path)
    page = browser.new_page(viewport=DESKTOP)
    wrong = watched(page)
    page.goto(path.as_uri())
    for name in ("front", "importance", "options", "hypervolume", "curves", "effort", "timeline"):
        show(page, name)
    complete = sum(row["state"] == "complete" for row in rows)
    assert page.inner_text(".facts div:nth-child(3) dd.figure") == str(complete)
    assert ("No trial is complete yet." in page.inner_text("main")) == (complete == 0)
    if rows:
        page.evaluate("smallnets.page.open(0)")
        page.wait_for_selector("#detail:not([hidden])")
    assert wrong == []
    page.close()
