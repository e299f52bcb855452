"""The closing words of a search: what it found, where that is, and what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.config.command_lines import setting
from search.latency.device import in_words
from search.reporting.tables import (
    StudyInfo,
    best_trial,
    count_states,
    fallen,
    floats,
    front,
    known_costs,
    split_decisions,
    table_hypervolume,
)
from search.reporting.text import (
    STATE_WORDS,
    decision_text,
    describe_objective,
    group_decisions,
    is_missing,
    percent,
    readable_number,
)

_ALWAYS_SHOWN = ("flops", "params", "latency_ms")
_MAX_ROWS = 20
_NUMBERS_WIDTH = 36  # what the columns beside the decisions take


def print_summary(console: Console, trials: pd.DataFrame, info: StudyInfo, folder: Path, command: str) -> None:
    """Says what a search has found: what became of its trials, the front, the files, and the next useful command.

    Args:
        console: where to.
        trials: the trials table.
        info: what else is said of the study.
        folder: the study's folder.
        command: to be copied, and so never broken into lines; nor is the folder.
    """
    console.print(summary(trials, info, console.width))
    there = measure_there(info, folder)
    if there:
        commands = [Text(f"  {line}", style="bold") for line in there]
        console.print(Group(Text(), Text("To measure the front on its device:"), *commands), soft_wrap=True)
    console.print(Group(Text(), _files(folder), Text(), Text.assemble("Next: ", (command, "bold"))), soft_wrap=True)


def summary(trials: pd.DataFrame, info: StudyInfo, width: int = 80) -> RenderableType:
    """What became of the trials, and the front of the objective's cost as a table (its best 20 where it is longer).

    The table shows the decisions in which the front's members differ. Names and decisions are shown as text, whatever they contain.

    Args:
        trials: the trials table.
        info: what else is said of the study.
        width: the console's columns: decisions are shown as far as two lines a network hold them.
    """
    cost = info.objective.cost
    members = front(trials, cost)
    parts: list[RenderableType] = [
        Text(),
        _headline(trials, info),
        Text(describe_objective(info.objective, info.costs), style="dim"),
        *_failures(trials),
    ]
    if members.empty:
        parts.append(Text("No trial is complete: there is no front yet."))
    else:
        shown, num_hidden = telling_decisions(members.tail(_MAX_ROWS), 2 * (max(width, 60) - _NUMBERS_WIDTH))
        parts += [Text(), _front_table(members.tail(_MAX_ROWS), info, _shown_costs(trials, info), shown)]
        table = "front.csv" if cost == "flops" else f"front_{cost}.csv"
        if num_hidden:
            parts.append(Text(f"{num_hidden} more decisions in which they differ are in {table}", style="dim"))
        parts += _confirmation(trials, members, cost)
        parts += _latency(trials, info)
        if len(members) > _MAX_ROWS:
            parts.append(Text(f"{len(members) - _MAX_ROWS} cheaper ones are in {table}", style="dim"))
    return Group(*parts)


def _failures(trials: pd.DataFrame) -> list[Text]:
    """Why most of the failed ones failed; nothing where none did."""
    reasons = trials[trials["state"] == "failed"]["failure"].value_counts()
    if reasons.empty:
        return []
    return [Text(f"{reasons.iloc[0]} of {reasons.sum()} failures: {reasons.index[0]}", style="red")]


def _headline(trials: pd.DataFrame, info: StudyInfo) -> Text:
    counts = ", ".join(f"{count} {STATE_WORDS[state]}" for state, count in count_states(trials).items())
    best = best_trial(trials, info.objective.cost)
    found = "" if best is None else f"; best accuracy {_accuracy(best)} (trial {best['number']})"
    volume = f"; hypervolume {table_hypervolume(trials, info):.4g}"
    return Text.assemble((info.name, "bold"), f": {counts or 'no trials'}{found}{volume}")


def _shown_costs(trials: pd.DataFrame, info: StudyInfo) -> list[str]:
    """The costs that have a column: those everybody asks for, and the one that is traded."""
    shown = {*_ALWAYS_SHOWN, info.objective.cost}
    return [known for known in known_costs(trials, info.costs) if known in shown]


def _front_table(members: pd.DataFrame, info: StudyInfo, costs: Sequence[str], shown: Sequence[str]) -> Table:
    """The front, cost rising; numbers keep their width, decisions take what is left."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(f"The front: accuracy against {info.traded.noun}", style="bold")
    measured = "measured_ms" in members
    for name in ["trial", "accuracy", *(info.costs[known].head for known in costs), *["measured"] * measured]:
        table.add_column(name, justify="right", no_wrap=True)
    if shown:
        table.add_column("decisions in which they differ", overflow="fold")
    for row in members.to_dict("records"):
        figures = [readable_number(info.costs[known], row[known]) for known in costs]
        if measured:
            figures.append("-" if is_missing(row["measured_ms"]) else f"{row['measured_ms']:.3g}")
        own_name = None if is_missing(row.get("name")) else str(row["name"])  # an enqueued network
        decisions = [Text(own_name or one_line({name: row[name] for name in shown}))] if shown else []
        table.add_row(str(row["number"]), _accuracy(row), *figures, *decisions)
    return table


def _accuracy(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """A trial's accuracy, as confirmed where it is: "96.38%", "95.90% ±0.31"."""
    if is_missing(row.get("accuracy_mean")):
        return percent(row["accuracy"])
    spread = "" if is_missing(row.get("accuracy_std")) else f" ±{100 * row['accuracy_std']:.2f}"
    return percent(row["accuracy_mean"]) + spread


def _confirmation(trials: pd.DataFrame, members: pd.DataFrame, cost: str) -> list[Text]:
    """What trainings under other seeds have changed; nothing where there were none."""
    if "accuracy_mean" not in trials:
        return []
    said = [Text("Accuracies are means of trainings under other seeds.", style="dim")]
    gone = [
        f"trial {row['number']} ({percent(row['accuracy'])}, then {_accuracy(row)})"
        for row in fallen(trials, cost).to_dict("records")
    ]
    said += [Text(f"Fell off the front when trained again: {', '.join(gone)}.")] if gone else []
    left = int(members["accuracy_mean"].isna().sum())
    said += [Text(f"{left} of the front's members are not confirmed.")] if left else []
    return said


def _latency(trials: pd.DataFrame, info: StudyInfo) -> list[Text]:
    """Whose latency is meant, and how far its prediction was off where that was found out; nothing without a device."""
    if not info.device:
        return []
    said = [Text(f"Latency on {in_words(info.device)}.", style="dim")]
    measured = trials[trials["measured_ms"].notna()] if "measured_ms" in trials else trials.iloc[:0]
    if len(measured):
        errors = np.abs(floats(measured, "latency_ms") / floats(measured, "measured_ms") - 1)
        said.append(
            Text(
                f"{len(measured)} networks of the fronts were measured end to end; the prediction was off by "
                f"{100 * np.median(errors):.1f}% in the median, {100 * errors.max():.1f}% at most."
            )
        )
    elif not info.is_here:
        said.append(Text("It is predicted from that device's table, not measured."))
    return said


def measure_there(info: StudyInfo, folder: Path) -> list[str]:
    """The commands that measure a front on the device it is meant for, where that is another machine."""
    if not info.device or info.is_here:
        return []
    runtime, threads = info.device["runtime"].split(" ")[0], info.device["threads"]
    if runtime != "onnxruntime":
        return [
            f"python -m search.profile architecture=FILE device={runtime}, there, for each file of {folder / 'front'}"
        ]
    bundle = [setting("architecture", str(folder / "front")), "bundle=front.pyz", "device=onnxruntime"]
    settings = [f"device.{name}={info.device[name]}" for name in ("batch", "dtype")]
    return [
        shlex.join(["python", "-m", "search.profile", *bundle, *settings]),
        f"python front.pyz --threads {threads}, there; it leaves front.csv, to be copied back",
        shlex.join(["python", "-m", "search.report", setting("study", info.name), "measured=front.csv"]),
    ]


def telling_decisions(members: pd.DataFrame, max_characters: int) -> tuple[list[str], int]:
    """The decisions in which the members differ, as many as fit a bounded width.

    Which block a layer is tells most, then what shapes the whole network or a layer, then options inside a block that only
    some members have: blocks come first, then shorter paths, then the table's order.

    Returns:
        (names in the table's order, number of differing decisions left out).
    """
    differ, _ = split_decisions(members)
    rows = members.to_dict("records")
    chosen: set[str] = set()
    for name in sorted(differ, key=lambda name: (not name.endswith(".block"), name.count("."))):
        tried = [known for known in differ if known in chosen or known == name]
        if max(len(one_line({known: row[known] for known in tried})) for row in rows) > max_characters:
            break
        chosen.add(name)
    return [name for name in differ if name in chosen], len(differ) - len(chosen)


def one_line(decisions: Mapping[str, Any]) -> str:
    """Decisions in one line: "width_multiplier 0.5; layers.1: shuffle_agg, repeat 2"."""
    return "; ".join(decision_text(group, pairs) for group, pairs in group_decisions(decisions).items())


def _files(folder: Path) -> Group:
    """The study's files, one a line; only those that are there."""
    meanings = {
        "pareto.html": "the front, to look at in a browser",
        "front.csv": "the front as a table: accuracy against FLOPs",
        "front/": "its networks, each a file that runs by itself",
        "trials.csv": "every trial",
        "study.db": "the study itself, an Optuna study",
    }
    table = Table.grid(padding=(0, 2))
    for name, meaning in meanings.items():
        if (folder / name).exists():
            table.add_row(Text(f"  {name}"), Text(meaning, style="dim"))
    return Group(Text.assemble("Files in ", (str(folder), "bold")), table)
