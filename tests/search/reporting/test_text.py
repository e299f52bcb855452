"""Numbers and decisions in words."""

import math

import pandas as pd
import pytest

from search.objective.reward import Objective
from search.reporting.text import decision_lines, describe_objective, duration, group_decisions, percent, readable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999"),
        (12.345, "12.3"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (9994, "9.99 k"),
        (9996, "10.0 k"),
        (45_230, "45.2 k"),
        (999_499, "999 k"),
        (999_600, "1.00 M"),
        (1_234_567, "1.23 M"),
        (300e6, "300 M"),
        (5.7e9, "5.70 G"),
        (2.5e15, "2500 T"),
        (math.nan, "-"),
        (None, "-"),
        (pd.NA, "-"),
    ],
)
def test_readable(value: float, expected: str) -> None:
    assert readable(value) == expected


def test_percent_and_duration() -> None:
    assert (percent(0.96378), percent(1), percent(math.nan)) == ("96.38%", "100.00%", "-")
    assert [duration(s) for s in (0, 7.4, 59.6, 754, 3723)] == ["0:00", "0:07", "1:00", "12:34", "1:02:03"]


def test_decisions_are_grouped_by_the_part_they_belong_to() -> None:
    groups = group_decisions(
        {
            "width_multiplier": 0.5,
            "layers.1.block": "shuffle_agg",
            "layers.1.block.shuffle_agg.groups": 4,
            "layers.1.block.conv.groups": None,
            "layers.10.repeat": 2,
            "train.lr": 0.0123456,
            "tied": math.nan,
        }
    )
    assert groups == {
        "": {"width_multiplier": "0.5"},
        "layers.1": {"block": "shuffle_agg", "groups": "4"},
        "layers.10": {"repeat": "2"},
        "train": {"lr": "0.01235"},
    }


def test_names_that_end_alike_keep_their_whole_names() -> None:
    groups = group_decisions({"layers.1.a.kernel_size": 3, "layers.1.b.kernel_size": 5, "layers.1.repeat": 1})
    assert groups == {"layers.1": {"a.kernel_size": "3", "b.kernel_size": "5", "repeat": "1"}}


def test_lines_keep_names_with_values_and_within_the_width() -> None:
    decisions = {f"layers.1.block.shuffle_agg.option_{i}": i for i in range(12)} | {"x": "y" * 500, "w": "a\nb"}
    lines = decision_lines(decisions, width=40)
    assert all(len(line) <= 40 for line in lines)
    for i in range(12):
        assert sum(f"option_{i} {i}" in line for line in lines) == 1
    assert any("w a b" in line for line in lines)
    assert len("".join(lines)) < 400  # a very long value is cut


def test_an_objective_in_a_line() -> None:
    objective = Objective(target=(1.12e5, 2e6), max_params=5e4)
    expected = "MnasNet reward over FLOPs · targets 112 k to 2.00 M · alpha 0, beta −∞ · at most 50.0 k parameters"
    assert describe_objective(objective) == expected
    assert describe_objective(Objective(cost="params", target=3e5, alpha=-0.07, beta=-0.07)) == (
        "MnasNet reward over parameters · target 300 k · alpha -0.07, beta -0.07"
    )
    assert "over the range of the space" in describe_objective(Objective())
