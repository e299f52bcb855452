"""Names of others in a terminal and in a spreadsheet."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.table import Table
from rich.text import Text

from search.reporting.console import Terminal
from search.system.printable import csv_text, printable

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31mb\r\u202ec"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x9b31m", "\ufffd31m"),
        ("a\rb\x08c\x7f", "a\ufffdb\ufffdc\ufffd"),
        ("abc\u202ecba", "abc\ufffdcba"),
        ("two\nlines\tand ünicode 名 😀", "two\nlines\tand ünicode 名 😀"),
    ],
)
def test_a_terminal_obeys_nothing_in_a_text(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_terminal_keeps_its_own_colours_alone() -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, color_system="standard", width=80)
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE, style="red"))
    console.print(table, Text(HOSTILE), HOSTILE)
    written = file.getvalue()
    assert "\x1b[31m" in written
    for sequence in ("\x1b]0;", "\x07", "\x1b[2J", "\x9b", "\r", "\u202e"):
        assert sequence not in written


def test_a_spreadsheet_runs_no_cell_and_numbers_stay_numbers() -> None:
    table = pd.DataFrame(
        {
            "=name": ["=1+1", "+1+1", "@SUM(A1)", "-1+cmd|' /C calc'!A0", "\t=1", " =1", "plain"],
            "value": ["-1", "+2.5e-3", "-.5", "1", None, "x=1", -3],
            "accuracy": [-0.5, 0.25, 1.0, 0.0, 0.5, 0.5, 0.5],
        }
    )
    assert csv_text(table).splitlines() == [
        "'=name,value,accuracy",
        "'=1+1,-1,-0.5",
        "'+1+1,+2.5e-3,0.25",
        "'@SUM(A1),-.5,1.0",
        "'-1+cmd|' /C calc'!A0,1,0.0",
        "'\t=1,,0.5",
        "' =1,x=1,0.5",
        "plain,-3,0.5",
    ]
