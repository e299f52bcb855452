"""Whether a network lies in a space: decisions that make it, found by changing one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from spaces.architecture import Architecture, Layer
from spaces.errors import InputError
from spaces.space import Decisions, SearchSpace
from spaces.values import Choice, Domain, Int, Value

NUM_STARTS = 6
"""Random candidates from which decisions are changed towards the network."""
MAX_VALUES = 64
"""Values of one decision that are tried."""


def recognise(
    space: SearchSpace, architecture: Architecture, hint: Mapping[str, Value] | None = None
) -> Decisions | None:
    """Decisions of a space that make an architecture, hyperparameters aside; None where none are found.

    A search that climbs: of each decision in turn the value is kept whose network is most like the wanted one, above all in its
    first layers. It may overlook a network of a space whose decisions act together in unusual ways; what it finds is exact.

    Args:
        space: of the images that the architecture is for.
        architecture: as it should come out.
        hint: decisions to begin with, such as those of another space; those that are no decisions here are passed over.
    """
    rng = np.random.default_rng(0)
    domains = {decision.name: decision.domain for decision in space.decisions}
    known = {name: value for name, value in (hint or {}).items() if name in domains and domains[name].contains(value)}
    for _ in range(NUM_STARTS):
        decisions = _climb(space, domains, architecture, space.complete(known, rng), rng)
        if decisions is not None:
            return {name: value for name, value in decisions.items() if not name.startswith("train.")}
        if not domains:
            break
        known = {}
    return None


def _climb(
    space: SearchSpace,
    domains: Mapping[str, Domain],
    wanted: Architecture,
    decisions: Decisions,
    rng: np.random.Generator,
) -> Decisions | None:
    """The decisions at the end of a climb; None where it ended below the top."""
    best = _likeness(space, decisions, wanted)
    improves = True
    while improves and best < _TOP:
        improves = False
        for name in [*decisions]:
            if name.startswith("train.") or name not in decisions:  # a change before may have made it inactive
                continue
            for value in _values(domains[name], decisions[name]):
                other = space.complete({**decisions, name: value}, rng)
                likeness = _likeness(space, other, wanted)
                if likeness > best:
                    decisions, best, improves = other, likeness, True
    return decisions if best >= _TOP else None


_TOP = (1, 0, 0.0)
"""The likeness of what is equal."""


def _likeness(space: SearchSpace, decisions: Decisions, wanted: Architecture) -> tuple[int, int, float]:
    """How like the wanted network a candidate is: equal; leading layers that are; how much else is."""
    try:
        made = space.candidate(decisions).architecture
    except InputError:  # no network can be assembled of these
        return (-1, 0, 0.0)
    if made == wanted:
        return _TOP
    pairs = [*zip(made.layers, wanted.layers)]
    first = next((i for i, (one, other) in enumerate(pairs) if one != other), len(pairs))
    alike = sum(_alike(one, other) for one, other in pairs[first:])
    apart = abs(len(made.layers) - len(wanted.layers)) + 2 * (made.resolution != wanted.resolution)
    return (0, first - 2 * (made.resolution != wanted.resolution), alike - apart)


def _alike(one: Layer, other: Layer) -> float:
    """From 0, another block altogether, to 4."""
    if one.block != other.block:
        return 0.0
    names = {**dict(one.options), **dict(other.options)}
    shared = [_similar(dict(one.options).get(name), dict(other.options).get(name)) for name in names]
    options = sum(shared) / len(shared) if shared else 1.0
    return 1.0 + options + _similar(one.out_channels, other.out_channels) + (one.stride == other.stride)


def _similar(one: Any, other: Any) -> float:
    """How far two values of an option agree, from 0 to 1."""
    if one == other:
        return 1.0
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sum(map(_similar, one, other)) / max(len(one), len(other))
    if isinstance(one, int | float) and isinstance(other, int | float) and min(one, other) > 0:
        return 0.9 * min(one, other) / max(one, other)
    return 0.0


def _values(domain: Domain, value: Value) -> Iterator[Value]:
    """Other values to try; of a real number none, since none would be met."""
    if isinstance(domain, Choice):
        yield from (label for label in domain.labels[:MAX_VALUES] if label != value)
    elif isinstance(domain, Int):
        yield from (
            number for number in range(domain.low, min(domain.high + 1, domain.low + MAX_VALUES)) if number != value
        )
