"""What became of a trial: what a backend reports and the study records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and what it reached."""

    state: State
    accuracy: float | None = None
    """On the validation split, in [0, 1]; of a stopped trial the last one it reached."""
    accuracy_top5: float | None = None
    epochs: int = 0
    """Epochs reached."""
    seconds: float = 0.0
    """Wall time in training."""
    curve: tuple[float, ...] = ()
    """Accuracy after each epoch."""
    failure: str | None = None
    """Why it failed: a kind ("diverged", "out of memory", "exception", "worker lost") and what was said."""
    retried: str | None = None
    """Why it was trained more than once, where it was: a lost worker, a memory error."""
