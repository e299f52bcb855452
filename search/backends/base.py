"""What moves work to where it is done. A backend decides nothing: it starts jobs and passes on what becomes of them."""

from __future__ import annotations

import gc
import math
import os
import resource
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from search.backends import num_cores
from search.data import Data
from search.evaluation.outcome import Outcome
from search.evaluation.training import Diverged, Epoch, OutOfMemory, memory_errors, train
from spaces import InputError, build, decode
from spaces.checks import is_integer, is_number
from spaces.errors import did_you_mean

ACCELERATORS = ("auto", "cpu", "cuda")


COMMON = ("name", "retries", "accelerator", "trial_timeout_s", "trial_memory_mb")
KEYS = {"local": COMMON, "ray": (*COMMON, "address", "cpus", "gpus")}
"""Settings by backend."""


@dataclass(frozen=True)
class BackendSettings:
    """What a file of conf/backend/ states."""

    name: str
    retries: int = 1
    """Times that a trial whose worker died is started again."""
    accelerator: str = "auto"
    """"cpu", "cuda", or "auto" for CUDA where it is available."""
    trial_timeout_s: float | None = None
    """Seconds after which a trial is ended; None: never."""
    trial_memory_mb: float | None = None
    """MiB of main memory that a worker may take beyond what it starts with; None: as much as there is."""
    address: str | None = None
    """Of the Ray cluster to join; None: one is started on this machine."""
    cpus: float = 1
    """CPU cores of a trial."""
    gpus: float = 0
    """GPUs of a trial; a fraction lets several share one."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BackendSettings:
        """The settings, checked.

        Raises:
            InputError: a key or value that the backend does not have.
        """
        name = config.get("name")
        if name not in KEYS:
            raise InputError(f"backend.name: unknown backend '{name}'{did_you_mean(name, KEYS)}")
        for key in config:
            if key not in KEYS[name]:
                raise InputError(f"backend.{key} is unknown{did_you_mean(key, KEYS[name])}")
        settings = cls(**config)
        if not (is_integer(settings.retries) and settings.retries >= 0):
            raise InputError(f"backend.retries is {settings.retries!r}; it is a whole number of 0 or more")
        if settings.accelerator not in ACCELERATORS:
            raise InputError(f"backend.accelerator is {settings.accelerator!r}; valid: {', '.join(ACCELERATORS)}")
        if not (settings.address is None or (isinstance(settings.address, str) and settings.address)):
            raise InputError(f"backend.address is {settings.address!r}; it is null, auto or host:port")
        for key, optional in (("trial_timeout_s", True), ("trial_memory_mb", True), ("cpus", False)):
            value = getattr(settings, key)
            if not (value is None and optional) and not (_is_finite(value) and value > 0):
                raise InputError(f"backend.{key} is {value!r}; it is a number above 0{' or null' if optional else ''}")
        if not (_is_finite(settings.gpus) and (0 <= settings.gpus < 1 or settings.gpus == int(settings.gpus) > 0)):
            raise InputError(f"backend.gpus is {settings.gpus!r}; it is 0, a whole number, or a fraction such as 0.25")
        if name == "ray" and settings.accelerator == "cuda" and not settings.gpus:
            raise InputError("backend.accelerator=cuda needs a share of a GPU for each trial: backend.gpus=1 or 0.25")
        return settings


def _is_finite(value: object) -> bool:
    return is_number(value) and math.isfinite(value)


@dataclass(frozen=True)
class Job:
    """One candidate to train, as plain data that travels anywhere."""

    number: int
    """Of its trial; a training that confirms one has a number of its own, which is always the same."""
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


@dataclass(frozen=True)
class Remark:
    """Something that a person should know of; no job is changed by it."""

    text: str


Event = EpochDone | Finished | Lost | Remark


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
        """Tells a job that waits at a rung to train on, or to stop there; before the next `wait`, and nothing where it is gone."""
        ...

    def close(self) -> None:
        """Ends the workers, and whatever they are doing."""
        ...


def evaluate(
    job: Job, data: Data, device: str, on_epoch: Callable[[Epoch], bool], checkpoint: Path | None = None
) -> Outcome:
    """Builds and trains a job's network; whatever goes wrong in it is an outcome too.

    Args:
        job: the candidate.
        data: its images.
        device: "cpu" or "cuda".
        on_epoch: told of every epoch; False stops the training.
        checkpoint: as for `train`.
    """
    outcome = _evaluate(job, data, device, on_epoch, checkpoint)
    if out_of_memory(outcome):
        # the frames of the error hold the network and one another
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
    return outcome


def out_of_memory(outcome: Outcome) -> bool:
    """Whether that is why it failed."""
    return outcome.failure is not None and outcome.failure.startswith("out of memory")


def _evaluate(job: Job, data: Data, device: str, on_epoch: Callable[[Epoch], bool], checkpoint: Path | None) -> Outcome:
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
        with memory_errors():
            network = build(architecture)
        result = train(
            network,
            data,
            job.hyperparameters,
            resolution=architecture.resolution,
            seed=job.seed,
            device=device,
            on_epoch=note,
            checkpoint=checkpoint,
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


def overdue(limit_s: float, epochs: Sequence[Epoch]) -> Outcome:
    """What a job came to that was ended because its time was over, after these epochs."""
    seconds = epochs[-1].seconds if epochs else 0.0
    curve = tuple(epoch.accuracy for epoch in epochs)
    failure = f"time limit: it ran for more than {limit_s:g} s (backend.trial_timeout_s)"
    return Outcome("failed", epochs=len(epochs), seconds=seconds, curve=curve, failure=failure)


def choose_device(accelerator: str, key: str = "backend.accelerator") -> str:
    """The torch device of an accelerator by name.

    Raises:
        InputError: it is not there.
    """
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{key}=cuda: PyTorch finds no CUDA device here; cpu or auto work everywhere")
    return accelerator


def check_room(settings: BackendSettings) -> None:
    """Raises InputError where a trial needs more than this machine has."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    wanted = {"cpus": settings.cpus, "gpus": settings.gpus, "trial_memory_mb": settings.trial_memory_mb or 0}
    there = {"cpus": num_cores(), "gpus": torch.cuda.device_count(), "trial_memory_mb": int(memory_mb)}
    for key, amount in wanted.items():
        if amount > there[key]:
            raise InputError(
                f"backend.{key}={amount:g}: a trial needs more than this machine has, which is {there[key]:g}; "
                "backend.address= joins a cluster of others"
            )


def limit_memory(megabytes: float | None) -> None:
    """Bounds what this process may take from now on: what asks for more gets a memory error, and neighbours are spared.

    Counted are private pages (Linux's VmData), not files and the object store that are mapped; where the system does not say how
    many there are, nothing is bounded.
    """
    if megabytes is None:
        return
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return
    (used_kb,) = (int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(used_kb * 2**10 + megabytes * 2**20), hard))
