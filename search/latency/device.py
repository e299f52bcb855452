"""A device: a runtime with its threads, batch and type of numbers, on one machine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from search.latency.measuring import Measurement
from search.latency.runtimes import DTYPES, RUNTIMES, Runtime
from spaces.checks import is_count, is_number
from spaces.errors import InputError, did_you_mean

IDENTITY = ("device", "runtime", "threads", "batch", "dtype")
"""What measurements of one device agree in, and those of two do not."""


@dataclass(frozen=True)
class Device:
    """How networks are run, as `conf/device/` describes it."""

    runtime: str
    """One of `RUNTIMES`."""
    threads: int = 1
    """CPU threads of the runtime; without meaning on a GPU."""
    batch: int = 1
    """Images a forward pass."""
    dtype: str = "float32"
    """Type of weights and activations, one of `DTYPES`."""
    table: str | None = None
    """Absolute path of the table of measurements; None: a file in the user's cache directory."""
    budget_s: float = 60.0
    """Seconds for which a search may measure before it starts."""

    def __post_init__(self) -> None:
        """Raises InputError for a value that no device can have."""
        for key, value, valid in (("runtime", self.runtime, RUNTIMES), ("dtype", self.dtype, DTYPES)):
            if value not in valid:
                raise InputError(f"device.{key}: there is no {key} '{value}'{did_you_mean(value, valid)}")
        for key, count in (("threads", self.threads), ("batch", self.batch)):
            if not is_count(count):
                raise InputError(f"device.{key}={count}: must be a whole number of at least 1")
        if self.table is not None and not isinstance(self.table, str):
            raise InputError(f"device.table={self.table!r}: must be the path of a CSV file")
        if not (is_number(self.budget_s) and self.budget_s > 0):
            raise InputError(f"device.budget_s={self.budget_s!r}: must be a number of seconds above 0")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Device | None:
        """The device of a `device` group; None where nothing is measured.

        Raises:
            InputError: an unknown key, or a value that no device can have.
        """
        names = [field.name for field in fields(cls)]
        for name in config:
            if name not in names:
                raise InputError(f"device.{name}: there is no such setting{did_you_mean(name, names)}")
        return None if config.get("runtime") is None else cls(**config)

    def open(self) -> Runtime:
        """The runtime, ready to load networks.

        Raises:
            InputError: it is not installed, or lacks its hardware.
        """
        return RUNTIMES[self.runtime](self.threads, self.dtype)


def describe(device: Device, runtime: Runtime) -> dict[str, str]:
    """What identifies measurements: equal on one device, different on any other."""
    return {
        "device": f"{runtime.hardware()}, {platform.system()} {platform.machine()}",
        "runtime": f"{device.runtime} {runtime.version()}",
        "threads": str(device.threads),
        "batch": str(device.batch),
        "dtype": device.dtype,
    }


def in_words(identity: Mapping[str, str]) -> str:
    """What `describe` says, for people."""
    threads = "1 thread" if identity["threads"] == "1" else f"{identity['threads']} threads"
    return f"{identity['device']}, {identity['runtime']}, {threads}, batch {identity['batch']}, {identity['dtype']}"


def latency_record(measured: Measurement, identity: Mapping[str, str]) -> dict[str, Any]:
    """A measured latency with its device, as model cards and results.json keep it."""
    return {
        "device": in_words(identity),
        "median_ms": measured.median_ms,
        "iqr_ms": measured.iqr_ms,
        "steady": measured.steady,
    }


def table_path(device: Device, identity: Mapping[str, str]) -> Path:
    """Where the device's measurements are kept: as the user says, or one file a device in the cache directory."""
    if device.table is not None:
        return Path(device.table)
    text = "\n".join(f"{key}={value}" for key, value in sorted(identity.items()))
    return cache_folder() / "latency" / f"{device.runtime}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"


def cache_folder() -> Path:
    """The project's folder in the user's cache directory."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "smallnets"
