"""The trials table, the fronts in it, and their CSV files."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.objective.costs import BUILT_IN, Cost
from search.objective.pareto import hypervolume, non_dominated
from search.objective.reward import Objective, front_points, reference_point
from search.reporting.text import is_missing, percent
from search.system.files import replace_file
from search.system.printable import csv_text
from search.trials.columns import LEARNT_COLUMNS, TRIAL_COLUMNS

STATES = ("complete", "stopped", "failed", "infeasible", "running", "waiting")
"""What a trial can be. Only complete ones, trained in full, can be on a front; a duplicate has its original's state."""

_LAST = list(TRIAL_COLUMNS)[-1]
_COUNTS = ("number", "epochs", "duplicate_of", "confirmations")
_NUMBERS = (
    "accuracy",
    "accuracy_top5",
    "accuracy_mean",
    "accuracy_std",
    "latency_error",
    "measured_ms",
    "reward",
    "seconds",
)


@dataclass(frozen=True)
class StudyInfo:
    """What reports say of a study beside its trials."""

    name: str
    """The study's name."""
    objective: Objective
    """With its targets resolved."""
    cost_range: tuple[float, float]
    """The recorded range of the objective's cost: costs below it count as its low end, its high end is the reference."""
    chance: float = 0.0
    """The accuracy of guessing: the hypervolume's other reference."""
    device: Mapping[str, str] = field(default_factory=dict)
    """What identifies the device whose latency counts; empty where none does."""
    is_here: bool = True
    """Whether that device is the machine that searched, so that it could measure the front."""
    costs: Mapping[str, Cost] = field(default_factory=lambda: BUILT_IN)
    """The words of the costs that the trials can have, by their columns."""

    @property
    def traded(self) -> Cost:
        """The words of the cost that accuracy is traded against."""
        return self.costs[self.objective.cost]


def trials_frame(
    rows: Iterable[Mapping[str, Any]], decisions: Sequence[str], costs: Mapping[str, Cost] = BUILT_IN
) -> pd.DataFrame:
    """The trials table from rows that may leave cells out.

    Counts are whole numbers even where some are missing, measurements floats, decisions what they are (an absent one
    is None), so that a decision of 2 is written "2" beside an inactive one.

    Args:
        rows: one mapping a trial, keys among `TRIAL_COLUMNS`, `LEARNT_COLUMNS`, `decisions` and `costs`.
        decisions: the decisions' names, in their order.
        costs: the costs that trials can have, by name.
    """
    rows = list(rows)
    columns: dict[str, pd.Series[Any]] = {}
    found = {name for name in LEARNT_COLUMNS if any(not is_missing(row.get(name)) for row in rows)}
    if "accuracy_mean" in found:
        found |= {"accuracy_std", "confirmations"}  # of one training, the standard deviation is unknown
    learnt = [name for name in LEARNT_COLUMNS if name in found]
    counts = {*_COUNTS, *(name for name, cost in costs.items() if cost.is_count)}
    numbers = {*_NUMBERS, *costs}
    for name in (*_opening(costs), *learnt, *decisions):
        cells = [row.get(name) for row in rows]
        if name in counts:
            columns[name] = pd.Series(cells, dtype="Int64")
        elif name in numbers:
            columns[name] = pd.Series(cells, dtype="float64")
        else:
            columns[name] = pd.Series(cells, dtype="object")
    return pd.DataFrame(columns)


def _opening(costs: Iterable[str]) -> list[str]:
    """The columns that the table opens with: `TRIAL_COLUMNS`, further costs after the built-in ones."""
    columns = list(TRIAL_COLUMNS)
    after = columns.index("reward")
    return [*columns[:after], *(name for name in costs if name not in BUILT_IN), *columns[after:]]


def decision_columns(trials: pd.DataFrame) -> list[str]:
    """The names of the decisions, in the table's order: the columns that follow those it opens with."""
    names = [str(name) for name in trials.columns]
    return [name for name in names[names.index(_LAST) + 1 :] if name not in LEARNT_COLUMNS]


def originals(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows that repeat no other: a duplicate has its original's outcome, and must not be counted or drawn again."""
    return trials[trials["duplicate_of"].isna()]


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that were trained in full, each once."""
    return originals(trials[trials["state"] == "complete"])


def front(trials: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The non-dominated complete trials, accuracy (the confirmed one where it is known) against one cost.

    Duplicates, stopped and failed trials are never on it, nor is a trial whose cost was not measured.

    Args:
        trials: the trials table.
        cost: the column to lower.

    Returns:
        Rows of `trials` with all its columns, cost rising; trials of equal cost and accuracy are all there, oldest first.
    """
    complete = completed(trials)
    on_front = non_dominated(np.column_stack((floats(complete, cost), -judged(complete))))
    return complete[on_front].sort_values([cost, "number"], kind="stable").reset_index(drop=True)


def judged(trials: pd.DataFrame) -> NDArray[np.float64]:
    """(n,) accuracies by which trials are compared: the mean under other seeds where there is one, else that of their training."""
    accuracy = floats(trials, "accuracy")
    if "accuracy_mean" not in trials:
        return accuracy
    mean = floats(trials, "accuracy_mean")
    return np.where(np.isnan(mean), accuracy, mean)


def accuracy_of(trial: "Mapping[Any, Any] | pd.Series[Any]") -> Any:
    """The accuracy by which one trial, a row, is compared, as in `judged`."""
    mean = trial.get("accuracy_mean")
    return trial["accuracy"] if is_missing(mean) else mean


def spread_of(trial: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """What follows a confirmed accuracy, as " ± 0.31%"; nothing where one training says nothing of the spread."""
    return "" if is_missing(trial.get("accuracy_std")) else f" ± {percent(trial['accuracy_std'])}"


def of_space(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows whose networks were decided in the space, so not those that were enqueued from outside it."""
    names = decision_columns(trials)
    return trials[trials[names].notna().any(axis=1)] if names else trials


def fallen(trials: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The trials that were on the front until they were trained again, cost rising."""
    if "accuracy_mean" not in trials:
        return trials.iloc[:0]
    before, after = front(trials.drop(columns="accuracy_mean"), cost), front(trials, cost)
    numbers = set(before["number"]) - set(after["number"])
    return trials[trials["number"].isin(numbers)].sort_values([cost, "number"], kind="stable").reset_index(drop=True)


def floats(trials: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """One column as (n,) floats, NaN where it is empty."""
    return pd.to_numeric(trials[column]).to_numpy(dtype=float, na_value=np.nan)


def known_costs(trials: pd.DataFrame, costs: Iterable[str] = BUILT_IN) -> list[str]:
    """The costs the table has values of: those counted and, where a device was measured, latency."""
    return [cost for cost in costs if trials[cost].notna().any()]


def count_states(trials: pd.DataFrame) -> dict[str, int]:
    """How many trials are in each state that occurs, in the order of `STATES`; last, as "duplicate", those that repeat another."""
    evaluated = originals(trials)
    counts = Counter(evaluated["state"])
    counts["duplicate"] = len(trials) - len(evaluated)
    return {state: counts[state] for state in (*STATES, "duplicate") if counts[state]}


def best_trial(trials: pd.DataFrame, cost: str) -> "pd.Series[Any] | None":
    """The complete trial of the greatest accuracy, confirmed where it is, of equals the cheapest; None where none is complete."""
    complete = completed(trials[trials["accuracy"].notna()])
    if complete.empty:
        return None
    return complete.iloc[int(np.lexsort((floats(complete, cost), -judged(complete)))[0])]


def table_hypervolume(trials: pd.DataFrame, info: StudyInfo) -> float:
    """The hypervolume of the complete trials in (log cost, accuracy), up to the study's recorded reference."""
    complete = completed(trials)
    low, high = info.cost_range
    points = front_points(judged(complete), floats(complete, info.objective.cost), low)
    return hypervolume(points, reference_point(high, info.chance))


def split_decisions(rows: pd.DataFrame) -> tuple[list[str], dict[str, Any]]:
    """The decisions in which some trials differ, and the values of those in which they agree.

    Returns:
        (names that differ, values shared by all of them); a decision inactive in all rows is in neither.
    """
    differ: list[str] = []
    shared: dict[str, Any] = {}
    for name in decision_columns(rows):
        # By their text: values may be lists, which do not hash, and 1 and True are different decisions.
        values = ["" if is_missing(value) else f"={value}" for value in rows[name]]
        if len(set(values)) > 1:
            differ.append(name)
        elif values and values[0]:
            shared[name] = rows[name].iloc[0]
    return differ, shared


def write_tables(trials: pd.DataFrame, folder: Path, costs: Sequence[str]) -> list[Path]:
    """Writes trials.csv, front.csv (accuracy against FLOPs) and a front_<cost>.csv for each other cost.

    Each file is replaced whole: a reader never sees half a table.

    Args:
        trials: the trials table.
        folder: where to; made where it is missing.
        costs: the costs that are known, named as their columns.

    Returns:
        The files, trials.csv first.

    Raises:
        OSError: the folder cannot be written.
    """
    tables = {"trials.csv": trials, "front.csv": front(trials, "flops")}
    tables |= {f"front_{cost}.csv": front(trials, cost) for cost in costs if cost != "flops"}
    for name, table in tables.items():
        replace_file(folder / name, csv_text(table))
    return [folder / name for name in tables]
