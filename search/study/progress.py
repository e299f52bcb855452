"""Where a search stands, as its driver tells whoever displays it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A trial that has just ended."""

    number: int
    state: str
    """complete, stopped or failed; confirmed, where its network was trained again."""
    accuracy: float = math.nan
    flops: float = math.nan
    failure: str = ""
    """The reason, where it failed."""


@dataclass(frozen=True)
class Status:
    """Where a search stands; all counts are of the whole study, earlier runs included."""

    total: int
    """Trials that the study is to have."""
    done: int = 0
    """Trials that count toward the total and have ended: complete, stopped and failed ones."""
    running: int = 0
    failed: int = 0
    stopped: int = 0
    duplicates: int = 0
    """Rows that repeat an earlier trial; they do not count toward the total."""
    best_accuracy: float = math.nan
    best_reward: float = math.nan
    front_size: int = 0
    hypervolume: float = 0.0
    confirmed: int = 0
    """Trainings of the front's members under other seeds that have ended in this run."""
    to_confirm: int = 0
    """Those of them that are known to be still to come, or under way."""
