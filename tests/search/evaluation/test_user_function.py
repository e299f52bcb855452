"""A user's function: what it is given, what it may return, and what is refused before anything starts."""

from __future__ import annotations

import math
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.evaluation.job import Job
from search.evaluation.training import Epoch
from search.evaluation.user_function import NoAccuracyError, UserFunction, read_accuracy, read_result
from spaces import Architecture, InputError, SearchSpace
from tests.search.conftest import SMALL


@pytest.fixture
def job() -> Job:
    space = SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8)
    architecture = space.random(np.random.default_rng(0)).architecture
    return Job(3, architecture.to_dict(), {"lr": 0.1}, seed=7)


def check(*given: Any) -> float:
    """The accuracy that says all is as the job has it."""
    expected = {Architecture: None, dict: {"lr": 0.1}, int: 7}
    for value in given:
        if expected.get(type(value)) is not None:
            assert value == expected[type(value)]
    return 0.5


def by_position(a, b):  # type: ignore[no-untyped-def]
    return check(a, b)


def only_positional(a, b, /):  # type: ignore[no-untyped-def]
    return check(a, b)


def by_name(seed, report, hyperparameters, architecture):  # type: ignore[no-untyped-def]
    return check(seed, hyperparameters, architecture)


def mixed(network, *, seed, hyperparameters=None, other=4):  # type: ignore[no-untyped-def]
    assert other == 4
    assert hyperparameters is not None
    return check(network, seed, hyperparameters)


class Callable_:  # noqa: N801
    def __call__(self, architecture, seed):  # type: ignore[no-untyped-def]
        return check(architecture, seed)


@pytest.mark.parametrize(
    ("function", "takes_seed", "reports"),
    [
        (by_position, False, False),
        (only_positional, False, False),
        (by_name, True, True),
        (mixed, True, False),
        (Callable_(), True, False),
        (lambda *everything: check(*everything), False, False),
        (lambda architecture, **more: check(architecture, *more.values()), False, False),
    ],
)
def test_parameters_say_what_a_function_is_given(
    function: Callable[..., Any], takes_seed: bool, reports: bool, job: Job
) -> None:
    evaluator = UserFunction(function)
    assert (evaluator.takes_seed, evaluator.reports) == (takes_seed, reports)
    outcome = evaluator.evaluate(job, lambda epoch: True)
    assert (outcome.state, outcome.accuracy, outcome.epochs, outcome.curve) == ("complete", 0.5, 1, (0.5,)), outcome


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: 0.5, "takes no architecture"),
        (lambda seed: 0.5, "takes no architecture"),
        (lambda a, b, c: 0.5, "needs 'c'; a function can take architecture, hyperparameters, seed, report"),
        (lambda architecture, hyperparameters, data: 0.5, "needs 'data'"),
        (0.5, "must be a function"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(function: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        UserFunction(function)


@pytest.mark.parametrize(
    ("value", "accuracy"),
    [
        (1, 1.0),
        (1.0000001, 1.0),
        (-1e-9, 0.0),
        (np.float32(0.25), 0.25),
        (torch.tensor(0.5), 0.5),
        (np.array(0.5), 0.5),
    ],
)
def test_numbers_of_every_kind_are_accuracies(value: Any, accuracy: float) -> None:
    assert read_accuracy(value) == accuracy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (93.1, "93.1; an accuracy is a share, from 0 to 1"),
        (-0.5, "-0.5; an accuracy is a share"),
        (1.01, "1.01; an accuracy is a share"),
        (math.inf, "inf; an accuracy"),
        (math.nan, "nan"),
        (None, "None"),
        ("0.9", "'0.9'"),
        (True, "True"),
        (np.bool_(True), "np.True_"),
        ([0.5], "[0.5]"),
        (np.array([0.5]), "array([0.5])"),
        ({"loss": 0.5}, "the mapping has no 'accuracy', only 'loss'"),
        ({"accuracy": 0.5, "energy": math.inf}, "metric 'energy' is inf; it must be a finite number"),
        ({"accuracy": 0.5, "energy": "3 mJ"}, "metric 'energy' is '3 mJ'"),
        ({"accuracy": 0.5, "energy (mJ)": 3}, "metric 'energy (mJ)': a metric's name must be an identifier"),
        ({"accuracy": 0.5, "flops": 3}, "metric 'flops': a column of trials.csv has this name already"),
    ],
)
def test_a_value_that_is_no_accuracy_fails_its_trial(value: Any, words: str, job: Job) -> None:
    with pytest.raises(NoAccuracyError, match=re.escape(words)):
        read_result(value, {"flops"})
    outcome = UserFunction(lambda architecture: value, frozenset({"flops"})).evaluate(job, lambda epoch: True)
    assert outcome.state == "failed"
    assert (outcome.failure or "").startswith(f"no accuracy: {words}")


def test_any_mapping_brings_further_numbers() -> None:
    assert read_result(OrderedDict(energy=np.int64(3), accuracy=0.5)) == (0.5, {"energy": 3.0})


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"energy mJ": "mJ"}, "'energy mJ': a metric's name must be an identifier, as energy_mj"),
        ({"params": "weights"}, "'params': a column of trials.csv has this name already"),
        ({"accuracy": ""}, "'accuracy': a column"),
        (["energy"], "must map names to units"),
    ],
)
def test_a_metric_is_declared_by_a_name_that_is_free(metrics: Any, words: str) -> None:
    def function(architecture: Architecture) -> float:
        return 0.5

    function.metrics = metrics  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=re.escape(words)):
        UserFunction(function, frozenset({"params"}))


def report_thirds(architecture: Architecture, report: Callable[[int, float], bool]) -> float:
    for epoch in (1, 2, 3):
        if not report(epoch, epoch / 10):
            break
    return 0.3


@pytest.mark.parametrize(("last", "expected"), [(3, ("complete", 3, (0.1, 0.2, 0.3))), (2, ("stopped", 2, (0.1, 0.2)))])
def test_reports_are_a_curve_and_may_stop_it(last: int, expected: Any, job: Job) -> None:
    seen: list[Epoch] = []

    def hear(epoch: Epoch) -> bool:
        seen.append(epoch)
        return epoch.epoch < last or last == 3

    outcome = UserFunction(report_thirds).evaluate(job, hear)
    assert (outcome.state, outcome.epochs, outcome.curve) == expected
    assert outcome.accuracy == outcome.curve[-1]
    assert [epoch.epoch for epoch in seen] == list(range(1, last + 1))


def test_epochs_are_reported_in_their_order(job: Job) -> None:
    def skips(architecture: Architecture, report: Callable[[int, float], bool]) -> float:
        report(1, 0.1)
        report(3, 0.3)
        return 0.3

    outcome = UserFunction(skips).evaluate(job, lambda epoch: True)
    assert (
        outcome.failure == "no accuracy: report(3, ...), where epoch 2 is due: epochs are reported from 1 on, each once"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("the simulator is out of order"), "exception: RuntimeError: the simulator is out of order ("),
        (SystemExit(3), "exception: SystemExit: 3 ("),
        (MemoryError("too large"), "out of memory: too large"),
    ],
)
def test_what_is_raised_is_a_failure(error: BaseException, words: str, job: Job) -> None:
    def fails(architecture: Architecture) -> float:
        raise error

    outcome = UserFunction(fails).evaluate(job, lambda epoch: True)
    assert outcome.state == "failed"
    assert (outcome.failure or "").startswith(words)
    if words.startswith("exception"):
        assert "in fails" in (outcome.traceback or "")


def test_a_closure_travels_and_what_cannot_is_refused(tmp_path: Path, job: Job) -> None:
    factor = 0.5
    UserFunction(lambda architecture: factor, frozenset({"x"})).pack(tmp_path)
    opened = UserFunction.open(tmp_path)
    assert opened.taken == {"x"}
    assert opened.evaluate(job, lambda epoch: True).accuracy == 0.5
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"cannot be sent to worker processes \(TypeError: cannot pickle"):
        UserFunction(lambda architecture: float(lock.locked())).fingerprint()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("own_evaluator", "must be module:function, as my_package.training:evaluate"),
        ("own_evaluator:", "must be module:function"),
        ("own_evaluator:x.y", "must be module:function"),
        ("no_such_evaluator:evaluate", "evaluator: there is no module 'no_such_evaluator'"),
        ("own_evaluator:evaluete", "the module 'own_evaluator' has no function 'evaluete'; did you mean 'evaluate'?"),
        ("own_evaluator:number", "has no function 'number'"),
    ],
)
def test_a_function_is_loaded_by_the_name_of_its_module(
    place: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_evaluator.py").write_text("number = 4\n\ndef evaluate(architecture):\n    return 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_evaluator", raising=False)
    assert UserFunction.load("own_evaluator:evaluate").function.__name__ == "evaluate"
    with pytest.raises(InputError, match=re.escape(words)):
        UserFunction.load(place)
