"""The settings of every command: their defaults are those of conf/, and a mistake in a key is one clear error."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import pytest

from search.config import (
    DashboardSettings,
    ExportSettings,
    FullTrainingSettings,
    PickSettings,
    ProfileSettings,
    ReportSettings,
    compose,
)
from spaces import InputError

COMMANDS: list[tuple[str, Any, list[str]]] = [
    ("pick", PickSettings, ["study=s"]),
    ("report", ReportSettings, ["study=s"]),
    ("dashboard", DashboardSettings, []),
    ("export", ExportSettings, ["folder=f"]),
    ("profile", ProfileSettings, []),
    ("train", FullTrainingSettings, []),
]


@pytest.mark.parametrize(("name", "settings", "arguments"), COMMANDS)
def test_defaults_are_those_of_the_files(name: str, settings: Any, arguments: list[str]) -> None:
    [config] = compose(arguments, name)
    made = settings.from_mapping(config)
    for one in fields(settings):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if default is not MISSING and one.name != "results_dir":  # which is made absolute
            assert getattr(made, one.name) == default, one.name


@pytest.mark.parametrize(("name", "settings", "arguments"), COMMANDS)
def test_an_unknown_key_and_a_missing_one_are_one_error_each(name: str, settings: Any, arguments: list[str]) -> None:
    [config] = compose(arguments, name)
    with pytest.raises(InputError, match=r"^imposts: there is no setting of this name"):
        settings.from_mapping({**config, "imposts": []})
    for one in fields(settings):
        if one.default is MISSING and one.default_factory is MISSING:
            with pytest.raises(InputError, match=f"^{one.name} is missing"):
                settings.from_mapping({key: value for key, value in config.items() if key != one.name})


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        (PickSettings, {"study": "s", "max_energy_mj": -1}, "max_energy_mj=-1: must be a number above 0"),
        (PickSettings, {"study": "s", "by": "size"}, "there is no order 'size'"),
        (PickSettings, {"study": "s", "objective": {"alpha": -1}}, "objective.alpha=-1: counts with by=reward alone"),
        (PickSettings, {"study": "s", "imports": 3}, "imports=3: must be a list"),
        (PickSettings, {"study": "s", "budgets": {}}, "budgets: there is no setting of this name"),
        (ReportSettings, {"study": "s", "measured": 3}, "measured=3: must be a text"),
        (DashboardSettings, {"studies": "a"}, "studies='a': must be a list of names"),
        (DashboardSettings, {"port": 70000}, "port=70000: must be a whole number from 0"),
        (DashboardSettings, {"host": ""}, "host='': must be a name"),
        (ExportSettings, {"folder": "f", "device": "torch"}, "device: must be a mapping"),
        (ProfileSettings, {"device": {}, "choices": {}, "format": "xml"}, "there is no format 'xml'"),
        (ProfileSettings, {"device": {}, "choices": {}, "budget_s": 0}, "budget_s=0: must be a number of seconds"),
        (ProfileSettings, {"device": {}, "choices": {}, "guidelines": 1}, "guidelines=1: must be true or false"),
        (
            FullTrainingSettings,
            {"data": {}, "train": {}, "device": {}, "choices": {}, "seeds": [-1]},
            "must be a list of",
        ),
        (
            FullTrainingSettings,
            {"data": {}, "train": {}, "device": {}, "choices": {}, "architecture": 3},
            "must be the path",
        ),
    ],
)
def test_a_bad_value_is_one_error(settings: Any, config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings.from_mapping(config)


def test_budgets_are_those_that_are_given_of_any_cost() -> None:
    settings = PickSettings.from_mapping({"study": "s", "max_params": 2e4, "max_energy_mj": 1, "max_flops": None})
    assert settings.budgets == {"params": 2e4, "energy_mj": 1.0}
