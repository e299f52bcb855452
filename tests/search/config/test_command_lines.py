"""The commands that reports print are read back as what they meant, whatever the study's settings were."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from search.config import compose
from search.config.command_lines import export_command, train_command, written
from search.config.overrides import read_jobs


def composed(command: str, config_name: str) -> dict[str, Any]:
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", f"search.{config_name}")
    [config] = compose(arguments, config_name)
    return config


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data=cifar10", "data.path='/data/my images, all'", "data.limit=5000", "data.augment=false"],
        [
            "data=folder",
            "data.path='/data/it\\'s [here]'",
            "data.resolution=[48, 64]",
            "imports=[my_blocks, other.blocks]",
        ],
        ["data=parquet", "data.path=/data", "data.label=7", "data.in_memory_mb=0.5"],
        ["+data.decode_workers=2"],
    ],
)
def test_the_images_and_modules_of_the_study_go_along(arguments: list[str]) -> None:
    [study] = compose(arguments)
    config = composed(train_command("results/a b/front/x.yaml", "trained/x", study, {}), "train")
    assert (config["data"], config["imports"]) == (study["data"], study["imports"])
    assert config["architecture"].endswith("/results/a b/front/x.yaml")
    assert config["folder"].endswith("/trained/x")


def test_images_of_a_users_own_file_are_given_whole() -> None:
    [study] = compose(["data=folder", "data.path=/data"])
    study = {**study, "choices": {**study["choices"], "data": "mine"}, "data": {**study["data"], "fingerprint": "ab12"}}
    command = train_command("x.yaml", "trained/x", study, {})
    del study["data"]["fingerprint"]
    assert composed(command, "train")["data"] == study["data"]


def test_hyperparameters_that_were_found_go_along_but_not_the_length() -> None:
    [study] = compose([])
    decisions = {"layers.1.repeat": 2, "train.lr": 0.0123456789, "train.optimizer": "adamw", "train.epochs": 3}
    config = composed(train_command("x.yaml", "trained/x", study, {**decisions, "train.warmup": None}), "train")
    [usual] = compose(["architecture=x.yaml"], "train")
    assert config["train"] == {**usual["train"], "lr": 0.0123456789, "optimizer": "adamw"}


def test_export_names_the_folder() -> None:
    assert composed(export_command("trained/a b"), "export")["folder"].endswith("/trained/a b")


NUMBERS = [7, 0.1, 1e-05, True, None]
TEXTS = ["plain", "null", "True", "7", "1e3", "a,b", "it's", "a\\'b", "[x]", "{a: 1}", "${x}", "é", " "]


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS, [1, "a b", None], []])
def test_values_are_read_back(value: Any) -> None:
    [[override]] = read_jobs([f"train.x={written(value)}"], {}, sweep=False)
    assert override.value == value
    assert type(override.value) is type(value)
