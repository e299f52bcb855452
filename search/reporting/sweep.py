"""The closing words of a sweep: its studies side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.reporting.tables import StudyInfo, best_trial, count_states, front, originals, table_hypervolume
from search.reporting.text import percent, readable

_HEADS = {
    "study": "study",
    "complete": "complete",
    "stopped": "stopped",
    "failed": "failed",
    "best_accuracy": "best accuracy",
    "flops": "its FLOPs",
    "front": "front",
    "hypervolume": "hypervolume",
    "training_s": "training",
}


def sweep_frame(studies: Sequence[tuple[pd.DataFrame, StudyInfo]]) -> pd.DataFrame:
    """One row a study: how many trials ended how, the best accuracy and what it costs, size and hypervolume of the front.

    Args:
        studies: the trials table and the facts of each.
    """
    rows = []
    for trials, info in studies:
        counts, best = count_states(trials), best_trial(trials, info.objective.cost)
        rows.append(
            {
                "study": info.name,
                "complete": counts.get("complete", 0),
                "stopped": counts.get("stopped", 0),
                "failed": counts.get("failed", 0),
                "best_accuracy": None if best is None else best["accuracy"],
                "flops": None if best is None else best["flops"],
                "front": len(front(trials, info.objective.cost)),
                "hypervolume": table_hypervolume(trials, info),
                "cost": info.objective.cost,
                "cost_low": info.cost_range[0],
                "cost_high": info.cost_range[1],
                "training_s": float(originals(trials)["seconds"].sum()),
            }
        )
    return pd.DataFrame(rows)


def sweep_summary(frame: pd.DataFrame, place: str) -> RenderableType:
    """The studies of a sweep as a table to be printed.

    Args:
        frame: as `sweep_frame` gives it.
        place: where the table is kept.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(f"{len(frame)} studies", style="bold")
    for name, head in _HEADS.items():
        table.add_column(head, justify="left" if name == "study" else "right", overflow="fold")
    for row in frame.to_dict("records"):
        found = not pd.isna(row["best_accuracy"])
        table.add_row(
            Text(row["study"]),
            *(str(row[name]) for name in ("complete", "stopped", "failed")),
            percent(row["best_accuracy"]) if found else "-",
            readable(row["flops"]) if found else "-",
            str(row["front"]),
            f"{row['hypervolume']:.4g}",
            f"{row['training_s']:.0f} s",
        )
    parts: list[RenderableType] = [Text(), table]
    if len(frame[["cost", "cost_low", "cost_high"]].drop_duplicates()) > 1:
        parts.append(Text("Hypervolumes of different spaces refer to different ranges of cost.", style="dim"))
    return Group(*parts, Text(f"As a table: {place}", style="dim"))
