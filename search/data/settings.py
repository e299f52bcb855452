"""The settings of a data set, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spaces.checks import is_integer, is_number
from spaces.errors import InputError, did_you_mean

DEFAULTS: dict[str, Any] = {
    "name": None,
    "source": "digits",
    "hub": None,
    "path": None,
    "image": None,
    "label": None,
    "resolution": None,
    "validation": 0.2,
    "test": 0.2,
    "limit": None,
    "augment": False,
    "in_memory_mb": 1024,
    "decode_workers": 0,
    "cache_dir": None,
}
"""Every setting with its default; conf/data/ says what each means."""


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with defaults filled in.

    Raises:
        InputError: an unknown key or an impossible value.
    """
    for key in settings:
        if key not in DEFAULTS:
            raise InputError(f"data.{key} is unknown{did_you_mean(key, DEFAULTS)}")
    checked = {**DEFAULTS, **settings}
    for key in ("validation", "test"):
        if not (is_number(checked[key]) and 0 < checked[key] < 1):
            raise InputError(f"data.{key} is {checked[key]!r}; it is a share between 0 and 1, both excluded")
    limits = {"limit": (1, True), "decode_workers": (0, False), "in_memory_mb": (0, False)}
    for key, (least, optional) in limits.items():
        value = checked[key]
        fits = is_number(value) if key == "in_memory_mb" else is_integer(value)
        if not (value is None and optional) and not (fits and value >= least):
            raise InputError(
                f"data.{key} is {value!r}; it is a number of {least} or more{' or null' if optional else ''}"
            )
    if not isinstance(checked["augment"], bool):
        raise InputError(f"data.augment is {checked['augment']!r}; it is true or false")
    _check_resolution(checked["resolution"])
    return checked


def _check_resolution(resolution: Any) -> None:
    sides = resolution if isinstance(resolution, (list, tuple)) and len(resolution) == 2 else [resolution]
    if resolution is not None and not all(type(side) is int and 1 <= side <= 4096 for side in sides):
        raise InputError(
            f"data.resolution is {resolution!r}; it is null, one side, or [height, width], in pixels from 1 to 4096"
        )
