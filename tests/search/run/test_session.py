"""What a search advises at its end."""

from __future__ import annotations

import sys

import pytest

from search.run.session import _next_command
from search.study.study import Study


@pytest.mark.parametrize(
    ("trials", "num_done", "more"),
    [(40, 40, 80), (1, 3, 6), (10, 7, 20)],  # as asked for; fewer than the study has; ended early
)
def test_the_advice_is_more_than_the_study_has(
    monkeypatch: pytest.MonkeyPatch, trials: int, num_done: int, more: int
) -> None:
    study = Study.__new__(Study)
    study.trials, study._num_done = trials, num_done
    monkeypatch.setattr(sys, "argv", ["run", "space=shuffle_agg", f"trials={trials}"])
    assert _next_command(study, interrupted=False) == f"python -m search.run space=shuffle_agg trials={more}"
