"""A study's storage as a table: what every report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from search.objective.reward import Objective
from search.reporting.record import Record
from search.reporting.tables import LEARNT_COLUMNS, TRIAL_COLUMNS, StudyInfo, floats, trials_frame
from search.study.study import BEYOND, METRICS, measured_key
from search.trials.confirmations import Confirmations
from search.trials.integrity import defect
from spaces.errors import InputError

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def read_study(study: optuna.Study) -> tuple[pd.DataFrame, StudyInfo]:
    """The trials table of a study, and what reports say beside it.

    Raises:
        InputError: the study was not made by this project.
    """
    attributes = study.user_attrs
    missing = [name for name in ("config", "reference", "decisions") if name not in attributes]
    if missing:
        raise InputError(f"the study '{study.study_name}' holds no {missing[0]}: it was not made by search.run")
    rows = [_row(trial, attributes) for trial in study.get_trials(deepcopy=False)]
    metrics = {**{name: "" for row in rows for name in row["metrics"]}, **attributes.get(METRICS, {})}
    trials = trials_frame([{**row["metrics"], **row} for row in rows], attributes["decisions"], metrics)
    reference = attributes["reference"]
    objective = Objective.from_config(attributes["config"]["objective"], metrics=metrics)
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
    )


def read_record(study: optuna.Study) -> Record:
    """All that reports show of a study.

    Raises:
        InputError: the study was not made by this project.
    """
    trials, info = read_study(study)
    architectures, curves, spans = {}, {}, {}
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        if "architecture" in attributes and "digest" in attributes:
            architectures[attributes["digest"]] = attributes["architecture"]
        if "duplicate_of" in attributes:
            continue
        if attributes.get("curve"):
            curves[trial.number] = tuple(attributes["curve"])
        if trial.datetime_start is not None and trial.datetime_complete is not None:
            spans[trial.number] = _span(trial)
    return Record(trials, info, study.user_attrs["config"], architectures, curves, spans)


def _row(trial: FrozenTrial, study: Mapping[str, Any]) -> dict[str, Any]:
    """One trial by the table's columns, with what its study's attributes say of it."""
    attributes = trial.user_attrs
    edited = defect(trial) if trial.state.is_finished() else None
    if edited is not None:
        return {"number": trial.number, "state": "failed", "failure": attributes.get("failure", edited), "metrics": {}}
    known = {name: attributes[name] for name in (*TRIAL_COLUMNS, *LEARNT_COLUMNS) if name in attributes}
    if "digest" in attributes and "duplicate_of" not in attributes:
        known |= _confirmed(Confirmations.of(study, attributes))
        measured = study.get(measured_key(attributes["digest"]))
        known |= {} if measured is None else {"measured_ms": measured["latency_ms"]}
    beyond = attributes.get("infeasible", attributes.get(BEYOND))
    state = _STATES[trial.state] if beyond is None else "infeasible"
    own = {"number": trial.number, "state": state, "failure": attributes.get("failure", beyond)}
    return {**trial.params, **known, **own, "metrics": attributes.get(METRICS, {})}


def _span(trial: FrozenTrial) -> tuple[float, float]:
    """When it was trained: it was asked for earlier, as proposals are made ahead of the workers."""
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    asked, ended = trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()
    seconds = trial.user_attrs.get("seconds") or ended - asked  # none are known of a worker that was lost
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
