"""What a dashboard's server opens, and what it answers to requests that its own page would never make."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from search import load_study
from search.reporting.dashboard import Studies, make_app
from search.trials.storage import DATABASE, open_database, open_study
from spaces import InputError
from tests.search.reporting.dashboard.test_app import go_on, start_study


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one finished study, whose file nobody has open, and a database outside of it."""
    study = start_study(tmp_path / "made", "small", 0, trials=4)
    assert study is not None
    with sqlite3.connect(tmp_path / "made" / "small" / DATABASE) as copied:
        (tmp_path / "results" / "small").mkdir(parents=True)
        with sqlite3.connect(tmp_path / "results" / "small" / DATABASE) as copy:
            copied.backup(copy)
        copy.close()
    copied.close()
    outside = tmp_path / "outside" / "secret"
    shutil.copytree(tmp_path / "results" / "small", outside)
    (tmp_path / "outside" / "foreign").mkdir()
    with sqlite3.connect(tmp_path / "outside" / "foreign" / DATABASE) as foreign:
        foreign.execute("CREATE TABLE diary (day TEXT)")
    foreign.close()
    return tmp_path / "results"


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret",
        "../outside/foreign",
        "small/../../outside/secret",
        "ABSOLUTE",
        "..",
        ".",
        "",
        "small/",
        "small\0",
        "link",
        "x" * 5000,
        "\ud800",
        None,
        7,
        ["small"],
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(results: Path, name: Any) -> None:
    (results / "link").symlink_to(results.parent / "outside" / "secret")
    before = contents(results.parent / "outside")
    studies = Studies(results)
    with pytest.raises(InputError):
        studies.page(str(results.parent / "outside" / "secret") if name == "ABSOLUTE" else name)
    assert contents(results.parent / "outside") == before
    assert studies.names() == ["small"]


def test_looking_at_a_study_changes_no_file(results: Path) -> None:
    before = contents(results)
    studies = Studies(results)
    assert len(studies.page("small").record.trials) == 5
    assert len(load_study("small", results).trials) == 5
    assert len(open_study(results / "small", None, "small").trials) == 5
    assert contents(results) == before


def test_a_foreign_database_is_refused_and_not_made_a_study(results: Path) -> None:
    shutil.copytree(results.parent / "outside" / "foreign", results / "foreign")
    before = contents(results)
    with pytest.raises(InputError, match="is not the database of a study"):
        Studies(results).page("foreign")
    assert contents(results) == before


def test_what_a_search_writes_meanwhile_is_seen(tmp_path: Path) -> None:
    study = start_study(tmp_path, "small", 0, trials=2)
    studies = Studies(tmp_path)
    before = len(studies.page("small").record.trials)
    go_on(study)
    assert len(studies.page("small").record.trials) == before + 1
    database = open_database(tmp_path / "small" / DATABASE)  # a reader keeps nobody from writing
    database.set_study_user_attr(0 + database.get_study_id_from_name("small"), "noted", 1)


def test_a_folder_made_anew_under_the_same_name_is_read_anew(results: Path) -> None:
    studies = Studies(results)
    assert len(studies.page("small").record.trials) == 5
    shutil.rmtree(results / "small")
    with pytest.raises(InputError, match="there is no study 'small'"):
        studies.page("small")
    start_study(results, "small", 1, trials=1)
    assert len(studies.page("small").record.trials) == 2


@pytest.mark.parametrize(("copied", "name"), [(False, "renamed"), (True, "copied")])
def test_a_renamed_or_copied_folder_is_the_study_that_its_database_holds(
    results: Path, copied: bool, name: str
) -> None:
    (shutil.copytree if copied else shutil.move)(results / "small", results / name)  # type: ignore[operator]
    found = load_study(name, results)
    assert (found.name, len(found.trials)) == (name, 5)
    assert Studies(results).page(name).record.info.name == name


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"output": "news.data", "outputs": {}, "inputs": [], "changedPropIds": []},
        {
            "output": "answer.data",
            "outputs": {"id": "answer", "property": "data"},
            "inputs": [{"id": "wanted", "property": "data", "value": {"study": "../outside/secret\x1b[31m\n"}}],
            "changedPropIds": ["wanted.data"],
        },
    ],
)
def test_a_request_that_fails_is_one_line_in_the_log(
    results: Path, body: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_app(Studies(results), ["small"]).server.test_client()
    with caplog.at_level(logging.ERROR):
        answer = client.post("/_dash-update-component", json=body, headers={"Host": "localhost"})
    assert answer.status_code in (200, 400, 500)
    assert len(caplog.records) <= 1
    assert all("\n" not in record.message and "\x1b" not in record.message for record in caplog.records)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err + caplog.text
