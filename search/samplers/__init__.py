"""Who proposes the next candidate, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from search.samplers.base import SpaceSampler
from search.samplers.cost_aware import CostAwareSampler
from search.samplers.evolution import RegularizedEvolution
from search.samplers.reinforce import Reinforce
from spaces.errors import InputError, did_you_mean

__all__ = ["SAMPLERS", "SpaceSampler", "make_sampler"]

SAMPLERS: dict[str, type[BaseSampler]] = {
    "cost_aware": CostAwareSampler,
    "gp": GPSampler,
    "nsga2": NSGAIISampler,
    "nsga3": NSGAIIISampler,
    "random": RandomSampler,
    "regularized_evolution": RegularizedEvolution,
    "reinforce": Reinforce,
    "tpe": TPESampler,
}
"""A new sampler is one line here and one file in conf/sampler/; a `SpaceSampler` is told of the space by the study."""


def make_sampler(settings: Mapping[str, Any], seed: int, num_trials: int = 0) -> BaseSampler:
    """The sampler that a file of conf/sampler/ describes.

    Args:
        settings: its `name`, and arguments of its class.
        seed: of everything it draws.
        num_trials: that its study holds already: Optuna's samplers would begin to draw the same candidates again, ours go by the
            trial's number.

    Raises:
        InputError: an unknown name, or arguments the sampler does not take.
    """
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in SAMPLERS:
        raise InputError(f"sampler.name: unknown sampler '{name}'{did_you_mean(name, SAMPLERS)}")
    kind = SAMPLERS[name]
    parameters = inspect.signature(kind).parameters
    for key, value in arguments.items():
        if key not in parameters:
            raise InputError(f"sampler.{key}: {name} has no such setting{did_you_mean(key, parameters)}")
        _check_type(f"sampler.{key}", value, parameters[key].annotation)
    seed = seed if issubclass(kind, SpaceSampler) else seed + num_trials
    try:
        return kind(**arguments, seed=seed)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise InputError(f"sampler={name}: {error}") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "None": (type(None),),
}


def _check_type(key: str, value: object, annotation: object) -> None:
    """Raises InputError for a value that the annotation, "int | None", does not name; others are left to the class."""
    named = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    words = [word.strip() for word in named.split("|")]
    if not all(word in _KINDS for word in words):
        return
    if not any(isinstance(value, _KINDS[word]) and (word == "bool") == isinstance(value, bool) for word in words):
        raise InputError(f"{key} is {value!r}; it is of type {named.replace('None', 'null')}")
