"""Names and messages of others, made fit for a terminal and a spreadsheet, which both run some of what they show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters but tab and line feed, among them escape sequences' first, and those that turn the direction of writing."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_FORMULA = re.compile(r"\s*[=+@\-\t\r|]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")


def printable(text: str) -> str:
    """The text without what a terminal would obey; a mark stands in place of each such character."""
    return _CONTROLS.sub(_REPLACEMENT, text)


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV. What a spreadsheet would run as a formula opens with an apostrophe, by which it is a text there."""
    import pandas as pd  # only where a table is written

    safe = table.rename(columns=_as_text)
    for name, column in safe.items():
        if column.dtype.kind == "O":
            # not by `map`, which would make floats of whole numbers beside empty cells
            safe[name] = pd.Series([_as_text(cell) for cell in column], index=column.index, dtype="object")
    return safe.to_csv(index=False, lineterminator="\n")


def _as_text(cell: object) -> object:
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
