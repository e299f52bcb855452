"""A trial as a study stores it: the one type that samplers, tables, page, warm starts and Python read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from spaces.values import Value


class State(StrEnum):
    """The state of a trial."""

    COMPLETE = "complete"
    """It was trained in full."""
    STOPPED = "stopped"
    """It was stopped early."""
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    """It is beyond a hard limit, and was not trained."""
    RUNNING = "running"
    WAITING = "waiting"
    """It is queued: it was enqueued, or interrupted and runs again."""


class Failure(StrEnum):
    """The kind of a failure, with which its text begins."""

    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    EXCEPTION = "exception"
    WORKER_LOST = "worker lost"
    TIME_LIMIT = "time limit"
    NO_ACCURACY = "no accuracy"
    NO_CANDIDATE = "no candidate of the space"
    EDITED = "edited by hand"


@dataclass(frozen=True)
class StoredTrial:
    """One trial of a study.

    A finished trial that no search can have written carries its `defect` and nothing else: it is failed, and has neither decisions,
    network, costs nor accuracy.
    """

    number: int
    state: State
    decisions: Mapping[str, Value] = field(default_factory=dict)
    """The active decisions, by name."""
    digest: str | None = None
    """The digest of its architecture; None before it is decided."""
    candidate_digest: str | None = None
    """The digest of its candidate where hyperparameters are open too; None where the architecture is all there is."""
    architecture: Mapping[str, Any] | None = None
    """The description of its network."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """The costs that it was priced at, by name."""
    latency_error: float | None = None
    """Relative standard deviation of the predicted latency; None without a device."""
    accuracy: float | None = None
    """On the validation split, in [0, 1]; of a stopped trial the last one it reached."""
    accuracy_top5: float | None = None
    epochs: int | None = None
    """Epochs reached."""
    seconds: float | None = None
    """Wall time in training."""
    curve: tuple[float, ...] = ()
    """Accuracy after each epoch; NaN where there was none."""
    reward: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further numbers that its evaluator returned, by name."""
    failure: Failure | None = None
    """The kind of its failure, where it is one that is known."""
    failure_text: str | None = None
    """Why it failed, as it is shown: the kind and what was reported."""
    retried: str | None = None
    """Why it was started again, where it was."""
    duplicate_of: int | None = None
    """The number of the trial whose outcome this one repeats."""
    infeasible: str | None = None
    """The limits that it exceeds, and by what."""
    outside: bool = False
    """Whether its network was enqueued and no decisions of the space make it."""
    name: str | None = None
    """The name of the network, where it was enqueued."""
    enqueued: str | None = None
    """The digest of the network that was enqueued."""
    driver: str | None = None
    """The driver that runs it, where there can be several."""
    started: datetime | None = None
    """When it was proposed, in local time."""
    ended: datetime | None = None
    defect: str | None = None
    """Why no search can have written it; None for a sound trial and for one that has not ended."""

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state not in (State.RUNNING, State.WAITING)

    @property
    def is_copy(self) -> bool:
        """Whether it repeats another trial."""
        return self.duplicate_of is not None

    @property
    def is_original(self) -> bool:
        """Whether a candidate was evaluated in it: neither a copy nor infeasible nor defective."""
        evaluated = self.is_finished and self.state is not State.INFEASIBLE
        return evaluated and not self.is_copy and self.defect is None

    @property
    def reason(self) -> str | None:
        """What was reported of its failure, without the kind."""
        if self.failure is None or self.failure_text is None:
            return self.failure_text
        return self.failure_text.removeprefix(self.failure).lstrip(": ")

    @property
    def is_decided(self) -> bool:
        """Whether its candidate is known."""
        return self.digest is not None
