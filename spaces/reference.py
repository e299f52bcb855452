"""The networks of the literature, and the spaces of this project, by name.

They are YAML files under `conf/`: plain data, in which only references within the same file (`${...parameters.p}`) are resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaces.architecture import Architecture
from spaces.decoding import NETWORK_KEYS, decode
from spaces.errors import InputError, did_you_mean
from spaces.plain import check_plain, load_yaml, resolve
from spaces.space import SearchSpace

CONF = Path(__file__).resolve().parent.parent / "conf"
"""The folder of the project's YAML files."""


def networks() -> list[str]:
    """Names of the reference networks."""
    return sorted(path.stem for path in (CONF / "network").glob("*.yaml"))


def network(name: str, **overrides: Any) -> Architecture:
    """A reference network.

    Args:
        name: one of `networks()`.
        overrides: top-level values of its file to replace: `width_multiplier`, `resolution` (a side or (height, width)),
            `in_channels`, `num_classes`, ..., or one of its `parameters`.

    Raises:
        InputError: an unknown name or key, or a value that does not fit the network.
    """
    return decode(describe(name, overrides), f"network '{name}'")


def published(name: str) -> dict[str, Any]:
    """What its paper reports: `top1` and other figures with their `source`; empty where nothing is known."""
    return dict(describe(name).get("published") or {})


def describe(name: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description of a reference network as plain data.

    Args:
        name: one of `networks()`.
        overrides: as for `network`.

    Raises:
        InputError: an unknown name or key.
    """
    if name not in networks():
        raise InputError(f"unknown network '{name}'{did_you_mean(name, networks())}")
    path = CONF / "network" / f"{name}.yaml"
    description = load_yaml(path)
    parameters = description.get("parameters") or {}
    for key, value in (overrides or {}).items():
        if key not in NETWORK_KEYS and key not in parameters:
            valid = [*parameters, *NETWORK_KEYS]
            raise InputError(f"network '{name}': unknown key '{key}'{did_you_mean(key, valid)}")
        try:
            check_plain(value, key)
        except InputError as error:
            raise InputError(f"network '{name}': {error}") from error
        (parameters if key in parameters else description)[key] = value
    return _resolved(description, path)


def load_space(name: str | Path, hyperparameters: Mapping[str, Any] | None = None, **image: Any) -> SearchSpace:
    """A search space by name (`conf/space/`) or from a YAML file.

    Args:
        name: one of the project's spaces, or a path ending in .yaml.
        hyperparameters: a training description whose open values join the space.
        image: `in_channels`, `num_classes`, `resolution`, as for `SearchSpace`.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = sorted(file.stem for file in (CONF / "space").glob("*.yaml"))
        if str(name) not in known:
            raise InputError(f"unknown space '{name}'{did_you_mean(name, known)}, or the path of a .yaml file")
        path = CONF / "space" / f"{name}.yaml"
    return SearchSpace(read_yaml(path), hyperparameters, source=str(name), **image)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as plain data, its references resolved.

    Raises:
        InputError: the file is missing, or not a YAML mapping, or refers to something outside itself.
    """
    return _resolved(load_yaml(path), path)


def _resolved(description: dict[str, Any], path: str | Path) -> dict[str, Any]:
    try:
        return resolve(description)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
