"""`python -m search.pick study=NAME max_params=20000`: the best network of a study within given budgets."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search.config import PickSettings, run_command
from search.config.command_lines import train_command
from search.objective.costs import Cost
from search.objective.reward import Objective
from search.report import network_file
from search.reporting.console import make_console
from search.reporting.layers import Profile
from search.reporting.stored_study import StoredStudy, load_study
from search.reporting.tables import completed, judged
from search.reporting.text import is_missing, percent, readable_cost
from search.system.files import replace_file
from search.system.user_modules import import_user_modules
from spaces import Architecture, InputError

EXAMPLES = [
    "python -m search.pick study=shuffle_agg-digits max_params=20000",
    "python -m search.pick study=shuffle_agg-digits max_flops=2e5 max_activation_bytes=16384",
    "python -m search.pick study=phone max_latency_ms=1.5",
    "python -m search.pick study=phone by=reward objective.target=1.5 objective.alpha=-0.07 objective.beta=-0.07",
]


@dataclass(frozen=True)
class Candidate:
    """A network of a study, trained in full."""

    number: int
    """Of its trial."""
    digest: str
    accuracy: float
    """On the validation split: the mean under other seeds where there is one, else that of its training."""
    costs: dict[str, float]
    """Those that are known, latency as measured where it was."""
    latency: str
    """Whether that is measured or predicted, and how well, in words."""
    trainings: str
    """What the accuracy is of, in words."""


def pick_network(settings: PickSettings) -> None:
    """Prints and writes the network that the settings ask for.

    Raises:
        InputError: no such study, nothing trained in it, or a budget that no network meets.
    """
    import_user_modules(settings.imports)
    study = load_study(settings.study, settings.results_dir, settings.storage)
    objective = read_objective(study, settings.objective) if settings.by == "reward" else None
    console = make_console()
    best, architecture = choose(study, settings.budgets, objective, console)
    path = Path(settings.output or study.folder / "pick.yaml")
    figures = {"accuracy": best.accuracy, **best.costs}
    try:
        replace_file(path, network_file(study.name, best.number, figures, study.description(best.number)))
    except OSError as error:
        raise InputError(f"output: cannot write {path}: {error.strerror}; choose another by output=PATH") from error
    title = f"{study.name}, trial {best.number}"
    console.print(Profile.of(title, architecture).table())
    console.print(f"Trial {best.number}: {_in_words(best, objective, study.info.costs)}.", highlight=False)
    shown = os.path.relpath(path)
    console.print(f"Written to {shown}", highlight=False, markup=False, soft_wrap=True)
    if {"choices", "data"} <= study.config.keys():  # a study driven from Python does not say what its images are
        folder = f"trained/{best.number:04d}-{best.digest}"
        command = train_command(shown, folder, study.config, study.decisions(best.number))
        console.print(f"To train it in full: {command}", highlight=False, markup=False, soft_wrap=True)


def read_objective(study: StoredStudy, given: Mapping[str, Any]) -> Objective:
    """The study's objective with other values where they are given.

    Raises:
        InputError: a value that no objective can have, or a cost that is not known of the study.
    """
    stated = {**study.info.objective.to_config(), "target": study.config["objective"].get("target"), **given}
    objective = Objective.from_config(stated, names=tuple(study.info.costs))
    if objective.cost not in study.costs:
        raise InputError(
            f"objective.cost: the study '{study.name}' knows no {objective.cost}; valid: {', '.join(study.costs)}"
        )
    if objective.cost == study.info.objective.cost:
        return objective.resolve(study.info.cost_range)
    return objective.resolve(study.trials[objective.cost].dropna().astype(float))


def choose(
    study: StoredStudy, budgets: Mapping[str, float], objective: Objective | None, console: Console
) -> tuple[Candidate, Architecture]:
    """The best network within the budgets that still builds; better ones that do not are said.

    Args:
        objective: whose reward makes the best; None: accuracy does, and of equals the lower cost.

    Raises:
        InputError: there is none.
    """
    everyone = list(candidates(study))
    if not everyone:
        count = len(study.trials)
        raise InputError(
            f"the study '{study.name}' has no complete trial yet (of {count}); pick when it has, or search.run goes on with it"
        )
    for name in budgets:
        if name not in study.costs:
            raise InputError(
                f"max_{name}: the study '{study.name}' knows no {name}{_why_unknown(name)}; known are {', '.join(study.costs)}"
            )
    cost = study.info.objective.cost if objective is None else objective.cost
    everyone = [one for one in everyone if {cost, *budgets} <= one.costs.keys()]
    if not everyone:
        raise InputError(
            f"the study '{study.name}' has no complete trial of which {', '.join({cost, *budgets})} are known"
        )
    within = [one for one in everyone if excess(one, budgets) <= 1]
    if not within:
        raise InputError(_nearest(min(everyone, key=lambda one: excess(one, budgets)), budgets))
    if objective is not None and not any(_worth(one, objective) > 0 for one in within):
        raise InputError(_out_of_reach(min(within, key=lambda one: one.costs[cost]), objective, study.info.costs[cost]))
    refusals = []
    for one in sorted(within, key=lambda one: (-_worth(one, objective), one.costs[cost], one.number)):
        try:
            architecture = study.architecture(one.number)
        except InputError as error:
            refusals.append(str(error))
            console.print(
                f"Passed over, {percent(one.accuracy)}: {error}.", highlight=False, markup=False, soft_wrap=True
            )
            continue
        return one, architecture
    raise InputError(f"none of the {len(within)} networks within the budgets builds any more; the best: {refusals[0]}")


def _why_unknown(name: str) -> str:
    return "; it does where it was run with a device, as search.run device=onnxruntime" * (name == "latency_ms")


def candidates(study: StoredStudy) -> Iterator[Candidate]:
    """The complete trials."""
    trials = completed(study.trials)
    for row, accuracy in zip(trials.to_dict("records"), judged(trials).tolist(), strict=True):
        costs = {name: row[name] for name in study.costs if not is_missing(row[name])}
        latency = " (predicted)"
        if not is_missing(row.get("latency_error")):
            latency = f" (predicted, ± {100 * row['latency_error']:.0f}%)"
        if not is_missing(row.get("measured_ms")):
            costs["latency_ms"], latency = row["measured_ms"], " (measured)"
        confirmed = not is_missing(row.get("accuracy_mean"))
        trainings = f" (mean of {row['confirmations']} more trainings)" if confirmed else ""
        yield Candidate(row["number"], row["digest"], accuracy, costs, latency, trainings)


def excess(one: Candidate, budgets: Mapping[str, float]) -> float:
    """The greatest share of a budget that a network takes: at most 1 where it keeps them all."""
    return max((one.costs.get(name, float("inf")) / budget for name, budget in budgets.items()), default=0.0)


def _in_words(one: Candidate, objective: Objective | None, words: Mapping[str, Cost]) -> str:
    said = [f"{percent(one.accuracy)} on the validation images{one.trainings}"]
    said += [
        readable_cost(words[name], value) + one.latency * (name == "latency_ms") for name, value in one.costs.items()
    ]
    if objective is not None:
        said.append(f"reward {_worth(one, objective):.4g}")
    return ", ".join(said)


def _worth(one: Candidate, objective: Objective | None) -> float:
    if objective is None:
        return one.accuracy
    return float(objective.mean_reward(one.accuracy, one.costs.get(objective.cost, float("nan"))))


def _nearest(one: Candidate, budgets: Mapping[str, float]) -> str:
    asked = ", ".join(f"max_{name}={budget:g}" for name, budget in budgets.items())
    enough = {name: _rounded_up(one.costs[name]) for name, budget in budgets.items() if one.costs[name] > budget}
    wanted = " ".join(f"max_{name}={value}" for name, value in enough.items())
    return f"no network of the study meets {asked}; the nearest is trial {one.number} ({percent(one.accuracy)}): {wanted} admits it"


def _out_of_reach(one: Candidate, objective: Objective, words: Cost) -> str:
    asked, enough = readable_cost(words, objective.target_range[1]), _rounded_up(one.costs[objective.cost])
    return (
        f"by=reward: every network costs more than the target, {asked}, where beta {objective.beta:g} leaves no reward; the "
        f"nearest is trial {one.number} ({percent(one.accuracy)}): objective.target={enough} admits it"
    )


def _rounded_up(cost: float) -> str:
    """A budget that a cost just meets, with four decimals where it is no count."""
    return f"{cost:.0f}" if cost == int(cost) else f"{math.ceil(cost * 1e4) / 1e4:g}"


def main() -> int:
    """The command."""
    return run_command(
        pick_network,
        PickSettings.from_mapping,
        config_name="pick",
        description="Picks the best network of a study within given budgets, prints it and writes its description.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
