"""Everything reports are made from: a study's trials, its facts, and what does not fit a cell of a table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.reporting.tables import StudyInfo, floats, front, originals
from search.reporting.text import is_missing
from search.trials.trial import StoredTrial

Span = tuple[float, float]
"""When something began and ended, in seconds since the epoch."""

KINDS = ("front", "dominated", "stopped", "failed", "infeasible")
"""What a finished trial is to a reader, duplicates aside."""

_LEAST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Record:
    """A study as it stands in its storage."""

    trials: pd.DataFrame
    """The trials table."""
    info: StudyInfo
    config: Mapping[str, Any] = field(default_factory=dict)
    """The resolved config of the command that started it."""
    architectures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Descriptions of the networks, by digest."""
    curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """Accuracy after each epoch, by the trial's number."""
    spans: Mapping[int, Span] = field(default_factory=dict)
    """When each trial ran, by its number; one that has not ended is left out."""
    stored: Mapping[int, StoredTrial] = field(default_factory=dict)
    """The trials as they are stored, by their numbers."""


def reference_names(trials: pd.DataFrame) -> dict[int, str]:
    """The trials that evaluate a network of the literature, and its name."""
    if "name" not in trials:
        return {}
    named = originals(trials[trials["name"].notna()])
    return {int(number): str(name) for number, name in zip(named["number"], named["name"])}


def kinds_of(trials: pd.DataFrame, cost: str) -> dict[int, str]:
    """Which of `KINDS` each trial is, by its number: finished trials of known cost, each once."""
    priced = originals(trials[trials[cost].notna()])
    members = set(front(priced, cost)["number"])
    kinds = {}
    for number, state, accuracy in zip(priced["number"], priced["state"], priced["accuracy"]):
        if state == "complete" and not is_missing(accuracy):
            kinds[int(number)] = "front" if number in members else "dominated"
        elif state in ("failed", "infeasible") or (state == "stopped" and not is_missing(accuracy)):
            kinds[int(number)] = str(state)
    return kinds


def evaluated(record: Record) -> pd.DataFrame:
    """The trials that were trained, complete, stopped or failed, each once, in the order in which they ended."""
    trials = originals(record.trials)
    trials = trials[trials["state"].isin(["complete", "stopped", "failed"])]
    ends = np.array([record.spans.get(int(number), (np.inf, np.inf))[1] for number in trials["number"]])
    return trials.iloc[np.lexsort((floats(trials, "number"), ends))]


def active_seconds(spans: Iterable[Span], times: Iterable[float]) -> NDArray[np.float64]:
    """Wall time of a search up to given moments, without the pauses in which it was not running.

    A pause is a gap between trials longer than a minute and longer than the longest trial: shorter ones belong to the search,
    which proposes and stores between trials.

    Args:
        spans: when trials ran.
        times: (n,) moments, in seconds since the epoch.

    Returns:
        (n,) seconds since the first trial began.
    """
    ordered = sorted(spans)
    moments = np.asarray(list(times), dtype=float)
    if not ordered:
        return np.zeros(len(moments))
    pause = max(_LEAST_PAUSE_S, max(end - start for start, end in ordered))
    runs = [list(ordered[0])]
    for start, end in ordered[1:]:
        if start - runs[-1][1] > pause:
            runs.append([start, end])
        else:
            runs[-1][1] = max(runs[-1][1], end)
    elapsed = np.zeros(len(moments))
    for start, end in runs:
        elapsed += np.clip(moments, start, end) - start
    return elapsed
