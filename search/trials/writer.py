"""The one writer of what a study stores of its trials, and of what it learns of their networks afterwards.

What is known when a candidate is decided is one attribute, what is known at its end is another: few writes. Decisions are Optuna's
parameters and the objectives its values, so that Optuna's own tools show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage

from search.trials.attributes import (
    CONFIRMED,
    DECIDED,
    DRIVER,
    DUPLICATE_OF,
    ENQUEUED,
    INFEASIBLE,
    MEASURED,
    NAME,
    OUTSIDE,
    RESULT,
)
from search.trials.confirmations import Confirmations
from search.trials.trial import Failure, StoredTrial
from spaces import Candidate
from spaces.space import Decisions


def enqueue_network(
    study: optuna.Study, name: str, digest: str, decisions: Decisions | None, architecture: Mapping[str, Any]
) -> None:
    """Adds a waiting trial for a network; one that no decisions make is stored by its architecture."""
    attributes: dict[str, Any] = {NAME: name, ENQUEUED: digest}
    if decisions is None:
        attributes |= {OUTSIDE: True, DECIDED: {"architecture": dict(architecture)}}
    study.enqueue_trial(decisions or {}, user_attrs=attributes)


def write_driver(trial: optuna.Trial, name: str) -> None:
    """Records which driver runs a trial."""
    trial.set_user_attr(DRIVER, name)


def write_decided(
    trial: optuna.Trial,
    candidate: Candidate,
    decisions: Mapping[str, Any],
    costs: Mapping[str, float],
    *,
    latency_error: float | None,
    trains_differ: bool,
) -> None:
    """Records the candidate of a trial, and what is known of it before it is trained.

    Args:
        trial: the candidate's.
        candidate: what the decisions make.
        decisions: the trial's parameters as they are stored: a trial whose parameters become others is refused.
        costs: by name.
        latency_error: relative standard deviation of the predicted latency; None without a device.
        trains_differ: whether candidates differ in more than their architectures.
    """
    decided: dict[str, Any] = {
        "digest": candidate.architecture.digest,
        "architecture": candidate.architecture.to_dict(),
        "decisions": dict(decisions),
        "costs": dict(costs),
    }
    if trains_differ:
        decided["candidate"] = candidate.digest
    if latency_error is not None:
        decided["latency_error"] = latency_error
    trial.set_user_attr(DECIDED, decided)


def write_no_candidate(trial: optuna.Trial, reason: str) -> None:
    """Records why no candidate can be made of what was queued."""
    trial.set_user_attr(RESULT, {"failure": f"{Failure.NO_CANDIDATE}: {reason}"})


def write_infeasible(trial: optuna.Trial, violations: Mapping[str, float], broken: str) -> None:
    """Records which limits a candidate exceeds.

    Args:
        trial: the candidate's.
        violations: how far it is beyond each limit, by the name of the cost; at most 0 means satisfied.
        broken: the limits that it exceeds, and by what.
    """
    for name, excess in violations.items():
        trial.set_constraint(f"max_{name}", excess)
    trial.set_user_attr(INFEASIBLE, broken)


def write_duplicate(trial: optuna.Trial, original: int) -> None:
    """Records which trial a trial repeats."""
    trial.set_user_attr(DUPLICATE_OF, original)


def write_result(
    storage: BaseStorage,
    trial_id: int,
    *,
    accuracy: float | None,
    accuracy_top5: float | None,
    epochs: int,
    seconds: float,
    curve: Sequence[float],
    reward: float | None,
    failure: str | None,
    retried: str | None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Records the end of a trial, before its state says that it has ended."""
    result: dict[str, Any] = {
        "accuracy": accuracy,
        "accuracy_top5": accuracy_top5,
        "epochs": epochs,
        "seconds": round(seconds, 3),
        "curve": list(curve),
        "reward": reward,
        "failure": failure,
        "retried": retried,
        "metrics": dict(metrics) if metrics else None,
    }
    storage.set_trial_user_attr(trial_id, RESULT, {key: value for key, value in result.items() if value is not None})


def write_confirmations(study: optuna.Study, trial: StoredTrial, confirmations: Confirmations) -> None:
    """Records the trainings of a trial's candidate under other seeds."""
    stored = {"seeds": list(confirmations.seeds), "accuracies": list(confirmations.accuracies)}
    study.set_user_attr(f"{CONFIRMED}{trial.candidate_digest or trial.digest}", stored)


def write_measured(
    study: optuna.Study, digest: str, *, latency_ms: float, iqr_ms: float, predicted_ms: float | None, device: str
) -> None:
    """Records the latency of a network, measured end to end."""
    values = {"latency_ms": latency_ms, "iqr_ms": iqr_ms, "predicted_ms": predicted_ms, "device": device}
    study.set_user_attr(f"{MEASURED}{digest}", values)
