"""Fronts in the trials table, and its CSV files."""

import math
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.reporting.tables import (
    TRIAL_COLUMNS,
    best_trial,
    count_states,
    decision_columns,
    front,
    known_costs,
    split_decisions,
    table_hypervolume,
    trials_frame,
    write_tables,
)
from search.system.files import replace_file
from tests.search.reporting.fake import INFO, fake_trials

ROWS = [
    {"number": 0, "state": "complete", "accuracy": 0.80, "flops": 200, "params": 9, "width": 1, "kind": "a"},
    {"number": 1, "state": "complete", "accuracy": 0.70, "flops": 100, "params": 20, "width": 1, "kind": "b"},
    {"number": 2, "state": "complete", "accuracy": 0.70, "flops": 150, "params": 30, "width": 1, "kind": "c"},
    {"number": 3, "state": "stopped", "accuracy": 0.99, "flops": 10, "params": 1, "width": 2},
    {"number": 4, "state": "failed", "flops": 10, "params": 1, "failure": "out of memory", "width": 2},
    {"number": 5, "state": "complete", "accuracy": 0.80, "flops": 200, "params": 9, "duplicate_of": 0, "width": 1},
    {"number": 6, "state": "complete", "accuracy": 0.80, "flops": 200, "params": 8, "width": 1, "kind": "a"},
    {"number": 7, "state": "running", "flops": 50, "width": 3},
    {"number": 8, "state": "complete", "accuracy": math.nan, "flops": 1, "width": 3},
    {"number": 9, "state": "failed", "flops": 10, "params": 1, "duplicate_of": 4, "width": 2},
    {"number": 10, "state": "running", "flops": 50, "duplicate_of": 7, "width": 3},
]


@pytest.fixture
def trials() -> pd.DataFrame:
    return trials_frame(ROWS, ["width", "kind"])


def test_columns_are_the_fixed_ones_and_then_the_decisions(trials: pd.DataFrame) -> None:
    assert list(trials.columns) == [*TRIAL_COLUMNS, "width", "kind"]
    assert decision_columns(trials) == ["width", "kind"]


def test_front_holds_complete_trials_only(trials: pd.DataFrame) -> None:
    assert front(trials, "flops")["number"].tolist() == [1, 0, 6]  # equal points both stay, oldest first
    assert front(trials, "params")["number"].tolist() == [6]
    assert list(front(trials, "flops").columns) == list(trials.columns)


def test_front_of_nothing_is_an_empty_table(trials: pd.DataFrame) -> None:
    assert front(trials, "latency_ms").empty  # not measured
    assert front(trials_frame([], ["width"]), "flops").empty
    assert front(trials[trials["state"] == "failed"], "flops").empty


def test_of_equals_the_cheapest_is_the_best() -> None:
    rows = [
        {"number": number, "state": "complete", "accuracy": 0.9, "flops": flops, "params": 10 - flops}
        for number, flops in enumerate((3, 2, 2))
    ]
    for cost, number in (("flops", 1), ("params", 0)):
        best = best_trial(trials_frame(rows, []), cost)
        assert best is not None
        assert best["number"] == number


def test_the_best_and_the_counts(trials: pd.DataFrame) -> None:
    best = best_trial(trials, "flops")
    assert best is not None
    assert best["number"] == 0
    assert best_trial(trials[trials["state"] != "complete"], "flops") is None
    assert best_trial(trials[trials["number"] == 5], "flops") is None  # its original is the one to name
    assert count_states(trials) == {"complete": 5, "stopped": 1, "failed": 1, "running": 1, "duplicate": 3}
    assert known_costs(trials) == ["flops", "params"]


def test_hypervolume_counts_complete_trials_above_chance_inside_the_range() -> None:
    low, high = INFO.cost_range
    rows = [
        {"number": 0, "state": "complete", "accuracy": 0.6, "flops": low / 3},  # counts as the low end
        {"number": 1, "state": "complete", "accuracy": 0.05, "flops": low},  # below chance
        {"number": 2, "state": "complete", "accuracy": 0.9, "flops": high},  # at the reference
        {"number": 3, "state": "stopped", "accuracy": 0.9, "flops": low},
        {"number": 4, "state": "complete", "accuracy": 0.7, "flops": high / math.e},
    ]
    expected = (0.6 - 0.1) * math.log(high / low) + 0.1 * 1
    assert table_hypervolume(trials_frame([{**row, "flops": round(row["flops"])} for row in rows], []), INFO) == (
        pytest.approx(expected, rel=1e-5)
    )
    assert table_hypervolume(trials_frame([], []), INFO) == 0


def test_decisions_that_differ_and_those_shared(trials: pd.DataFrame) -> None:
    differ, shared = split_decisions(front(trials, "flops"))
    assert differ == ["kind"]
    assert shared == {"width": 1}
    odd = trials_frame([{"number": 0, "a": [1, 2], "b": True}, {"number": 1, "a": [1, 2], "b": 1}], ["a", "b", "c"])
    assert split_decisions(odd) == (["b"], {"a": [1, 2]})


def test_files_hold_what_the_tables_hold(trials: pd.DataFrame, tmp_path: Path) -> None:
    written = write_tables(trials, tmp_path / "new", ["flops", "params"])
    assert [path.name for path in written] == ["trials.csv", "front.csv", "front_params.csv"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    read = {path.name: pd.read_csv(path) for path in written}
    assert read["trials.csv"]["number"].tolist() == list(range(11))
    assert read["front.csv"]["number"].tolist() == [1, 0, 6]
    assert read["front_params.csv"]["number"].tolist() == [6]


def test_whole_numbers_stay_whole_beside_empty_cells(trials: pd.DataFrame, tmp_path: Path) -> None:
    write_tables(trials, tmp_path, ["flops"])
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert lines[0].startswith("number,state,accuracy,accuracy_top5,flops,params,latency_ms,latency_error,")
    assert lines[6] == "5,complete,0.8,,200,9,,,,,,,,,,0,,,1,"


def test_the_front_read_back_is_the_front_of_what_is_read_back(tmp_path: Path) -> None:
    trials = fake_trials(60)
    write_tables(trials, tmp_path, ["flops"])
    again = pd.read_csv(tmp_path / "trials.csv")
    assert front(again, "flops")["number"].tolist() == pd.read_csv(tmp_path / "front.csv")["number"].tolist()
    members = front(again, "flops")
    assert (np.diff(members["flops"]) > 0).all()
    assert (np.diff(members["accuracy"]) > 0).all()


def test_replacing_a_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    path = tmp_path / "a" / "table.csv"
    replace_file(path, "old\n")
    replace_file(path, "new\n")
    assert path.read_text() == "new\n"
    assert [child.name for child in path.parent.iterdir()] == ["table.csv"]
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    replace_file(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "\ud800")
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["table.csv"]
