"""A user's own function as an evaluator: what it is given, and what it may return."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any

import cloudpickle

from search.evaluation.job import Evaluator, Job, Report
from search.evaluation.outcome import Outcome, failed, raised
from search.evaluation.training import Epoch, OutOfMemory, memory_errors
from search.system.user_modules import import_user_modules
from spaces import decode
from spaces.checks import is_number
from spaces.errors import InputError, did_you_mean

GIVEN = ("architecture", "hyperparameters", "seed", "report")
"""What a function can take, by the names of its parameters."""

ROUNDING = 1e-6
"""An accuracy may lie outside [0, 1] by this much, the rounding of float32, and is clipped."""

_FILE = "function.pickle"

_ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class NoAccuracyError(ValueError):
    """A value that is no accuracy, or no metric."""


@dataclass(frozen=True)
class UserFunction:
    """Evaluates candidates by a function that returns an accuracy, or a mapping with `accuracy` and further numbers.

    A parameter named `architecture`, `hyperparameters`, `seed` or `report` is given that, wherever it stands. Of the others that
    have no default, the first is given the architecture and the second the hyperparameters. `report(epoch, accuracy)` is to be
    called after each epoch, from 1 on, and says whether to go on; a function that is told to stop returns soon, whatever it likes.

    Args:
        function: the user's; its attribute `metrics`, if there is one, declares the units of further numbers by name.
        taken: names that no metric may have, those of the table's columns.

    Raises:
        InputError: the function cannot be called so, or declares a metric by a name that it cannot have.
    """

    function: Callable[..., Any]
    taken: frozenset[str] = frozenset()
    metrics: Mapping[str, str] = field(init=False)
    _by_name: Mapping[str, str] = field(init=False, repr=False)
    _by_position: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_position, by_name = _parameters(self.function)
        metrics = _declared(self.function, self.taken)
        for name, value in {"_by_position": by_position, "_by_name": by_name, "metrics": metrics}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def load(cls, place: str, taken: Collection[str] = ()) -> UserFunction:
        """The function that the setting `evaluator` names, as my_package.training:evaluate.

        Raises:
            InputError: there is no such function, or its module cannot be imported.
        """
        module, colon, name = place.partition(":")
        if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise InputError(f"evaluator={place}: must be module:function, as my_package.training:evaluate")
        import_user_modules([module], key="evaluator")
        found = vars(importlib.import_module(module))
        if not callable(found.get(name)):
            functions = [known for known, value in found.items() if callable(value)]
            raise InputError(
                f"evaluator={place}: the module '{module}' has no function '{name}'{did_you_mean(name, functions)}"
            )
        return cls(found[name], frozenset(taken))

    def beside(self, names: Iterable[str]) -> UserFunction:
        """The same where further columns have these names.

        Raises:
            InputError: a metric has one of them.
        """
        return replace(self, taken=self.taken.union(names))

    @property
    def takes_seed(self) -> bool:
        """Whether it has a parameter `seed`."""
        return "seed" in self._by_name

    @property
    def reports(self) -> bool:
        """Whether it has a parameter `report`."""
        return "report" in self._by_name

    def fingerprint(self) -> str:
        """A hash of its code and of what it refers to."""
        return f"function {hashlib.sha256(self._pickled()).hexdigest()}"

    def pack(self, folder: Path) -> Callable[[], Evaluator]:
        """Writes the function with all that it refers to."""
        (folder / _FILE).write_bytes(self._pickled())
        return partial(self.open, folder)

    @classmethod
    def open(cls, folder: Path) -> UserFunction:
        """The evaluator that `pack` has written.

        Raises:
            InputError: what the function refers to cannot be imported here.
        """
        try:
            opened = pickle.loads((folder / _FILE).read_bytes())
        except (ImportError, AttributeError) as error:
            raise InputError(f"evaluate: the function cannot be read by a worker: {error}") from error
        assert isinstance(opened, cls)
        return opened

    def _pickled(self) -> bytes:
        try:
            return cloudpickle.dumps(self)
        except Exception as error:  # whatever an object's own way of being pickled raises
            raise InputError(
                f"evaluate: {_name(self.function)} cannot be sent to worker processes ({type(error).__name__}: {error}); let it "
                "open what it needs when it is called, or run it in this process, with workers=1 and no limits on time and memory"
            ) from error

    def evaluate(self, job: Job, report: Report, device: str = "cpu", checkpoint: Path | None = None) -> Outcome:
        """Calls the function; what it raises and a value that is no accuracy are failures."""
        reports = _Reports(report)
        given = {
            "architecture": lambda: decode(job.architecture),
            "hyperparameters": lambda: dict(job.hyperparameters),
            "seed": lambda: job.seed,
            "report": lambda: reports,
        }
        try:
            with memory_errors():
                positional = [given[what]() for what in self._by_position]
                named = {name: given[what]() for name, what in self._by_name.items()}
                returned = self.function(*positional, **named)
            if reports.stopped:
                last = reports.epochs[-1]
                return Outcome("stopped", last.accuracy, None, last.epoch, reports.seconds, reports.curve)
            accuracy, metrics = read_result(returned, self.taken)
        except NoAccuracyError as error:
            return failed("no accuracy", error, reports.epochs)
        except OutOfMemory as error:
            return failed("out of memory", error, reports.epochs)
        except (Exception, SystemExit) as error:
            return raised(error, reports.epochs)
        return Outcome(
            "complete",
            accuracy,
            epochs=max(1, len(reports.epochs)),
            seconds=reports.seconds,
            curve=reports.curve or (accuracy,),
            metrics=metrics,
        )


class _Reports:
    """What a function is given as `report`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._start = time.perf_counter()
        self.epochs: list[Epoch] = []
        self.stopped = False

    @property
    def seconds(self) -> float:
        """Wall time since the function was called."""
        return time.perf_counter() - self._start

    @property
    def curve(self) -> tuple[float, ...]:
        """The accuracies reported so far."""
        return tuple(epoch.accuracy for epoch in self.epochs)

    def __call__(self, epoch: int, accuracy: Any) -> bool:
        """Takes the accuracy after an epoch; returns whether to go on."""
        if self.stopped:
            return False
        due = len(self.epochs) + 1
        if epoch != due:
            raise NoAccuracyError(
                f"report({epoch!r}, ...), where epoch {due} is due: epochs are reported from 1 on, each once"
            )
        self.epochs.append(Epoch(due, read_accuracy(accuracy), None, math.nan, self.seconds))
        self.stopped = not self._report(self.epochs[-1])
        return not self.stopped


def read_accuracy(value: Any) -> float:
    """A value as an accuracy; what float rounding puts outside [0, 1] is clipped.

    Raises:
        NoAccuracyError: it is none.
    """
    number = _number(value)
    if number is not None and -ROUNDING <= number <= 1 + ROUNDING:
        return min(max(number, 0.0), 1.0)
    if number is None or math.isnan(number):
        raise NoAccuracyError(repr(value))
    raise NoAccuracyError(f"{number:g}; an accuracy is a share, from 0 to 1 (a percentage is divided by 100)")


def read_result(returned: Any, taken: Collection[str] = ()) -> tuple[float, dict[str, float]]:
    """The accuracy and the further numbers that a function returned.

    Raises:
        NoAccuracyError: they are none.
    """
    if not isinstance(returned, Mapping):
        return read_accuracy(returned), {}
    if "accuracy" not in returned:
        raise NoAccuracyError(f"the mapping has no 'accuracy', only {', '.join(map(repr, returned)) or 'nothing'}")
    metrics = {}
    for name, value in returned.items():
        if name == "accuracy":
            continue
        if problem := name_problem(name, taken):
            raise NoAccuracyError(f"metric {name!r}: {problem}")
        number = _number(value)
        if number is None or not math.isfinite(number):
            raise NoAccuracyError(f"metric {name!r} is {value!r}; it must be a finite number")
        metrics[name] = number
    return read_accuracy(returned["accuracy"]), metrics


def name_problem(name: object, taken: Collection[str]) -> str | None:
    """Why a metric cannot have a name; None where it can."""
    if not (isinstance(name, str) and name.isidentifier()):
        return "a metric's name must be an identifier, as energy_mj"
    return "a column of trials.csv has this name already; choose another" if name in taken else None


def _number(value: Any) -> float | None:
    """A Python, NumPy or torch number; None for what is none, truth values and texts among them."""
    if is_number(value):
        return float(value)
    if isinstance(value, str | bytes | bool) or getattr(value, "shape", None) != ():
        return None
    try:
        return None if "bool" in str(value.dtype) else float(value)
    except (TypeError, ValueError, AttributeError):
        return None


def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a function is given by position, and what by its parameters' names.

    Raises:
        InputError: it takes no architecture, or something that is not known here.
    """
    if not callable(function):
        raise InputError(f"evaluate={function!r}: must be a function of an architecture")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some that are written in C
        return ("architecture",), {}
    by_position: list[str] = []
    by_name = {p.name: p.name for p in parameters if p.name in GIVEN and p.kind is not Parameter.POSITIONAL_ONLY}
    left = [what for what in GIVEN[:2] if what not in by_name]
    for parameter in parameters:
        has_default = parameter.default is not Parameter.empty or parameter.kind in _ANY_NUMBER
        if parameter.name in by_name or has_default:
            continue
        if not left:
            known = ", ".join(GIVEN)
            raise InputError(f"evaluate: {_name(function)} needs '{parameter.name}'; a function can take {known}")
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            by_position.append(left.pop(0))
        else:
            by_name[parameter.name] = left.pop(0)
    if "architecture" not in (*by_position, *by_name.values()):
        if not any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters):
            raise InputError(f"evaluate: {_name(function)} takes no architecture; make that its first parameter")
        by_position = ["architecture"]
    return tuple(by_position), by_name


def _declared(function: Callable[..., Any], taken: Collection[str]) -> dict[str, str]:
    """The metrics that a function declares, with their units.

    Raises:
        InputError: they are no mapping of names to texts.
    """
    metrics = getattr(function, "metrics", {})
    if not (isinstance(metrics, Mapping) and all(isinstance(unit, str) for unit in metrics.values())):
        raise InputError(f"evaluate.metrics={metrics!r}: must map names to units, as {{'energy_mj': 'millijoules'}}")
    for name in metrics:
        if problem := name_problem(name, {*taken, "accuracy"}):
            raise InputError(f"evaluate.metrics: {name!r}: {problem}")
    return dict(metrics)


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__qualname__', None) or repr(function)}()"
