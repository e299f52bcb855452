"""A search from Python, with an accuracy of one's own: a table, a simulator, another trainer.

from search import find_front
from spaces import load_space

space = load_space("shuffle_agg", in_channels=3, num_classes=10, resolution=32)
study = find_front(space, my_accuracy, trials=50)
print(study.front())
"""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.report import write_report
from search.reporting.stored_study import StoredStudy
from search.samplers import make_sampler
from search.study.study import Proposal, Study
from search.trials.storage import lock, num_trials, open_storage, prepare_folder, stored_name
from spaces import InputError, SearchSpace
from spaces.checks import is_count


def find_front(
    space: SearchSpace,
    evaluate: Callable[..., float],
    *,
    trials: int,
    objective: Objective | None = None,
    sampler: str | Mapping[str, Any] = "cost_aware",
    seed: int = 0,
    folder: str | Path | None = None,
) -> StoredStudy:
    """Searches a space with a function that says how accurate an architecture is.

    What raises, or returns NaN or None, is a failed trial, and the search goes on; Ctrl-C ends it. A warning says so where it ends
    early, since the space holds nothing new.

    Args:
        space: where candidates come from.
        evaluate: gives the accuracy, from 0 to 1, of an `Architecture`; where the space has hyperparameters, it is given the
            mapping of those as second argument.
        trials: how many candidates to evaluate in all.
        objective: what is looked for; by default the whole front of accuracy against FLOPs.
        sampler: its name, or what a file of conf/sampler/ states.
        seed: of the sampler.
        folder: keeps the study, its tables and its page, and goes on with what is there; None: nothing is kept.

    Returns:
        The study, to be read: its trials and its fronts.

    Raises:
        InputError: an accuracy that is none, such as a percentage; another study in the folder; whatever the parts refuse.
    """
    if not is_count(trials):
        raise InputError(f"trials is {trials!r}; it is a whole number of at least 1")
    objective = objective or Objective()
    settings = {"name": sampler} if isinstance(sampler, str) else dict(sampler)
    place = None if folder is None else Path(folder).expanduser().resolve()
    if place is not None:
        prepare_folder(place)
    with nullcontext() if place is None else lock(place, None, place.name):
        storage = optuna.storages.InMemoryStorage() if place is None else open_storage(place, None)
        name = "study" if place is None else stored_name(storage, None, place.name)
        config = {"space": _describe(space), "objective": objective.to_config(), "sampler": settings, "seed": seed}
        study = Study(
            space,
            objective,
            make_sampler(settings, (seed + num_trials(storage, name)) % 2**32),
            storage,
            name=name,
            trials=trials,
            config=config,
        )
        try:
            while (proposal := study.ask()) is not None:
                study.tell(proposal.number, _outcome(proposal, evaluate))
        finally:
            study.release()
        study.optuna_study.study_name = "study" if place is None else place.name
        if study.stopped_early is not None:
            warnings.warn(f"the search ended before {trials} trials: {study.stopped_early}", stacklevel=2)
        if place is not None:
            write_report(study.optuna_study, place)
        return StoredStudy(study.optuna_study, place or Path("study"))


def _describe(space: SearchSpace) -> dict[str, Any]:
    """What tells the space from others: its decisions, and one of its networks for what is fixed."""
    decisions = {decision.name: str(decision.domain) for decision in space.decisions}
    return {"decisions": decisions, "example": space.random(np.random.default_rng(0)).digest}


def _outcome(proposal: Proposal, evaluate: Callable[..., float]) -> Outcome:
    """What the user's function makes of a candidate."""
    candidate = proposal.candidate
    arguments = (candidate.hyperparameters,) if candidate.hyperparameters else ()
    try:
        accuracy = evaluate(candidate.architecture, *arguments)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(
            "failed", failure=f"exception: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        )
    if accuracy is None:
        return Outcome("failed", failure="no accuracy: None")
    try:
        number = math.inf if isinstance(accuracy, str) else float(accuracy)
    except (TypeError, ValueError):
        number = math.inf
    if math.isnan(number):
        return Outcome("failed", failure=f"no accuracy: {accuracy}")
    if not 0 <= number <= 1:
        raise InputError(f"the accuracy of trial {proposal.number} is {accuracy!r}; it is a share, from 0 to 1")
    return Outcome("complete", number, epochs=1, curve=(number,))
