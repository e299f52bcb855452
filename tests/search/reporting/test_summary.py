"""The closing words of a search."""

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from search.objective.reward import Objective
from search.reporting.summary import one_line, print_summary, telling_decisions
from search.reporting.tables import front, trials_frame, write_tables
from search.reporting.text import percent, readable
from tests.search.reporting.fake import HOSTILE, INFO, fake_trials

COMMAND = "python -m search.run space=shuffle_agg trials=80 'train.lr={float: [1e-3, 1e-1], log: true}'"


def said(trials: pd.DataFrame, folder: Path, width: int = 80, objective: Objective = INFO.objective) -> str:
    stream = io.StringIO()
    info = replace(INFO, objective=objective)
    print_summary(Console(file=stream, width=width), trials, info, folder, COMMAND)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_summary_shows_the_front_within_the_width(tmp_path: Path, width: int) -> None:
    trials = fake_trials(40)
    text = said(trials, tmp_path, width)
    table, files = text.split("Files in ")
    assert all(len(line) <= width for line in table.splitlines())
    assert f"Next: {COMMAND}" in files.splitlines(), "in one line, to be copied"
    assert files.splitlines()[0] == str(tmp_path)
    lines = [line.split() for line in text.splitlines()]
    for row in front(trials, "flops").to_dict("records"):
        start = [str(row["number"]), percent(row["accuracy"]), *readable(row["flops"]).split()]
        assert any(line[: len(start)] == start for line in lines), start


def test_summary_names_the_files_that_are_there(tmp_path: Path) -> None:
    trials = fake_trials(10)
    write_tables(trials, tmp_path, ["flops"])
    text = said(trials, tmp_path, width=200)
    assert "front.csv" in text
    assert "trials.csv" in text
    assert "pareto.html" not in text


def test_summary_uses_the_cost_of_the_objective(tmp_path: Path) -> None:
    trials = fake_trials(40)
    text = said(trials, tmp_path, objective=Objective(cost="params", target=(1e3, 1e5)))
    assert "accuracy against parameters" in text
    numbers = [line.split()[0] for line in text.splitlines() if "%  " in line]
    assert numbers == [str(number) for number in front(trials, "params")["number"]]


def test_a_long_front_is_cut_to_its_best(tmp_path: Path) -> None:
    rows = [
        {"number": i, "state": "complete", "accuracy": i / 100, "flops": 1000 + i, "params": 1, "a": i}
        for i in range(50)
    ]
    text = said(trials_frame(rows, ["a"]), tmp_path)
    assert "30 cheaper ones are in front.csv" in text
    assert "49.00%" in text
    assert "29.00%" not in text


def test_summary_without_a_front_says_so(tmp_path: Path) -> None:
    assert "no front yet" in said(trials_frame([], []), tmp_path)
    assert "1 failed" in said(trials_frame([{"number": 0, "state": "failed"}], []), tmp_path)


def test_hostile_decisions_are_text(tmp_path: Path) -> None:
    rows = [
        {
            "number": i,
            "state": "complete",
            "accuracy": i / 9,
            "flops": i + 1,
            "params": 1,
            "a": f"[red]{i}[/x]{HOSTILE}",
        }
        for i in range(3)
    ]
    assert "[red]2[/x]<script>" in said(trials_frame(rows, ["a"]), tmp_path, width=200)


def test_decisions_that_tell_most_come_first_and_fit() -> None:
    rows = [
        {
            "layers.1.block.conv.kernel_size": i,
            "train.lr": i / 10,
            "layers.1.block": "conv" if i else "pool",
            "width_multiplier": i + 0.25,
            "fixed": 1,
        }
        for i in range(2)
    ]
    members = trials_frame(rows, list(rows[0]))
    assert telling_decisions(members, 10_000) == ([name for name in rows[0] if name != "fixed"], 0)
    assert telling_decisions(members, 20) == (["layers.1.block"], 3)
    assert telling_decisions(members, 5) == ([], 4)
    names, num_hidden = telling_decisions(members, 45)
    assert (names, num_hidden) == (["layers.1.block", "width_multiplier"], 2)
    assert one_line({name: rows[1][name] for name in names}) == "width_multiplier 1.25; layers.1: conv"
