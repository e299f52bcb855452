"""How soon a large page shows its first chart, against Optuna's own figure of the same trials; how soon a new trial is live.

    python tests/benchmarks/page.py [trials]

Both files are opened in headless Chromium on this machine, five times each in turn; a time is that from opening the file to the
chart that stands, the best of the five. Both hold all of plotly.js. Optuna's file has that one figure; ours the whole study.
Then a dashboard shows a study to which a trial is added, ten times: a time is that from its end to the chart that holds it.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
import time
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from optuna.visualization import plot_pareto_front
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server

from search.reporting.dashboard import Studies, make_app
from search.reporting.page import write_page
from search.reporting.record import Record
from search.reporting.tables import completed
from tests.search.reporting.browsing import DESKTOP, chart, chromium
from tests.search.reporting.dashboard.test_app import go_on, start_study
from tests.search.reporting.fake import fake_record

REPEATS = 5
OURS = f"{chart('front')}?.dataset.drawn !== undefined"
THEIRS = "document.querySelectorAll('.scatterlayer .point').length > 0"


def write_rival(record: Record, path: Path) -> None:
    """Optuna's Pareto front of the same trials, with their decisions in its hover texts, as a file of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"])
    rows = completed(record.trials)
    names = [name for name in rows.columns if name.startswith(("layers.", "width", "resolution", "activation"))]
    options = {name: tuple(str(value) for value in rows[name].dropna().unique()) for name in names}
    study.add_trials(
        [
            create_trial(
                values=[row["accuracy"], row["flops"]],
                params={name: str(row[name]) for name in names if row[name] is not None},
                distributions={n: CategoricalDistribution(options[n]) for n in names if row[n] is not None},
            )
            for row in rows.to_dict("records")
        ]
    )
    plot_pareto_front(study, target_names=["accuracy", "flops"]).write_html(path, include_plotlyjs=True)


def first_chart_s(page: Page, path: Path, stands: str) -> float:
    """Seconds from opening a file to its chart."""
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_function(stands, timeout=120_000)
    return time.perf_counter() - start


def live_s(browser: Browser, folder: Path) -> list[float]:
    """Seconds until each of ten new trials is in a dashboard's chart."""
    study = start_study(folder, "running", 0)
    server = make_server("127.0.0.1", 0, make_app(Studies(folder), ["running"]).server, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.wait_for_function(OURS)
    seconds = []
    for _ in range(10):
        number = go_on(study)
        start = time.perf_counter()
        drawn = f"{chart('front')}.data.some(t => t.customdata?.includes({number}))"
        page.wait_for_function(drawn)
        seconds.append(time.perf_counter() - start)
    server.shutdown()
    return seconds


def main(num_trials: int) -> None:
    record = fake_record(num_trials)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        ours, theirs = Path(folder, "pareto.html"), Path(folder, "rival.html")
        start = time.perf_counter()
        write_page(record, ours)
        written_s = time.perf_counter() - start
        write_rival(record, theirs)
        page = browser.new_page(viewport=DESKTOP)
        times = {ours: [], theirs: []}
        for _ in range(REPEATS):
            times[ours].append(first_chart_s(page, ours, OURS))
            times[theirs].append(first_chart_s(page, theirs, THEIRS))
        live = live_s(browser, Path(folder, "results"))
        ours_s, theirs_s = min(times[ours]), min(times[theirs])
        megabytes = {path: path.stat().st_size / 1e6 for path in times}
    print(f"{num_trials} trials: the page is {megabytes[ours]:.1f} MB, written in {written_s:.1f} s")
    print(f"first chart after {ours_s:.2f} s (worst of {REPEATS}: {max(times[ours]):.2f} s)")
    print(f"a new trial is live after {sum(live) / len(live):.1f} s, at the worst of {len(live)} {max(live):.1f} s")
    print(f"Optuna's figure: {megabytes[theirs]:.1f} MB, after {theirs_s:.2f} s: ratio {theirs_s / ours_s:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
