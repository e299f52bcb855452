"""The commands that reports print are read back as what they meant, whatever the study's settings were."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from search.config import compose
from search.config.command_lines import export_command, report_command, setting, train_command, written
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
TEXTS = ["a\\b", "a\\", "plain", "null", "True", "7", "1e3", "a,b", "it's", "a\\'b", "[x]", "{a: 1}", "${x}", "é", " "]


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS, [1, "a b", None], []])
def test_values_are_read_back(value: Any) -> None:
    [[override]] = read_jobs([f"train.x={written(value)}"], {}, sweep=False)
    assert override.value == value
    assert type(override.value) is type(value)


PATHS = [
    "/my (old) [2]/x",
    "/a b",
    "it's",
    "'q'",
    '"q"',
    '"',
    "'",
    "/x{1,2}",
    "a=b",
    "a,b",
    "$HOME",
    "${x}",
    "\\${x}",
    "${",
]
PATHS += [
    "#c",
    "-x",
    "~x",
    "~/x",
    "é",
    "C:\\x\\",
    "a\\'b",
    "null",
    "7",
    "true",
    "1e3",
    "[a]",
    "[a, b]",
    "{a: b}",
    "a\nb",
]
PATHS += [
    "choice(a,b)",
    "range(1,3)",
    " lead",
    "trail ",
    "!x",
    "a;b",
    "a&b|c",
    "<x>",
    "*",
    "?",
    "`x`",
    "(",
    ")",
    "[",
    "???",
]


@pytest.mark.parametrize("path", PATHS)
def test_printed_commands_name_every_path(path: str) -> None:
    meant = str(Path.cwd() / path)
    [study] = compose(["data=folder", setting("data.path", path)])
    config = composed(train_command(path, path, study, {}), "train")
    assert (config["architecture"], config["folder"], config["data"]["path"]) == (meant, meant, meant)
    assert composed(export_command(path), "export")["folder"] == meant
    assert composed(report_command("s", path, None), "report")["results_dir"] == meant


@pytest.mark.parametrize("name", ["my (old)", "a=b", "it's", "null", "[1]", "2024", "a, b", "'x'"])
def test_printed_commands_name_every_study(name: str) -> None:
    assert composed(report_command(name, "results", None), "report")["study"] == name
