"""A search from Python with an accuracy of one's own."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search import Objective, find_front, load_study
from spaces import Architecture, InputError, SearchSpace, cost
from tests.search.conftest import SMALL, readme_example


def accuracy(architecture: Architecture) -> float:
    """Rises with cost, unevenly."""
    return 1 - 1 / (1 + cost(architecture).flops / 3e4) - (int(architecture.digest, 16) % 97) / 1000


def test_a_function_is_searched_kept_and_gone_on_with(small_space: SearchSpace, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    find_front(small_space, accuracy, trials=12, folder=folder)
    assert (folder / "pareto.html").exists()
    asked = []
    study = find_front(small_space, lambda a: asked.append(a) or accuracy(a), trials=15, folder=folder)  # type: ignore[func-returns-value]
    assert len(asked) == 3
    assert len(study.trials) == 15
    front = study.front()
    assert front["accuracy"].is_monotonic_increasing
    assert load_study("mine", tmp_path).front().equals(front)
    other = SearchSpace(
        {"layers": [{"block": "conv", "channels": {"choice": [8, 16]}}]}, in_channels=1, num_classes=2, resolution=4
    )
    with pytest.raises(InputError, match="another config"):
        find_front(other, accuracy, trials=20, folder=folder)


def test_hyperparameters_are_handed_over() -> None:
    space = SearchSpace(
        SMALL, {"epochs": 3, "lr": {"float": [1e-3, 1.0], "log": True}}, in_channels=1, num_classes=10, resolution=8
    )

    def best_at_a_tenth(architecture: Architecture, train: dict[str, Any]) -> float:
        assert train["epochs"] == 3
        return 0.9 - 0.3 * abs(math.log10(train["lr"]) + 1)

    study = find_front(space, best_at_a_tenth, trials=25, objective=Objective(target=1e9), sampler="cost_aware")
    assert study.trials["accuracy"].max() > 0.8


def test_what_has_no_accuracy_fails_its_trial_and_the_search_goes_on(small_space: SearchSpace) -> None:
    answers = iter([math.nan, None, 0.5, "raise", 0.6])

    def uncertain(architecture: Architecture) -> Any:
        answer = next(answers)
        if answer == "raise":
            raise RuntimeError("the simulator is out of order")
        return answer

    trials = find_front(small_space, uncertain, trials=5).trials
    assert trials["state"].tolist() == ["failed", "failed", "complete", "failed", "complete"]
    assert trials["failure"][0] == "no accuracy: nan"
    assert "the simulator is out of order" in trials["failure"][3]
    for wrong in (93.1, "0.9", [0.5]):
        answers = iter([wrong, 0.5])
        trials = find_front(small_space, uncertain, trials=2).trials
        assert trials["state"].tolist() == ["failed", "complete"]
        assert str(trials["failure"][0]).startswith(f"no accuracy: {wrong!r}")


def test_a_search_whose_first_five_evaluations_fail_stops_with_the_first_traceback(
    small_space: SearchSpace, tmp_path: Path
) -> None:
    asked: list[Architecture] = []

    def out_of_order(architecture: Architecture) -> float:
        asked.append(architecture)
        raise RuntimeError(f"no answer to question {len(asked)}")

    said = r"(?s)the first 5 evaluations have all failed; trial 0: exception: .*, in out_of_order\n.*no answer to question 1"
    with pytest.raises(InputError, match=said):
        find_front(small_space, out_of_order, trials=20, folder=tmp_path / "mine")
    assert len(asked) == 5
    assert find_front(small_space, accuracy, trials=6, folder=tmp_path / "mine").trials["state"].tolist() == [
        *["failed"] * 5,
        "complete",
    ]
    with pytest.warns(
        UserWarning, match="all 3 evaluations have failed, the first: exception: RuntimeError: no answer"
    ):
        find_front(small_space, out_of_order, trials=3)


def test_a_failure_ends_the_search_where_it_shall_and_is_queued_again(small_space: SearchSpace, tmp_path: Path) -> None:
    answers = iter([0.5, 93.1, 0.6])
    with pytest.raises(InputError, match=r"trial 1 failed: no accuracy: 93\.1"):
        find_front(small_space, lambda a: next(answers), trials=3, folder=tmp_path / "mine", on_error="raise")
    study = find_front(small_space, lambda a: 0.7, trials=2, folder=tmp_path / "mine")
    assert study.trials["accuracy"].tolist()[:2] == [0.5, 0.7]


def test_a_range_of_targets_is_the_same_when_the_search_goes_on(small_space: SearchSpace, tmp_path: Path) -> None:
    for folder in (None, tmp_path / "mine", tmp_path / "mine"):
        objective = Objective(target=(1e4, 1e6))
        assert len(find_front(small_space, accuracy, trials=3, objective=objective, folder=folder).trials) >= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": 0}, "workers is 0; it is a whole number of at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"confirm": -1}, "confirm=-1: must be a whole number of at least 0"),
        ({"confirm": 2}, "confirm=2: the function takes no `seed`"),
        ({"timeout_s": 0}, "timeout_s=0: must be a number of seconds above 0"),
        ({"on_error": "ignore"}, "on_error='ignore': must be one of record, raise"),
        ({"backend": "rays"}, "backend.name: unknown backend 'rays'; did you mean 'ray'?"),
        ({"fidelity": "halving", "epochs": 9}, "fidelity: the function takes no `report`"),
        ({"objective": Objective(max_metrics={"energy_mj": 3})}, "the evaluator declares no metric 'energy_mj'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    arguments: dict[str, Any], words: str, small_space: SearchSpace
) -> None:
    asked: list[Architecture] = []
    with pytest.raises(InputError, match=re.escape(words)):
        find_front(small_space, asked.append, trials=5, **arguments)
    assert not asked


def test_a_function_that_cannot_reach_workers_is_refused_before_anything_starts(small_space: SearchSpace) -> None:
    held = threading.Lock()
    assert len(find_front(small_space, lambda a: accuracy(a) * (not held.locked()), trials=2).trials) >= 2
    with pytest.raises(InputError, match="cannot be sent to worker processes"):
        find_front(small_space, lambda a: accuracy(a) * (not held.locked()), trials=2, workers=2)


def test_halving_needs_the_number_of_epochs(small_space: SearchSpace) -> None:
    def evaluate(architecture: Architecture, report: Callable[[int, float], bool]) -> float:
        return 0.5

    with pytest.raises(InputError, match="fidelity: epochs= is missing"):
        find_front(small_space, evaluate, trials=5, fidelity="halving")
    with pytest.raises(InputError, match="epochs=2 has no rung"):
        find_front(small_space, evaluate, trials=5, fidelity={"name": "halving", "min_epochs": 2}, epochs=2)


def test_halving_stops_a_function_and_confirming_asks_it_again(small_space: SearchSpace) -> None:
    seeds: list[int] = []

    def trained(architecture: Architecture, seed: int, report: Callable[[int, float], bool]) -> float:
        seeds.append(seed)
        final = accuracy(architecture) - seed / 100
        if all(report(epoch, final * epoch / 9) for epoch in range(1, 10)):
            return final
        return math.nan  # nobody looks at it

    study = find_front(small_space, trained, trials=30, sampler="random", epochs=9, fidelity="halving", confirm=2)
    states = study.trials["state"].value_counts()
    assert states["stopped"] > 0
    assert states.index.isin(["complete", "stopped"]).all()
    assert set(study.trials["epochs"][study.trials["state"] == "stopped"]) <= {1, 3}
    assert set(seeds) == {0, 1, 2}
    front = study.front()
    assert (front["confirmations"] == 2).all()
    assert front["accuracy_mean"].tolist() == pytest.approx((front["accuracy"] - 0.015).tolist())


def test_a_metric_is_a_column_and_may_be_limited(small_space: SearchSpace, tmp_path: Path) -> None:
    def measured(architecture: Architecture) -> dict[str, float]:
        return {"accuracy": accuracy(architecture), "energy_mj": cost(architecture).flops / 1e4, "heat": 1.5}

    measured.metrics = {"energy_mj": "millijoules"}  # type: ignore[attr-defined]
    folder = tmp_path / "mine"
    objective = Objective(max_metrics={"energy_mj": 5})
    study = find_front(small_space, measured, trials=15, objective=objective, folder=folder)
    trials = study.trials[study.trials["duplicate_of"].isna()]
    assert len(trials) == 15
    beyond = trials["energy_mj"] > 5
    assert 0 < beyond.sum() < 15
    assert (trials["state"] == np.where(beyond, "infeasible", "complete")).all()
    assert trials["accuracy"].notna().all()
    assert trials["failure"][beyond].str.match(r"energy_mj \d.* > 5").all()
    assert (study.front()["energy_mj"] <= 5).all()
    assert set(trials["heat"]) == {1.5}
    header = (folder / "trials.csv").read_text().partition("\n")[0].split(",")
    assert header.index("heat") == header.index("energy_mj") + 1
    assert "millijoules" in (folder / "pareto.html").read_text()
    more = find_front(small_space, measured, trials=17, objective=objective, folder=folder)
    assert len(more.trials[more.trials["duplicate_of"].isna()]) == 17


def test_a_limited_metric_that_is_not_returned_fails_its_trial(small_space: SearchSpace) -> None:
    answers = iter([{"accuracy": 0.5, "energy_mj": 2}, 0.6])

    def measured(architecture: Architecture) -> Any:
        return next(answers)

    measured.metrics = {"energy_mj": "millijoules"}  # type: ignore[attr-defined]
    study = find_front(small_space, measured, trials=2, objective=Objective(max_metrics={"energy_mj": 3}))
    assert study.trials["state"].tolist() == ["complete", "failed"]
    assert study.trials["failure"][1].startswith("no metric: 'energy_mj' was not returned")


def test_a_metric_named_as_a_decision_is_refused(small_space: SearchSpace) -> None:
    name = next(d.name for d in small_space.decisions if d.name.isidentifier())

    def measured(architecture: Architecture) -> float:
        return 0.5

    measured.metrics = {name: ""}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=f"'{name}': a column of trials.csv has this name already"):
        find_front(small_space, measured, trials=1)


def test_workers_share_a_search_and_one_that_is_killed_is_replaced(small_space: SearchSpace, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def evaluate(architecture: Architecture) -> dict[str, float]:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"accuracy": accuracy(architecture), "process": os.getpid()}

    study = find_front(small_space, evaluate, trials=12, workers=2)
    trials = study.trials[study.trials["duplicate_of"].isna()]
    assert trials["state"].tolist() == ["complete"] * 12
    assert trials["retried"].str.contains("SIGKILL").sum() == 1
    assert os.getpid() not in set(trials["process"])


def test_a_lambda_travels_and_what_hangs_is_ended(small_space: SearchSpace) -> None:
    hangs = [True]
    with pytest.warns(
        UserWarning, match="all 2 evaluations have failed, the first: time limit: it ran for more than 0.5 s"
    ):
        study = find_front(
            small_space, lambda architecture: time.sleep(100 * hangs[0]), trials=2, workers=2, trial_timeout_s=0.5
        )
    assert study.trials["state"].tolist() == ["failed", "failed"]


def test_time_bounds_the_whole_search(small_space: SearchSpace, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with pytest.warns(
        UserWarning, match="ended at its time limit, timeout_s=4, with 0 of 3 trials; the same call resumes"
    ):
        study = find_front(small_space, lambda a: time.sleep(1000), trials=3, folder=folder, timeout_s=4)
    assert set(study.trials["state"]) == {"waiting"}
    assert (folder / "pareto.html").exists()
    assert find_front(small_space, accuracy, trials=3, folder=folder).trials["state"].tolist()[:2] == ["complete"] * 2


def test_ctrl_c_reaches_the_function_and_the_search_goes_on_later(small_space: SearchSpace, tmp_path: Path) -> None:
    asked: list[str] = []

    def evaluate(architecture: Architecture) -> float:
        asked.append(architecture.digest)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        return accuracy(architecture)

    before = signal.getsignal(signal.SIGINT)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        find_front(small_space, evaluate, trials=5, folder=tmp_path / "mine")
    assert time.monotonic() - started < 50
    assert signal.getsignal(signal.SIGINT) is before
    states = load_study("mine", tmp_path).trials["state"].tolist()
    assert states[:3] == ["complete", "complete", "waiting"]
    find_front(small_space, evaluate, trials=5, folder=tmp_path / "mine")
    assert asked[3] == asked[2]
    assert len(asked) == 6


def test_a_search_may_run_in_another_thread(small_space: SearchSpace) -> None:
    with ThreadPoolExecutor(1) as threads:
        study = threads.submit(find_front, small_space, accuracy, trials=4).result()
    assert study.trials["state"].eq("complete").all()


def test_a_script_needs_no_guard_around_its_search(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from search import find_front\n"
        "from spaces import SearchSpace, cost\n"
        "layers = [{'block': 'conv', 'channels': {'choice': [8, 16, 24, 32]}}]\n"
        "space = SearchSpace({'layers': layers}, in_channels=1, num_classes=2, resolution=4)\n"
        "def evaluate(architecture):\n"
        "    return 1 - 1 / cost(architecture).params\n"
        "print(len(find_front(space, evaluate, trials=3, workers=2).front()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.stdout.strip() == "3", done.stderr


@pytest.mark.parametrize("trials", [0, -1, 2.5, True])
def test_a_number_of_trials_that_is_none_is_refused(trials: Any, small_space: SearchSpace) -> None:
    with pytest.raises(InputError, match=f"trials is {trials!r}; it is a whole number of at least 1"):
        find_front(small_space, accuracy, trials=trials)


def test_a_space_smaller_than_the_search_ends_it_with_a_warning() -> None:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": {"choice": [8, 16]}}]}, in_channels=1, num_classes=2, resolution=4
    )
    with pytest.warns(
        UserWarning, match="ended before 5 trials: every candidate of the space has been evaluated, 2 in all"
    ):
        study = find_front(space, lambda architecture: 0.5, trials=5)
    assert len(study.front()) == 1


def test_the_example_in_the_readme_runs() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(readme_example("find_front"), names)
    trials = names["study"].trials
    assert len(trials) >= 20
    assert set(trials["state"]) == {"complete", "infeasible"}
    assert len(names["study"].front()) > 1
