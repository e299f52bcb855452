"""Experiment trackers that people already use; each is a package that is installed only where it is wanted."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from search.reporting.console import Terminal
from search.system.secrets import hide_password
from spaces.errors import InputError, did_you_mean

MAX_TEXT = 500
"""Characters of a value that every version of MLflow takes."""

Numbers = Mapping[str, float]


class Tracker(Protocol):
    """Follows one training or one study; a context manager that ends with it."""

    def log(self, values: Numbers, step: int) -> None:
        """Notes measures at a step: an epoch, or the number of a trial."""

    def trial(self, number: int, decisions: Mapping[str, Any], values: Numbers) -> None:
        """Notes a finished trial with what was decided in it."""

    def __enter__(self) -> Tracker: ...

    def __exit__(self, *exception: object) -> None: ...


class NoTracker(AbstractContextManager["NoTracker"]):
    """Nobody follows."""

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        """Takes what every tracker takes."""

    def log(self, values: Numbers, step: int) -> None:
        """See `Tracker.log`."""

    def trial(self, number: int, decisions: Mapping[str, Any], values: Numbers) -> None:
        """See `Tracker.trial`."""

    def __exit__(self, *exception: object) -> None:
        """Ends nothing."""


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """Event files in the folder `tensorboard` beside the results: `tensorboard --logdir FOLDER`."""

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard")
        self._writer.add_text("config", f"```json\n{json.dumps(parameters, indent=2, default=str)}\n```")

    def log(self, values: Numbers, step: int) -> None:
        """See `Tracker.log`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def trial(self, number: int, decisions: Mapping[str, Any], values: Numbers) -> None:
        """See `Tracker.trial`: its page of hyperparameters shows decisions beside what came of them."""
        self._writer.add_hparams(
            plain(decisions), {f"trial/{k}": v for k, v in values.items()}, run_name=f"trial-{number:04d}"
        )
        self.log({f"study/{name}": value for name, value in values.items()}, number)

    def __exit__(self, *exception: object) -> None:
        """Writes what is left."""
        self._writer.close()


class MLflow(AbstractContextManager["MLflow"]):
    """A run of MLflow, where MLFLOW_TRACKING_URI says, by default in this directory; trials are runs nested in it.

    The run's number is kept in the folder, so that what is resumed goes on in the same run.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is trained here is nobody else's business
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        note = folder / "mlflow-run"
        self._experiment = self._find_experiment()
        if note.exists():
            self._run = note.read_text(encoding="utf-8").strip()
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(self._experiment, run_name=name).info.run_id
        for key, value in flat(parameters).items():
            self._client.log_param(self._run, key, str(value)[:MAX_TEXT])
        note.write_text(f"{self._run}\n", encoding="utf-8")

    def _find_experiment(self) -> str:
        known = self._client.get_experiment_by_name("smallnets")
        return known.experiment_id if known is not None else self._client.create_experiment("smallnets")

    def log(self, values: Numbers, step: int) -> None:
        """See `Tracker.log`."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def trial(self, number: int, decisions: Mapping[str, Any], values: Numbers) -> None:
        """See `Tracker.trial`."""
        nested = {"mlflow.parentRunId": self._run}
        run = self._client.create_run(self._experiment, run_name=f"trial-{number:04d}", tags=nested).info.run_id
        for key, value in decisions.items():
            self._client.log_param(run, key, str(value)[:MAX_TEXT])
        for name, value in values.items():
            self._client.log_metric(run, name, value)
        self._client.set_terminated(run)
        self.log(values, number)

    def __exit__(self, *exception: object) -> None:
        """Ends the run, as failed where an exception ends it."""
        self._client.set_terminated(self._run, "FAILED" if exception and exception[0] is not None else "FINISHED")


class _Spared(AbstractContextManager["_Spared"]):
    """A tracker whose first failure is said, and its last: a server that is gone must not cost a training of hours."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self._tracker = tracker
        self._console = console
        self._failed = False

    def log(self, values: Numbers, step: int) -> None:
        """See `Tracker.log`."""
        self._try(self._tracker.log, values, step)

    def trial(self, number: int, decisions: Mapping[str, Any], values: Numbers) -> None:
        """See `Tracker.trial`."""
        self._try(self._tracker.trial, number, decisions, values)

    def __exit__(self, *exception: object) -> None:
        """Ends the tracker."""
        self._try(self._tracker.__exit__, *exception)

    def _try(self, act: Callable[..., object], *arguments: object) -> None:
        if self._failed:
            return
        try:
            act(*arguments)
        except Exception as error:  # each tracker has its own
            self._failed = True
            self._console.print(
                f"The tracker has failed and is left out: {_line(error)}", highlight=False, markup=False
            )


TRACKERS: dict[str, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {
    "none": NoTracker,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
"""A new tracker is a class and a line here."""


def check_tracker(name: Any) -> str:
    """The name of a tracker.

    Raises:
        InputError: there is none of that name, or its package is not installed.
    """
    if name not in TRACKERS:
        raise InputError(f"tracker: there is no tracker '{name}'{did_you_mean(name, TRACKERS)}")
    if TRACKERS[name] is not NoTracker and importlib.util.find_spec(name) is None:  # each is named after its package
        raise InputError(f"tracker={name} needs the package {name}: pip install {name}")
    return name


def open_tracker(
    tracker: str, folder: Path, name: str, parameters: Mapping[str, Any], console: Console | None = None
) -> Tracker:
    """A tracker by name; once it works, nothing that happens to it ends what it follows.

    Args:
        tracker: one of `TRACKERS`.
        folder: of the results.
        name: what the run is called.
        parameters: what defines it.
        console: where it is said if the tracker fails later on.

    Raises:
        InputError: its package is not installed, or it cannot be reached.
    """
    make = TRACKERS[check_tracker(tracker)]
    try:
        opened = make(folder, name, parameters)
    except InputError:
        raise
    except Exception as error:  # each tracker has its own
        raise InputError(f"tracker={tracker}: it cannot be started ({_line(error)})") from error
    return opened if isinstance(opened, NoTracker) else _Spared(opened, console or Terminal())


def _line(error: BaseException) -> str:
    return hide_password(f"{type(error).__name__}: {' '.join(str(error).split())}")[:240]


def plain(decisions: Mapping[str, Any]) -> dict[str, Any]:
    """Decisions as trackers take them: numbers and texts."""
    return {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in decisions.items()}


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested data by dotted key; empty mappings leave nothing."""
    if isinstance(data, Mapping):
        return {k: v for key, value in data.items() for k, v in flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): data}
