"""A study's storage as a table: what every report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd

from search.objective.costs import BUILT_IN, Cost
from search.objective.reward import Objective
from search.reporting.record import Record, Span
from search.reporting.tables import StudyInfo, floats, trials_frame
from search.study.founding import COST_WORDS
from search.trials.confirmations import Confirmations
from search.trials.reader import Learnt, read_learnt, read_trials
from search.trials.trial import StoredTrial
from spaces.errors import InputError


def read_study(study: optuna.Study) -> tuple[pd.DataFrame, StudyInfo]:
    """The trials table of a study, and what reports say beside it.

    Raises:
        InputError: the study was not made by this project.
    """
    return _tabulate(study, read_trials(study))


def read_record(study: optuna.Study) -> Record:
    """All that reports show of a study.

    Raises:
        InputError: the study was not made by this project.
    """
    stored = read_trials(study)
    trials, info = _tabulate(study, stored)
    originals = [trial for trial in stored if not trial.is_copy]
    return Record(
        trials,
        info,
        study.user_attrs["config"],
        {t.digest: t.architecture for t in stored if t.digest is not None and t.architecture is not None},
        {trial.number: trial.curve for trial in originals if trial.curve},
        {trial.number: span for trial in originals if (span := _span(trial)) is not None},
        {trial.number: trial for trial in stored},
    )


def _tabulate(study: optuna.Study, stored: Sequence[StoredTrial]) -> tuple[pd.DataFrame, StudyInfo]:
    attributes = study.user_attrs
    missing = [name for name in ("config", "reference", "decisions") if name not in attributes]
    if missing:
        raise InputError(f"the study '{study.study_name}' holds no {missing[0]}: it was not made by search.run")
    learnt = read_learnt(study)
    words = attributes.get(COST_WORDS, {})  # a study of version 0.1 stores none
    costs = {**BUILT_IN, **{name: Cost(None, **words[name]) for name in words if name.isidentifier()}}
    trials = trials_frame([_row(trial, learnt) for trial in stored], attributes["decisions"], costs)
    reference = attributes["reference"]
    objective = Objective.from_config(attributes["config"]["objective"], names=tuple(costs))
    cost_range = tuple(reference["cost_range"][objective.cost])
    objective = objective.resolve(cost_range)
    if "accuracy_mean" in trials:
        confirmed = objective.mean_reward(floats(trials, "accuracy_mean"), floats(trials, objective.cost))
        trials["reward"] = trials["reward"].where(np.isnan(confirmed), confirmed)
    device = attributes["config"].get("device", {})
    return trials, StudyInfo(
        study.study_name,
        objective,
        cost_range,
        reference["chance"],
        device.get("identity", {}),
        device.get("is_here", True),
        costs,
    )


def _row(trial: StoredTrial, learnt: Learnt) -> dict[str, Any]:
    """One trial by the table's columns, with what its study learnt of its network."""
    row: dict[str, Any] = {
        **trial.metrics,
        **trial.decisions,
        **trial.costs,
        "number": trial.number,
        "state": trial.state.value,
        "accuracy": trial.accuracy,
        "accuracy_top5": trial.accuracy_top5,
        "latency_error": trial.latency_error,
        "reward": trial.reward,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "digest": trial.digest,
        "duplicate_of": trial.duplicate_of,
        "failure": trial.failure_text if trial.infeasible is None else trial.infeasible,
        "retried": trial.retried,
        "name": trial.name,
    }
    if trial.digest is not None and not trial.is_copy:
        row |= _confirmed(learnt.confirmations_of(trial))
        row["measured_ms"] = learnt.measured_ms.get(trial.digest)
    return row


def _span(trial: StoredTrial) -> Span | None:
    """When it was trained, if it has ended: it was asked for earlier, as proposals are made ahead of the workers."""
    if trial.started is None or trial.ended is None:
        return None
    asked, ended = trial.started.timestamp(), trial.ended.timestamp()
    seconds = trial.seconds or ended - asked  # none are known of a worker that was lost
    return max(asked, ended - seconds), ended


def _confirmed(confirmations: Confirmations) -> dict[str, Any]:
    """The columns of a trial that was trained again."""
    if not confirmations.known:
        return {}
    return {
        "accuracy_mean": confirmations.mean,
        "accuracy_std": confirmations.std,
        "confirmations": len(confirmations.known),
    }
