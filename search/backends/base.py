"""What moves work to where it is done. A backend decides nothing: it starts jobs and passes on what becomes of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from search.data import Data
from search.outcome import Outcome
from search.training import Diverged, Epoch, OutOfMemory, train
from spaces import InputError, build, decode
from spaces.errors import did_you_mean

ACCELERATORS = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class BackendSettings:
    """What a file of conf/backend/ states."""

    name: str
    retries: int
    """Times that a trial whose worker died is started again."""
    accelerator: str
    """"cpu", "cuda", or "auto" for CUDA where it is available."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BackendSettings:
        """The settings, checked.

        Raises:
            InputError: a key or value that no backend has.
        """
        names = [field.name for field in fields(cls)]
        for key in config:
            if key not in names:
                raise InputError(f"backend.{key} is unknown{did_you_mean(key, names)}")
        settings = cls(**{"retries": 1, "accelerator": "auto", **config})
        if settings.name != "local":
            raise InputError(f"backend.name: unknown backend '{settings.name}'{did_you_mean(settings.name, ['local'])}")
        if not isinstance(settings.retries, int) or isinstance(settings.retries, bool) or settings.retries < 0:
            raise InputError(f"backend.retries is {settings.retries!r}; it is a whole number of 0 or more")
        if settings.accelerator not in ACCELERATORS:
            raise InputError(f"backend.accelerator is {settings.accelerator!r}; valid: {', '.join(ACCELERATORS)}")
        return settings


@dataclass(frozen=True)
class Job:
    """One candidate to train, as plain data that travels anywhere."""

    number: int
    """Of its trial."""
    architecture: dict[str, Any]
    """Its canonical description."""
    hyperparameters: dict[str, Any]
    seed: int
    rungs: tuple[int, ...] = ()
    """Epochs, before the last one, after which it waits for `Backend.answer`; between them it runs freely."""


@dataclass(frozen=True)
class EpochDone:
    """A job reached the end of an epoch; where that is one of its rungs, it waits for an answer."""

    number: int
    epoch: Epoch


@dataclass(frozen=True)
class Finished:
    """A job ended, well or not."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A job is gone with its worker."""

    number: int
    reason: str


Event = EpochDone | Finished | Lost


class Backend(Protocol):
    """Where jobs are done."""

    @property
    def num_free(self) -> int:
        """Jobs that can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Starts a job; `num_free` was above zero."""
        ...

    def wait(self, timeout_s: float) -> list[Event]:
        """What happened to the jobs, as soon as anything does; empty after `timeout_s`."""
        ...

    def answer(self, number: int, go_on: bool) -> None:
        """Tells a job that waits at a rung to train on, or to stop there; nothing where the job is gone by now."""
        ...

    def close(self) -> None:
        """Ends the workers, and whatever they are doing."""
        ...


def evaluate(job: Job, data: Data, device: str, on_epoch: Callable[[Epoch], bool]) -> Outcome:
    """Builds and trains a job's network; whatever goes wrong in it is an outcome too.

    Args:
        job: the candidate.
        data: its images.
        device: "cpu" or "cuda".
        on_epoch: told of every epoch; False stops the training.
    """
    last: list[Epoch] = []

    def note(epoch: Epoch) -> bool:
        last.append(epoch)
        return on_epoch(epoch)

    def failed(kind: str, error: BaseException) -> Outcome:
        seconds = last[-1].seconds if last else 0.0
        curve = tuple(epoch.accuracy for epoch in last)
        return Outcome("failed", epochs=len(last), seconds=seconds, curve=curve, failure=f"{kind}: {error}")

    try:
        architecture = decode(job.architecture)
        network = build(architecture)
        result = train(
            network,
            data,
            job.hyperparameters,
            resolution=architecture.resolution,
            seed=job.seed,
            device=device,
            on_epoch=note,
        )
    except Diverged as error:
        return failed("diverged", error)
    except OutOfMemory as error:
        return failed("out of memory", error)
    except Exception as error:  # a user's block may raise anything; the study goes on, and the trial says where
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return failed("exception", RuntimeError(f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"))
    return Outcome(
        "stopped" if result.stopped else "complete",
        result.accuracy,
        result.accuracy_top5,
        result.epochs,
        result.seconds,
        result.curve,
    )
