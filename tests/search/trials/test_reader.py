"""What the writer stores of a trial is what the reader gives back."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from search.trials.reader import read_learnt, read_trials
from search.trials.trial import Failure, State
from search.trials.writer import (
    enqueue_network,
    write_decided,
    write_driver,
    write_duplicate,
    write_infeasible,
    write_measured,
    write_no_candidate,
    write_result,
)
from spaces import Candidate, SearchSpace

COSTS = {"flops": 1000, "params": 10, "energy_mj": 0.25}
"""One of them is a user's own."""


def begin(study: optuna.Study, space: SearchSpace) -> tuple[optuna.Trial, Candidate]:
    """A trial whose candidate is decided."""
    trial = study.ask()
    candidate = next(iter(space.coverage()))
    decisions = {"kernel_size": trial.suggest_categorical("kernel_size", [3, 5])}
    write_decided(trial, candidate, decisions, COSTS, latency_error=0.3, trains_differ=True)
    return trial, candidate


def end(trial: optuna.Trial, state: TrialState, failure: str | None = None) -> None:
    done = state is TrialState.COMPLETE
    write_result(
        trial.study._storage,
        trial._trial_id,
        accuracy=0.5 if done else None,
        accuracy_top5=None,
        epochs=2,
        seconds=1.23456,
        curve=(0.25, float("nan"), 0.5),
        reward=0.4 if done else None,
        failure=failure,
        retried="worker lost (SIGKILL)",
        metrics={"sparsity": 0.9},
    )
    trial.study.tell(trial, 0.5 if done else None, state=state)


def test_a_complete_trial(small_space: SearchSpace) -> None:
    study = optuna.create_study()
    trial, candidate = begin(study, small_space)
    write_driver(trial, "host-1")
    (running,) = read_trials(study)
    assert (running.state, running.is_finished, running.is_original) == (State.RUNNING, False, False)
    end(trial, TrialState.COMPLETE)
    (stored,) = read_trials(study)
    assert (stored.state, stored.is_original, stored.defect) == (State.COMPLETE, True, None)
    assert stored.costs == COSTS
    assert stored.metrics == {"sparsity": 0.9}
    assert (stored.digest, stored.candidate_digest) == (candidate.architecture.digest, candidate.digest)
    assert (stored.accuracy, stored.reward, stored.latency_error) == (0.5, 0.4, 0.3)
    assert (stored.epochs, stored.seconds, len(stored.curve)) == (2, 1.235, 3)
    assert (stored.driver, stored.retried) == ("host-1", "worker lost (SIGKILL)")


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("diverged: the loss became nan", Failure.DIVERGED, "the loss became nan"),
        ("out of memory", Failure.OUT_OF_MEMORY, ""),
        ("exception: ValueError: x", Failure.EXCEPTION, "ValueError: x"),
        ("worker lost: SIGKILL", Failure.WORKER_LOST, "SIGKILL"),
        ("time limit: it ran for more than 3 s", Failure.TIME_LIMIT, "it ran for more than 3 s"),
        ("no accuracy: None", Failure.NO_ACCURACY, "None"),
        ("whatever a user's own evaluator reports", None, "whatever a user's own evaluator reports"),
    ],
)
def test_a_failure_has_a_kind_and_a_reason(
    small_space: SearchSpace, text: str, kind: Failure | None, reason: str
) -> None:
    study = optuna.create_study()
    end(begin(study, small_space)[0], TrialState.FAIL, text)
    (stored,) = read_trials(study)
    assert (stored.state, stored.failure, stored.reason, stored.failure_text) == (State.FAILED, kind, reason, text)
    assert stored.is_original


def test_what_was_not_evaluated_is_no_original(small_space: SearchSpace) -> None:
    study = optuna.create_study()
    end(begin(study, small_space)[0], TrialState.COMPLETE)
    copy, _ = begin(study, small_space)
    write_duplicate(copy, 0)
    end(copy, TrialState.COMPLETE)
    refused, _ = begin(study, small_space)
    write_infeasible(refused, {"flops": 10.0}, "flops 1000 > 990")
    study.tell(refused, state=TrialState.PRUNED)
    nothing = study.ask()
    write_no_candidate(nothing, "there is no such block")
    study.tell(nothing, state=TrialState.FAIL)
    enqueue_network(study, "own", "ab", None, {"layers": []})
    stored = read_trials(study)
    assert [trial.state for trial in stored] == ["complete", "complete", "infeasible", "failed", "waiting"]
    assert [trial.is_original for trial in stored] == [True, False, False, False, False]
    assert (stored[1].duplicate_of, stored[2].infeasible) == (0, "flops 1000 > 990")
    assert (stored[3].failure, stored[3].reason) == (Failure.NO_CANDIDATE, "there is no such block")
    assert (stored[4].name, stored[4].outside, stored[4].architecture) == ("own", True, {"layers": []})


def test_latencies_measured_after_the_search() -> None:
    study = optuna.create_study()
    write_measured(study, "ab", latency_ms=1.5, iqr_ms=0.1, predicted_ms=1.4, device="a phone")
    assert read_learnt(study).measured_ms == {"ab": 1.5}
