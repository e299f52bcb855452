"""The settings of each command as a frozen type, checked when it is made; what the groups hold is checked by whoever reads it.

The defaults are those of the files in conf/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from search.config.overrides import LIMIT, check_study_name
from search.system.secrets import hide_password
from spaces.checks import is_integer, is_number
from spaces.errors import InputError, did_you_mean

PICK_ORDERS = ("accuracy", "reward")
"""What can make a network the best."""
PROFILE_FORMATS = ("table", "json")

Group = Mapping[str, Any]
"""The settings of one group, as a file of conf/<group>/ states them."""


@dataclass(frozen=True)
class RunConfig:
    """The settings of search.run."""

    space: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]
    device: dict[str, Any]
    objective: dict[str, Any]
    sampler: dict[str, Any]
    fidelity: dict[str, Any]
    backend: dict[str, Any]
    choices: dict[str, str]
    """The option chosen of every group: `{"space": "shuffle_agg", "data": "digits", ...}`."""
    study: str
    """The name of the study, which is the name of its folder."""
    results_dir: str
    """Absolute path of the folder that holds the studies."""
    trials: int
    """Total number of trials the study is to have."""
    seed: int
    confirm: int
    """Other seeds under which the front's members are trained again."""
    enqueue: tuple[str, ...]
    """Networks to evaluate first: names of `spaces.networks()`, and absolute paths of files."""
    warm_start: tuple[str, ...]
    """Earlier studies to learn from: names in `results_dir`, and absolute paths of folders."""
    workers: int | None
    """Candidates trained at the same time; None: as many as there is room for."""
    storage: str | None
    """URL of the study's storage; None: a SQLite file in the study's folder."""
    tracker: str
    """Who follows the trials beside the study's own files."""
    imports: tuple[str, ...]
    """Modules to import before the space is read."""

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> RunConfig:
        """The settings of a composed config.

        Raises:
            InputError: a key that is missing or unknown, or a setting of the wrong kind or range.
        """
        values = keys_of(cls, config)
        names = list(values)
        groups = {name: _mapping(name, config[name]) for name in names[: names.index("study")]}
        workers = config["workers"]
        return cls(
            **groups,
            study=check_study_name(config["study"]),
            results_dir=_text("results_dir", config["results_dir"]),
            trials=_whole("trials", config["trials"], 1),
            # Generators of NumPy and scikit-learn take seeds of 32 bits.
            seed=_whole("seed", config["seed"], 0, 2**32 - 1),
            confirm=_whole("confirm", config["confirm"], 0),
            enqueue=_names("enqueue", config["enqueue"], "networks", "[mobilenet_v2, mine.yaml]"),
            warm_start=_names("warm_start", config["warm_start"], "studies", "[shuffle_agg-digits]"),
            workers=None if workers is None else _whole("workers", workers, 1),
            storage=_text_or_none("storage", config["storage"]),
            tracker=_text("tracker", config["tracker"]),
            imports=_modules(config["imports"]),
        )


@dataclass(frozen=True)
class PickSettings:
    """The settings of search.pick."""

    study: str
    budgets: Mapping[str, float] = field(default_factory=dict)
    """What the network may cost at most, by the names of the costs; max_<cost> in the config."""
    by: str = "accuracy"
    """What makes the best, one of `PICK_ORDERS`."""
    objective: Group = field(default_factory=dict)
    """What is stated of the reward; the rest is as in the study."""
    output: str | None = None
    """Path of the description; None: pick.yaml in the study's folder."""
    results_dir: str = "results"
    storage: str | None = None
    imports: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> PickSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is missing or unknown, or a setting of the wrong kind or range.
        """
        limits = {key: value for key, value in config.items() if key.startswith(LIMIT)}
        values = keys_of(cls, {key: value for key, value in config.items() if key not in limits}, hidden=["budgets"])
        budgets = {key.removeprefix(LIMIT): _budget(key, value) for key, value in limits.items() if value is not None}
        by = _one_of("by", values["by"], "order", PICK_ORDERS)
        objective = {
            key: value for key, value in _mapping("objective", values["objective"]).items() if value is not None
        }
        for key, value in objective.items() if by != "reward" else ():
            raise InputError(f"objective.{key}={value}: counts with by=reward alone; give that too, or leave this out")
        return cls(**{**values, "budgets": budgets, "objective": objective, "imports": _modules(values["imports"])})


@dataclass(frozen=True)
class ReportSettings:
    """The settings of search.report."""

    study: str
    results_dir: str = "results"
    measured: str | None = None
    """Path of a table of latencies measured on the study's device."""
    storage: str | None = None

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ReportSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is missing or unknown, or a setting of the wrong kind.
        """
        values = keys_of(cls, config)
        for key in ("measured", "storage"):
            _text_or_none(key, values[key])
        return cls(**values)


@dataclass(frozen=True)
class DashboardSettings:
    """The settings of search.dashboard."""

    study: str | None = None
    studies: tuple[str, ...] = ()
    results_dir: str = "results"
    storage: str | None = None
    host: str = "127.0.0.1"
    port: int = 8050

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> DashboardSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is unknown, or a setting of the wrong kind or range.
        """
        values = keys_of(cls, config)
        several = values["studies"]
        if not isinstance(several, list | tuple) or not all(isinstance(name, str) for name in several):
            raise InputError(f"studies={several!r}: must be a list of names, as 'studies=[a, b]'")
        host, port = values["host"], values["port"]
        if not (is_integer(port) and 0 <= port < 2**16):
            raise InputError(f"port={port}: must be a whole number from 0 to 65535; 0 takes any that is free")
        if not isinstance(host, str) or not host:
            raise InputError(f"host={host!r}: must be a name or an address, as 127.0.0.1")
        return cls(**{**values, "studies": tuple(several)})


@dataclass(frozen=True)
class ExportSettings:
    """The settings of search.export."""

    device: Group
    """What measures the file's latency."""
    folder: str
    """What search.train wrote."""
    seed: int | None = None
    """Whose weights; None: those of the first training."""
    output: str | None = None
    """Path of the file; None: model.onnx in the folder."""
    imports: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ExportSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is missing or unknown, or a setting of the wrong kind.
        """
        values = keys_of(cls, config)
        _mapping("device", values["device"])
        return cls(**{**values, "imports": _modules(values["imports"])})


@dataclass(frozen=True)
class ProfileSettings:
    """The settings of search.profile."""

    device: Group
    choices: Mapping[str, str]
    """The option chosen of every group."""
    network: Group | None = None
    space: Group | None = None
    architecture: str | None = None
    """Path of a network's description."""
    format: str = "table"
    """One of `PROFILE_FORMATS`."""
    page: str | None = None
    bundle: str | None = None
    guidelines: bool = False
    in_channels: int = 3
    num_classes: int = 10
    resolution: int | tuple[int, int] = 32
    """A side in pixels, or (height, width)."""
    budget_s: float | None = None
    imports: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ProfileSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is unknown, or a setting of the wrong kind or range.
        """
        values = keys_of(cls, config)
        _one_of("format", values["format"], "format", PROFILE_FORMATS)
        for key in ("page", "bundle"):
            if values[key] is not None and not isinstance(values[key], str):
                raise InputError(f"{key}={values[key]!r}: must be the path of a file")
        if not isinstance(values["guidelines"], bool):
            raise InputError(f"guidelines={values['guidelines']!r}: must be true or false")
        budget = values["budget_s"]
        if budget is not None and not (is_number(budget) and budget > 0):
            raise InputError(f"budget_s={budget!r}: must be a number of seconds above 0, or null")
        _check_architecture(values["architecture"])
        size = values["resolution"]
        values["resolution"] = tuple(size) if isinstance(size, list) else size
        return cls(**{**values, "imports": _modules(values["imports"])})


@dataclass(frozen=True)
class FullTrainingSettings:
    """The settings of search.train."""

    data: dict[str, Any]
    train: dict[str, Any]
    device: Group
    choices: Mapping[str, str]
    """The option chosen of every group."""
    network: Group | None = None
    architecture: str | None = None
    """Path of a network's description."""
    seeds: tuple[int, ...] = (0, 1, 2)
    folder: str | None = None
    """Where weights, results and card go; None: trained/<network>-<data>."""
    accelerator: str = "auto"
    tracker: str = "none"
    imports: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> FullTrainingSettings:
        """The settings of a composed config.

        Raises:
            InputError: a key that is unknown, or a setting of the wrong kind or range.
        """
        values = keys_of(cls, config)
        _check_architecture(values["architecture"])
        return cls(**{**values, "seeds": _seeds(values["seeds"]), "imports": _modules(values["imports"])})


def keys_of(
    settings: type, config: Mapping[str, Any], *, where: str = "", hidden: Iterable[str] = ()
) -> dict[str, Any]:
    """The values of a config for each field of a settings type, defaults where it states none.

    Args:
        settings: a dataclass.
        config: values by key. The options chosen of the groups, `choices`, may be there where the type has no use for them.
        where: the group that the keys are in, for errors: "train.".
        hidden: fields that are no keys.

    Raises:
        InputError: a key that is unknown or missing.
    """
    known = {one.name: one for one in fields(settings) if one.name not in hidden}
    for key in config:
        if key not in known and key != "choices":
            raise InputError(f"{where}{key}: there is no setting of this name{did_you_mean(key, known)}")
    values: dict[str, Any] = {}
    for key, one in known.items():
        if key in config:
            values[key] = config[key]
        elif one.default is not MISSING:
            values[key] = one.default
        elif one.default_factory is not MISSING:
            values[key] = one.default_factory()
        else:
            raise InputError(f"{where}{key} is missing from the config; give it as {where}{key}=...")
    return values


def _budget(key: str, value: object) -> float:
    if not (is_number(value) and value > 0):
        raise InputError(f"{key}={value}: must be a number above 0, or null for no budget")
    return float(value)


def _one_of(key: str, value: object, what: str, valid: Iterable[str]) -> str:
    for name in valid:
        if value == name:
            return name
    raise InputError(f"{key}: there is no {what} '{value}'{did_you_mean(value, valid)}")


def _check_architecture(path: object) -> None:
    if path is not None and not isinstance(path, str):
        raise InputError(f"architecture={path!r}: must be the path of a YAML file")


def _seeds(seeds: object) -> tuple[int, ...]:
    """The seeds, each once."""
    good = isinstance(seeds, list | tuple) and seeds and all(is_integer(seed) and 0 <= seed < 2**32 for seed in seeds)
    if not isinstance(seeds, list | tuple) or not good:
        raise InputError(f"seeds={seeds}: must be a list of whole numbers from 0 to {2**32 - 1}, as seeds=[0,1,2]")
    return tuple(dict.fromkeys(seeds))


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name}: must be a mapping of settings, got {value!r}")
    return value


def _whole(name: str, value: object, low: int, high: int | None = None) -> int:
    if not is_integer(value) or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value}: must be a whole number, {limits}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(hide_password(f"{name}={value!r}: must be a text that is not empty"))
    return value


def _text_or_none(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _modules(value: object) -> tuple[str, ...]:
    return _names("imports", value, "modules", "[my_package.blocks]")


def _names(key: str, value: object, what: str, example: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{key}={value!r}: must be a list of {what}, as {key}={example}")
    return tuple(names)
