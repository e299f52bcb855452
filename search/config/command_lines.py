"""The command lines that go on from a study: to write its tables, to train a network of its in full, and to export it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from search.config.overrides import PATH_KEYS, TEXT_KEYS
from search.system.secrets import without_password
from spaces.reference import CONF, read_yaml

_FILES = {"digits": "digits", "hub": "cifar10", "folder": "folder", "parquet": "parquet"}
"""The project's own file of conf/data/ for each source, where the study used one that is not found here."""


def report_command(study: str, results_dir: str, storage: str | None) -> str:
    """The command that writes a study's tables, front and page."""
    arguments = [setting("study", study), setting("results_dir", results_dir)]
    if storage is not None:
        arguments.append(setting("storage", without_password(storage)))
    return shlex.join(["python", "-m", "search.report", *arguments])


def train_command(architecture: str, folder: str, config: Mapping[str, Any], decisions: Mapping[str, Any]) -> str:
    """The command that trains a network in full, on the images of its study.

    Args:
        architecture: path of the network's file.
        folder: path of the folder for weights and model card.
        config: the study's, as it stands in the storage.
        decisions: of the network's trial; its hyperparameters, all but the number of epochs, go with it.
    """
    arguments = [setting("architecture", architecture), *_data_arguments(config), "train=long", *_settings(decisions)]
    if config.get("imports"):
        arguments.append(setting("imports", config["imports"]))
    return shlex.join(["python", "-m", "search.train", *arguments, setting("folder", folder)])


def hyperparameters(decisions: Mapping[str, Any]) -> str:
    """What a trial's hyperparameters add to `train_command` after `train=long`: each argument with a space before it."""
    return "".join(f" {shlex.quote(argument)}" for argument in _settings(decisions))


def _settings(decisions: Mapping[str, Any]) -> list[str]:
    found = {k: v for k, v in decisions.items() if k.startswith("train.") and k != "train.epochs" and v is not None}
    return [setting(key, value) for key, value in found.items()]


def export_command(folder: str, imports: Sequence[str] = ()) -> str:
    """The command that exports what `train_command` left in a folder; `imports` are the modules that brought its blocks."""
    modules = [setting("imports", imports)] if imports else []
    return shlex.join(["python", "-m", "search.export", setting("folder", folder), *modules])


def setting(key: str, value: Any) -> str:
    """The argument that gives a key a value, before it is quoted for a shell."""
    if key not in TEXT_KEYS or not isinstance(value, str):
        return f"{key}={written(value)}"
    if key in PATH_KEYS and (value.startswith("~") or value == "???"):  # no home and no missing value, but a name
        value = f"./{value}"
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # no reference to another value
    needs_quotes = text.lower() == "null" or (text[:1] in ("'", '"') and text[-1:] == text[:1])
    return f"{key}={_in_quotes(text) if needs_quotes else text}"


def written(value: Any) -> str:
    """A value as it is written on a command line, where the config's grammar reads it back."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)
    is_word = re.fullmatch(r"[A-Za-z_./~][\w./~+-]*", value)
    is_plain = is_word and value.lower() not in ("null", "true", "false", "nan", "inf")
    return value if is_plain else _in_quotes(value)


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _data_arguments(config: Mapping[str, Any]) -> list[str]:
    """The arguments that give a study's images: its file of conf/data/, and what was said otherwise."""
    settings = {key: value for key, value in config["data"].items() if key != "fingerprint"}
    name = config["choices"]["data"]
    if not (CONF / "data" / f"{name}.yaml").exists():  # a file of the user's own
        name = _FILES[settings["source"]]
    usual = read_yaml(CONF / "data" / f"{name}.yaml")
    given = {key: value for key, value in settings.items() if key not in usual or usual[key] != value}
    return [f"data={name}", *(f"{'' if k in usual else '+'}{setting(f'data.{k}', v)}" for k, v in given.items())]
