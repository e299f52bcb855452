"""The settings of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from spaces.checks import is_integer, is_number
from spaces.errors import InputError, did_you_mean

CHOICES = {"optimizer": ("sgd", "adamw"), "schedule": ("cosine", "one_cycle")}
COUNTS = {"epochs": 1, "batch_size": 2}
"""Least value; a batch of one image cannot be normalised."""
RANGES: dict[str, tuple[float, float]] = {
    "lr": (0, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "warmup": (0, 1),
    "label_smoothing": (0, 1),
}
"""Least value and the one it stays below; `lr` stays above zero too."""


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained, every value decided: the keys of conf/train/, the defaults of short.yaml.

    A key that is added has the default that leaves trainings as they were: what an older study does not state is its default.
    """

    epochs: int = 12
    batch_size: int = 128
    optimizer: str = "sgd"
    """"sgd", with Nesterov momentum, or "adamw"."""
    lr: float = 0.2
    """The highest learning rate of the schedule."""
    momentum: float = 0.9
    """Of AdamW the first beta."""
    weight_decay: float = 0.0005
    """Acts on the weights of convolutions and linear layers."""
    schedule: str = "one_cycle"
    """"one_cycle" or "cosine"; see `learning_rates`."""
    warmup: float = 0.2
    """Share of all steps in which the learning rate rises."""
    label_smoothing: float = 0.1

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> TrainSettings:
        """The settings of a `train` group.

        Raises:
            InputError: an unknown key, or a value that no training can have.
        """
        valid = [one.name for one in fields(cls)]
        for key, value in settings.items():
            if key not in valid:
                raise InputError(f"train.{key} is unknown{did_you_mean(key, valid)}")
            _check_value(key, value)
        return cls(**settings)


def _check_value(key: str, value: Any) -> None:
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise InputError(f"train.{key} is {value!r}{did_you_mean(value, CHOICES[key])}")
        return
    if key in COUNTS:
        if not (is_integer(value) and value >= COUNTS[key]):
            raise InputError(f"train.{key} is {value!r}; it is a whole number of {COUNTS[key]} or more")
        return
    low, high = RANGES[key]
    if not (is_number(value) and low <= value < high and (key != "lr" or value > 0)):
        least = "above 0" if key == "lr" else f"{low:g} or more"
        raise InputError(
            f"train.{key} is {value!r}; it is a number {least}" + (f" and below {high:g}" if high < math.inf else "")
        )
