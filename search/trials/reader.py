"""The one reader of stored trials: from Optuna's attributes to `StoredTrial`.

A trial keeps what is known when its candidate is decided in one attribute, and what is known at its end in another. Version 0.1
kept each figure in an attribute of its own. Both are read, also beside each other in one trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

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
from search.trials.trial import Failure, State, StoredTrial
from spaces.architecture import digest_of
from spaces.checks import is_integer, is_number

_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.STOPPED,
    TrialState.FAIL: State.FAILED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
}
_ALWAYS_PRICED = ("flops", "params")
_FLAT_COSTS = (*_ALWAYS_PRICED, "latency_ms", "memory_access", "activation_bytes")
"""The costs that a trial of version 0.1 can have, each in an attribute of its own."""
_FLAT_DECIDED = ("digest", "candidate", "architecture", "latency_error")
_RESULT_NUMBERS = ("epochs", "seconds", "reward")
_FLAT_RESULT = ("accuracy", "accuracy_top5", *_RESULT_NUMBERS, "curve", "failure", "retried")


class Reader:
    """Reads the trials of one study; a finished trial, which never changes, is read once."""

    def __init__(self) -> None:
        self._finished: dict[int, StoredTrial] = {}

    def read(self, trial: FrozenTrial) -> StoredTrial:
        """One trial."""
        known = self._finished.get(trial.number)
        if known is None:
            known = read_trial(trial)
            if known.is_finished:
                self._finished[trial.number] = known
        return known


def read_trials(study: optuna.Study) -> list[StoredTrial]:
    """All trials of a study, by their numbers."""
    return [read_trial(trial) for trial in study.get_trials(deepcopy=False)]


def read_trial(trial: FrozenTrial) -> StoredTrial:
    """One trial, whatever somebody has made of its attributes."""
    attributes, is_finished = trial.user_attrs, trial.state.is_finished()
    decided, result = _decided_in(attributes), _result_in(attributes) if is_finished else {}
    if is_finished and (defect := _defect(trial, decided, result)) is not None:
        return _defective(trial, result, defect)
    is_refused = is_finished and INFEASIBLE in attributes
    copied = attributes.get(DUPLICATE_OF)
    return StoredTrial(
        trial.number,
        State.INFEASIBLE if is_refused else _STATES[trial.state],
        dict(trial.params),
        duplicate_of=copied if is_integer(copied) else None,
        infeasible=attributes[INFEASIBLE] if is_refused else None,
        outside=bool(attributes.get(OUTSIDE, False)),
        name=_text(attributes.get(NAME)),
        enqueued=_text(attributes.get(ENQUEUED)),
        driver=_text(attributes.get(DRIVER)),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        **_what_was_decided(decided),
        **({} if is_refused else _what_came_out(result)),
    )


@dataclass(frozen=True)
class Learnt:
    """What a study learnt of its networks after their trials."""

    confirmations: Mapping[str, Confirmations] = field(default_factory=dict)
    """Trainings under other seeds, by the digest of the candidate."""
    measured_ms: Mapping[str, float] = field(default_factory=dict)
    """Latency measured end to end, by the digest of the architecture."""

    def confirmations_of(self, trial: StoredTrial) -> Confirmations:
        """The further trainings of a trial's candidate."""
        return self.confirmations.get(trial.candidate_digest or trial.digest or "", Confirmations())


def read_learnt(study: optuna.Study) -> Learnt:
    """What a study's attributes say of its networks."""
    confirmations, measured = {}, {}
    for key, value in study.user_attrs.items():
        if key.startswith(CONFIRMED):
            confirmations[key.removeprefix(CONFIRMED)] = Confirmations(
                tuple(value.get("seeds", ())), tuple(value.get("accuracies", ()))
            )
        elif key.startswith(MEASURED):
            measured[key.removeprefix(MEASURED)] = value["latency_ms"]
    return Learnt(confirmations, measured)


def is_outside(trial: FrozenTrial) -> bool:
    """Whether no decisions of the space make a trial's network."""
    return OUTSIDE in trial.user_attrs


def _decided_in(attributes: Mapping[str, Any]) -> Any:
    """What is stored of a trial's candidate, unchecked; the costs by name."""
    if DECIDED in attributes:
        return attributes[DECIDED]
    flat = {name: attributes[name] for name in _FLAT_DECIDED if name in attributes}
    return {**flat, "costs": {name: attributes[name] for name in _FLAT_COSTS if name in attributes}}


def _result_in(attributes: Mapping[str, Any]) -> Any:
    """What is stored of a trial's end, unchecked."""
    if RESULT in attributes:
        return attributes[RESULT]
    return {name: attributes[name] for name in _FLAT_RESULT if name in attributes}


def _defect(trial: FrozenTrial, decided: Any, result: Any) -> str | None:
    """Why no search can have written a finished trial; None where one can."""
    if not isinstance(decided, Mapping):
        return f"what was decided is {decided!r}"
    if not isinstance(result, Mapping):
        return f"its result is {result!r}"
    checks = (
        _defect_of_candidate(trial, decided),
        _defect_of_marks(trial.user_attrs),
        _defect_of_result(trial, result),
    )
    return next((defect for defect in checks if defect is not None), None)


def _defect_of_candidate(trial: FrozenTrial, decided: Mapping[str, Any]) -> str | None:
    missing = [name for name in ("digest", "architecture") if name not in decided]
    if missing:
        return f"it has no {missing[0]}"
    if not isinstance(decided["architecture"], Mapping) or digest_of(decided["architecture"]) != decided["digest"]:
        return "its architecture is not that of its digest"
    if not isinstance(decided.get("candidate", ""), str):
        return f"the digest of its candidate is {decided['candidate']!r}"
    if decided.get("decisions", trial.params) != trial.params:
        return "its decisions are not those of its candidate"
    costs = decided.get("costs")
    if not isinstance(costs, Mapping):
        return f"its costs are {costs!r}"
    for name in (*_ALWAYS_PRICED, *costs):
        if name not in costs:
            return f"it has no {name}"
        if not is_number(costs[name]) or not math.isfinite(costs[name]):
            return f"its {name} is {costs[name]!r}"
    error = decided.get("latency_error", 0.0)
    return None if is_number(error) and error >= 0 else f"its latency_error is {error!r}"


def _defect_of_marks(attributes: Mapping[str, Any]) -> str | None:
    if not is_integer(attributes.get(DUPLICATE_OF, 0)):
        return f"it is a duplicate of {attributes[DUPLICATE_OF]!r}"
    if not isinstance(attributes.get(INFEASIBLE, ""), str):
        return f"the limit that it exceeds is {attributes[INFEASIBLE]!r}"
    return None


def _defect_of_result(trial: FrozenTrial, result: Mapping[str, Any]) -> str | None:
    if INFEASIBLE in trial.user_attrs:
        return None
    accuracy = result.get("accuracy")
    if not _is_share(accuracy) and (trial.state is TrialState.COMPLETE or accuracy is not None):
        return f"its accuracy is {accuracy!r}"
    curve = result.get("curve", [])
    if not isinstance(curve, list) or not all(_is_share(value) or value != value for value in curve):
        return f"its curve is {curve!r}"
    metrics = result.get("metrics", {})
    if not isinstance(metrics, Mapping) or not all(map(is_number, metrics.values())):
        return f"its metrics are {metrics!r}"
    for name in (*_RESULT_NUMBERS, "accuracy_top5"):
        if not is_number(result.get(name, 0)):
            return f"its {name} is {result[name]!r}"
    for name in ("failure", "retried"):
        if not isinstance(result.get(name, ""), str):
            return f"its {name} is {result[name]!r}"
    return None


def _defective(trial: FrozenTrial, result: Any, defect: str) -> StoredTrial:
    """A trial of which nothing is believed."""
    text = _text(result.get("failure")) if isinstance(result, Mapping) else None
    text = text or f"{Failure.EDITED}: {defect}"
    enqueued = _text(trial.user_attrs.get(ENQUEUED))
    return StoredTrial(
        trial.number, State.FAILED, failure=_kind_of(text), failure_text=text, enqueued=enqueued, defect=defect
    )


def _what_was_decided(decided: Any) -> dict[str, Any]:
    """The fields of a trial that its candidate decides; what is of the wrong kind in one that has not ended is left out."""
    if not isinstance(decided, Mapping):
        return {}
    costs, architecture, error = decided.get("costs"), decided.get("architecture"), decided.get("latency_error")
    return {
        "digest": _text(decided.get("digest")),
        "candidate_digest": _text(decided.get("candidate")),
        "architecture": architecture if isinstance(architecture, Mapping) else None,
        "costs": {name: cost for name, cost in costs.items() if is_number(cost)} if isinstance(costs, Mapping) else {},
        "latency_error": error if is_number(error) else None,
    }


def _what_came_out(result: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a sound trial that its end decides."""
    text = result.get("failure")
    numbers = {name: result.get(name) for name in ("accuracy", "accuracy_top5", *_RESULT_NUMBERS)}
    return {
        **numbers,
        "curve": tuple(result.get("curve", ())),
        "metrics": dict(result.get("metrics", {})),
        "failure": _kind_of(text),
        "failure_text": text,
        "retried": result.get("retried"),
    }


def _kind_of(failure_text: str | None) -> Failure | None:
    return next((kind for kind in Failure if failure_text and failure_text.startswith(kind)), None)


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
