"""A job, and the evaluator that finds its accuracy: what a search, its backends and its workers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from search.evaluation.outcome import Outcome
from search.evaluation.training import Epoch

Report = Callable[[Epoch], bool]
"""Called after each epoch of a job, counted from 1; False asks the job to stop there."""


@dataclass(frozen=True)
class Job:
    """One candidate to evaluate, as plain data that travels anywhere."""

    number: int
    """The trial's number; a job that confirms a trial has a number of its own, which is always the same."""
    architecture: dict[str, Any]
    """Its canonical description."""
    hyperparameters: dict[str, Any]
    seed: int
    rungs: tuple[int, ...] = ()
    """Epochs, before the last one, after which the job waits for `Backend.answer`; between them it runs freely."""


class Evaluator(Protocol):
    """Finds the accuracy of candidates. Backends are handed one and run it wherever they run jobs."""

    @property
    def metrics(self) -> Mapping[str, str]:
        """The units of the numbers beside accuracy that it declares, by name; only these can be limited."""
        ...

    @property
    def takes_seed(self) -> bool:
        """Whether evaluations under other seeds differ, so that a candidate can be confirmed."""
        ...

    @property
    def reports(self) -> bool:
        """Whether it reports after epochs, so that a job can be stopped early."""
        ...

    def fingerprint(self) -> str:
        """What identifies it among the evaluators of one cluster.

        Raises:
            InputError: it cannot be sent to a worker.
        """
        ...

    def pack(self, folder: Path) -> Callable[[], Evaluator]:
        """Writes what a worker on this machine needs into a folder.

        Returns:
            A small picklable function that opens the evaluator in the worker, after the user's modules were imported.

        Raises:
            OSError: the folder cannot be written.
        """
        ...

    def evaluate(self, job: Job, report: Report, device: str = "cpu", checkpoint: Path | None = None) -> Outcome:
        """Evaluates a job; whatever goes wrong in it is an outcome too.

        Args:
            job: the candidate.
            report: called after each epoch.
            device: "cpu" or "cuda".
            checkpoint: a file for the state after the last epoch, from which the same job goes on; an evaluator may ignore it.
        """
        ...
