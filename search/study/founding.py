"""How a study comes into being: what it refers to is found and stored once; and with what config it may be gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from search.data.settings import DEFAULTS as DATA_DEFAULTS
from search.evaluation.settings import TrainSettings
from search.latency.device import Device
from search.objective.costs import Costs, check_costs
from search.objective.reward import Objective
from search.system.nested import flatten
from search.trials.columns import TAKEN
from spaces import InputError, SearchSpace

NUM_REFERENCE = 1000
"""Random architectures by which the range of targets and the share of feasible ones are found."""

NUM_TRIED = 8
"""Random architectures on which the costs are tried before a search."""

COST_WORDS = "costs"
"""The study's attribute with the unit and the words of every cost that its trials hold."""

MAY_CHANGE = (
    "device.table",
    "device.budget_s",
    "device.is_here",
    "trials",
    "workers",
    "backend",
    "storage",
    "data.path",
    "confirm",
    "results_dir",
    "study",
    "tracker",
    "timeout_s",
    "enqueue",
    "warm_start",
    "choices",
)
"""Parts of the config that a resumed study may give anew."""


def open_or_found(
    storage: BaseStorage,
    name: str,
    sampler: BaseSampler,
    space: SearchSpace,
    objective: Objective,
    costs: Costs,
    facts: Mapping[str, Any],
    config: Mapping[str, Any],
) -> optuna.Study:
    """The study of that name, made and described where it is missing.

    Raises:
        InputError: it exists with another config, or no architecture meets the hard limits.
    """
    check_cost_names(space)
    try:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    except KeyError:
        try_costs(space)
        reference = _find_reference(space, objective, costs)
        directions = list(objective.directions)
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, directions=directions)
        _describe(study, space, reference, facts, config)
    if "config" not in study.user_attrs:  # its driver was killed in the lines above
        _describe(study, space, _find_reference(space, objective, costs), facts, config)
    _compare(study, config)
    known = study.user_attrs.get(COST_WORDS, {})
    if costs.words != {name: known.get(name) for name in costs.words}:
        study.set_user_attr(COST_WORDS, known | costs.words)
    return study


def check_cost_names(space: SearchSpace) -> None:
    """Raises CostError for a cost whose name is taken, by a column of the tables or by a decision."""
    check_costs({*TAKEN, *(decision.name for decision in space.decisions)})


def try_costs(space: SearchSpace) -> None:
    """Tries every cost on a few random architectures, latency aside.

    Raises:
        CostError: a cost that cannot be used, or whose name is taken.
    """
    check_cost_names(space)
    rng, price = np.random.default_rng(0), Costs()
    for _ in range(NUM_TRIED):
        price.record(space.random(rng).architecture)


def _find_reference(space: SearchSpace, objective: Objective, price: Costs) -> dict[str, Any]:
    """What hypervolumes and rewards of a study refer to, found on random architectures within the hard limits."""
    rng = np.random.default_rng(0)
    sampled = [price(space.random(rng).architecture) for _ in range(NUM_REFERENCE)]
    feasible = [costs for costs in sampled if not objective.excess(costs)]
    share = len(feasible) / NUM_REFERENCE
    if not feasible:
        sampled = _descend(space, objective, price, rng)
        feasible = [costs for costs in sampled if not objective.excess(costs)]
    if not feasible:
        nearest = min(sampled, key=lambda costs: objective.excess(costs))
        said = ", ".join(
            f"objective.max_{n}={limit:g} (the nearest found: {nearest[n]:g})" for n, limit in objective.limits.items()
        )
        raise InputError(
            f"0% of {NUM_REFERENCE} random architectures of the space meet {said}, nor do any found by changing one "
            "decision at a time; raise the limit"
        )
    ranges = {name: (min(c[name] for c in feasible), max(c[name] for c in feasible)) for name in feasible[0]}
    chance = 1 / space.random(rng).architecture.num_classes
    return {"cost_range": ranges, "chance": chance, "feasible_share": share}


def _descend(
    space: SearchSpace, objective: Objective, price: Costs, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Costs met on the way towards the hard limits, one decision changed at a time, and on to the cheapest within them."""

    def rank(costs: Mapping[str, float]) -> tuple[float, float]:
        return objective.excess(costs), costs[objective.cost]

    decisions = space.random(rng).decisions
    met = [price(space.candidate(decisions).architecture)]
    best = rank(met[0])
    improves = True
    while improves:
        improves = False
        for near in space.neighbours(decisions, rng):
            costs = price(space.candidate(near).architecture)
            met.append(costs)
            if rank(costs) < best:
                decisions, best, improves = near, rank(costs), True
    return met


def _describe(
    study: optuna.Study,
    space: SearchSpace,
    reference: Mapping[str, Any],
    facts: Mapping[str, Any],
    config: Mapping[str, Any],
) -> None:
    """Stores what the study's reports and its resumption need; the config last."""
    for name, value in facts.items():
        study.set_user_attr(name, value)
    study.set_user_attr("reference", dict(reference))
    study.set_user_attr("decisions", [decision.name for decision in space.decisions])
    study.set_user_attr("config", dict(config))


def _compare(study: optuna.Study, config: Mapping[str, Any]) -> None:
    """Refuses to go on with a config that would make another study."""
    # both as they come back from a database: one in memory keeps tuples
    stored, given = (
        flatten(_with_defaults(json.loads(json.dumps(dict(one))))) for one in (study.user_attrs["config"], config)
    )
    keys = sorted(stored.keys() | given.keys())
    values = {key: (stored.get(key, default), given.get(key, default)) for key in keys for default in [_default(key)]}
    changes = [
        f"  {key}: {before} -> {now}" for key, (before, now) in values.items() if before != now and not _may_change(key)
    ]
    if changes:
        raise InputError(
            f"the study '{study.study_name}' was started with another config:\n"
            + "\n".join(changes)
            + "\ngive the old values, or a new name by study=NAME"
        )


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what it does not state of its groups: it was stored before those settings existed."""
    defaults: dict[str, Any] = {
        "data": DATA_DEFAULTS,
        "train": asdict(TrainSettings()),
        "objective": Objective().to_config(),
        "device": {one.name: one.default for one in fields(Device) if one.default is not MISSING},
    }
    groups = {name: {**default, **config[name]} for name, default in defaults.items() if name in config}
    return {**config, **groups}


def _default(key: str) -> Any:
    """What a setting is in a config that does not state it."""
    return None if key.startswith("objective.max_") or key in ("evaluator", "epochs", "fidelity") else "absent"


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE)
