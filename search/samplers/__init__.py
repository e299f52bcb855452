"""Who proposes the next candidate, by name."""

from __future__ import annotations

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


def make_sampler(settings: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler that a file of conf/sampler/ describes.

    Args:
        settings: its `name`, and arguments of its class.
        seed: of everything it draws.

    Raises:
        InputError: an unknown name, or arguments the sampler does not take.
    """
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in SAMPLERS:
        raise InputError(f"sampler.name: unknown sampler '{name}'{did_you_mean(name, SAMPLERS)}")
    try:
        return SAMPLERS[name](**arguments, seed=seed)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise InputError(f"sampler={name}: {error}") from error
