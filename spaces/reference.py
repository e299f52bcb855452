"""The networks of the literature, and the spaces of this project, by name.

They are YAML files under `conf/`, read with OmegaConf: plain data, in which only references within the same file
(`${...parameters.p}`) are resolved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from spaces.architecture import Architecture
from spaces.decoding import NETWORK_KEYS, decode
from spaces.errors import InputError, did_you_mean
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
    config = _load(path)
    parameters = config.get("parameters") or {}
    for key, value in (overrides or {}).items():
        if key not in NETWORK_KEYS and key not in parameters:
            valid = [*parameters, *NETWORK_KEYS]
            raise InputError(f"network '{name}': unknown key '{key}'{did_you_mean(key, valid)}")
        try:
            OmegaConf.update(config, f"parameters.{key}" if key in parameters else key, value, merge=False)
        except OmegaConfBaseException as error:
            raise InputError(f"network '{name}': {key} cannot be {value!r}") from error
    return _resolve(config, path)


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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain data, its references resolved.

    Raises:
        InputError: the file is missing, or not a YAML mapping, or refers to something outside itself.
    """
    return _resolve(_load(path), path)


def _load(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise InputError(f"{path}: a mapping is needed, as `layers: [...]`; got a list")
    return config


def refuse_resolvers(value: Any, where: str = "") -> None:
    """Allows `${name.of.a.value}` alone: a downloaded file must not read the environment or run a resolver.

    Args:
        value: plain data, interpolations unresolved.
        where: the dotted key of `value`.

    Raises:
        InputError: an interpolation that is more than a name.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            refuse_resolvers(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            refuse_resolvers(inner, f"{where}.{index}")
    elif isinstance(value, str) and "${" in re.sub(r"\$\{\s*\.*[\w.\[\]-]+\s*\}", "", value):
        raise InputError(
            f"{where}: {value!r} is not allowed; an interpolation names another value, as ${{name.of.value}}"
        )


def _resolve(config: DictConfig, path: Path) -> dict[str, Any]:
    try:
        refuse_resolvers(OmegaConf.to_container(config, resolve=False))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: a reference leads nowhere: {' '.join(str(error).split())}") from error
