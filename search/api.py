"""A search from Python, with an accuracy of one's own: a table, a simulator, another trainer.

from search import find_front
from spaces import load_space

space = load_space("shuffle_agg", in_channels=3, num_classes=10, resolution=32)
study = find_front(space, my_accuracy, trials=50)
print(study.front())
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna

from search.backends import check_backend, make_backend
from search.backends.base import BackendSettings
from search.config.settings import check_timeout
from search.evaluation.user_function import UserFunction
from search.objective.costs import COSTS
from search.objective.reward import Objective
from search.report import write_report
from search.reporting.stored_study import StoredStudy
from search.reporting.tables import LEARNT_COLUMNS, TRIAL_COLUMNS
from search.samplers import make_sampler
from search.samplers.fidelity import make_fidelity
from search.study.driver import OnError, explore
from search.study.preconditions import check_evaluator, check_rungs
from search.study.study import METRICS, Study
from search.trials.storage import lock, num_trials, open_storage, prepare_folder, stored_name
from spaces import InputError, SearchSpace
from spaces.checks import is_count, is_integer


def find_front(
    space: SearchSpace,
    evaluate: Callable[..., Any],
    *,
    trials: int,
    objective: Objective | None = None,
    sampler: str | Mapping[str, Any] = "cost_aware",
    seed: int = 0,
    folder: str | Path | None = None,
    workers: int = 1,
    backend: str | Mapping[str, Any] = "local",
    epochs: int | None = None,
    fidelity: str | Mapping[str, Any] = "full",
    confirm: int = 0,
    retries: int = 1,
    trial_timeout_s: float | None = None,
    trial_memory_mb: float | None = None,
    timeout_s: float | None = None,
    on_error: OnError = "record",
) -> StoredStudy:
    """Searches a space with a function that finds the accuracy of an architecture.

    `evaluate` is given what its parameters name: `architecture`, `hyperparameters`, `seed`, `report`. Under other names, its first
    parameter is given the architecture and its second the hyperparameters. It returns the accuracy, from 0 to 1, or a mapping with
    `accuracy` and further numbers, which become columns of the trials; `evaluate.metrics = {"energy_mj": "millijoules"}` declares
    their units, and only those can be limited. `report(epoch, accuracy)`, called after each epoch, says whether to go on.

    An exception or a value that is no accuracy is a failed trial, and the search goes on, unless the first five all fail. A
    warning says so where the search ends early. Ctrl-C ends it; running trials are queued again.

    With `workers=1` and no limit on time or memory the function runs in this process, else in worker processes, to which
    cloudpickle carries it: what it changes there, such as a list of its caller, changes there alone.

    Args:
        space: where candidates come from.
        evaluate: the function.
        trials: how many candidates to evaluate in all.
        objective: what is looked for; by default the whole front of accuracy against FLOPs.
        sampler: its name, or what a file of conf/sampler/ states.
        seed: of the sampler and of all evaluations.
        folder: keeps the study, its tables and its page; the same call resumes it. None: nothing is kept.
        workers: how many candidates are evaluated at the same time.
        backend: "local", "ray", or what a file of conf/backend/ states.
        epochs: how many epochs `evaluate` reports, where the space's hyperparameters state none.
        fidelity: "full"; "halving" stops evaluations early that show no promise; or what a file of conf/fidelity/ states.
        confirm: under how many other seeds the front's members are evaluated when the search is over.
        retries: how often a trial whose worker died is started again.
        trial_timeout_s: seconds after which a trial is ended and recorded as failed.
        trial_memory_mb: MiB of main memory that a worker may take beyond what it starts with.
        timeout_s: seconds after which the search ends.
        on_error: "raise" ends the search at the first trial that fails, and queues that again; "record" goes on.

    Returns:
        The study, to be read: its trials and its fronts.

    Raises:
        InputError: an argument that is wrong; another study in the folder; the first evaluations have all failed, or one has
            and `on_error` is "raise".
        KeyboardInterrupt: the search was interrupted.
    """
    _check_numbers(trials=trials, workers=workers, **({} if epochs is None else {"epochs": epochs}))
    _check_ends(confirm, on_error, timeout_s)
    objective = objective or Objective()
    limits = {"retries": retries, "trial_timeout_s": trial_timeout_s, "trial_memory_mb": trial_memory_mb}
    settings = BackendSettings.from_config({**limits, **_named(backend)})
    evaluator = UserFunction(evaluate, frozenset({*TRIAL_COLUMNS, *COSTS, *LEARNT_COLUMNS, *_decisions(space)}))
    check_evaluator(evaluator, objective, confirm=confirm)
    if epochs is not None and any("epochs" in candidate.hyperparameters for candidate in space.coverage()):
        raise InputError(f"epochs={epochs}: the space's hyperparameters state the epochs already; leave it out")
    check_rungs(make_fidelity(_named(fidelity), objective), evaluator, space, epochs, key="epochs")
    check_backend(settings, workers, evaluator, (), bounded=timeout_s is not None)
    place = None if folder is None else Path(folder).expanduser().resolve()
    if place is not None:
        prepare_folder(place, "folder")
    with nullcontext() if place is None else lock(place, None, place.name):
        storage = optuna.storages.InMemoryStorage() if place is None else open_storage(place, None)
        name = "study" if place is None else stored_name(storage, None, place.name)
        config = {
            "space": _describe(space),
            "objective": objective.to_config(),
            "sampler": _named(sampler),
            "seed": seed,
            "epochs": epochs,
            "fidelity": None if _named(fidelity) == {"name": "full"} else _named(fidelity),
        }
        study = Study(
            space,
            objective,
            make_sampler(_named(sampler), seed, num_trials(storage, name)),
            storage,
            name=name,
            trials=trials,
            config=config,
            facts={METRICS: dict(evaluator.metrics)} if evaluator.metrics else None,
            epochs=epochs or 1,
        )
        try:
            timed_out = explore(
                study,
                lambda: make_backend(settings, workers, evaluator, (), bounded=timeout_s is not None),
                seed=seed,
                retries=settings.retries,
                watch=lambda status, ended: None,
                fidelity=make_fidelity(_named(fidelity), study.objective),
                confirm=confirm,
                timeout_s=timeout_s,
                on_error=on_error,
            )
        finally:
            study.optuna_study.study_name = "study" if place is None else place.name
            if place is not None:
                write_report(study.optuna_study, place)
        for words in _endings(study, timeout_s if timed_out else None):
            warnings.warn(words, stacklevel=2)
        return StoredStudy(study.optuna_study, place or Path("study"))


def _check_numbers(**counts: Any) -> None:
    """Raises InputError for one that is no whole number of at least 1."""
    for name, value in counts.items():
        if not is_count(value):
            raise InputError(f"{name} is {value!r}; it is a whole number of at least 1")


def _check_ends(confirm: int, on_error: str, timeout_s: float | None) -> None:
    """Raises InputError for a wrong setting of what ends a search, or follows it."""
    if not (is_integer(confirm) and confirm >= 0):
        raise InputError(f"confirm={confirm!r}: must be a whole number of at least 0")
    if on_error not in get_args(OnError):
        raise InputError(f"on_error={on_error!r}: must be one of {', '.join(get_args(OnError))}")
    check_timeout(timeout_s)


def _named(setting: str | Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings, where its name alone may stand for them."""
    return {"name": setting} if isinstance(setting, str) else dict(setting)


def _endings(study: Study, timeout_s: float | None) -> Iterator[str]:
    """What the caller should hear of how a search has ended."""
    if study.stopped_early is not None:
        yield f"the search ended before {study.trials} trials: {study.stopped_early}"
    if timeout_s is not None:
        yield (
            f"the search ended at its time limit, timeout_s={timeout_s:g}, with {study.num_done} of {study.trials} trials; the "
            "same call resumes it where it has a folder="
        )
    outcomes = [outcome for outcome, _ in study.finished()]
    if outcomes and all(outcome.state == "failed" for outcome in outcomes):
        yield f"all {len(outcomes)} evaluations have failed, the first: {outcomes[0].failure}"


def _decisions(space: SearchSpace) -> list[str]:
    return [decision.name for decision in space.decisions]


def _describe(space: SearchSpace) -> dict[str, Any]:
    """What tells the space from others: its decisions, and one of its networks for what is fixed."""
    decisions = {decision.name: str(decision.domain) for decision in space.decisions}
    return {"decisions": decisions, "example": space.random(np.random.default_rng(0)).digest}
