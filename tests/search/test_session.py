"""The end of a search whose report fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from search import report
from search.run import session
from spaces import InputError


@pytest.mark.parametrize("error", [KeyError("accuracy_std"), OSError(28, "No space left on device")])
def test_whatever_goes_wrong_with_the_report_the_study_is_whole_and_can_be_reported_again(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(report, "write_report", fail)
    config: Any = SimpleNamespace(study="small", results_dir="/r", storage=None)
    study: Any = SimpleNamespace(optuna_study=None)
    with pytest.raises(InputError) as raised:
        session._report(config, study, tmp_path, Console(), "")
    assert "the study is whole" in str(raised.value)
    assert "python -m search.report study=small results_dir=/r" in str(raised.value)
