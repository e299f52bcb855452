"""What became of a trial: what a backend reports and the study records."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from search.evaluation.training import Epoch

State = Literal["complete", "stopped", "failed", "infeasible"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and what it reached."""

    state: State
    """"infeasible": evaluated in full, and beyond a limit on one of its metrics."""
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
    """Why it failed, "<kind>: <what was said>" with a kind such as "diverged" or "worker lost"; or the limit it exceeds."""
    retried: str | None = None
    """Why it was evaluated more than once, where it was: a lost worker, a memory error."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name."""
    traceback: str | None = None
    """Where it was raised, if an exception was the reason."""


def failed(kind: str, said: object, epochs: Sequence[Epoch], traceback: str | None = None) -> Outcome:
    """The outcome of a job that failed after these epochs."""
    return Outcome(
        "failed",
        epochs=len(epochs),
        seconds=epochs[-1].seconds if epochs else 0.0,
        curve=tuple(epoch.accuracy for epoch in epochs),
        failure=f"{kind}: {said}",
        traceback=traceback,
    )


def raised(error: BaseException, epochs: Sequence[Epoch]) -> Outcome:
    """The outcome of a job in which an exception was raised after these epochs."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
    return failed("exception", said, epochs, "".join(traceback.format_exception(error)))


def overdue(limit_s: float, epochs: Sequence[Epoch]) -> Outcome:
    """The outcome of a job that was ended after these epochs because its time was over."""
    return failed("time limit", f"it ran for more than {limit_s:g} s (backend.trial_timeout_s)", epochs)


def out_of_memory(outcome: Outcome) -> bool:
    """Whether a job failed because memory ran out."""
    return outcome.failure is not None and outcome.failure.startswith("out of memory")
