"""A search from Python with an accuracy of one's own."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

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


def test_what_has_no_accuracy_failed_and_a_percentage_is_refused(small_space: SearchSpace) -> None:
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
        said = re.escape(f"the accuracy of trial 0 is {wrong!r}; it is a share, from 0 to 1")
        with pytest.raises(InputError, match=said):
            find_front(small_space, lambda architecture, wrong=wrong: wrong, trials=5)


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
    names: dict[str, Any] = {}
    exec(readme_example("find_front"), names)
    assert len(names["study"].trials) >= 50
    assert len(names["study"].front()) > 1
