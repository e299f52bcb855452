"""Who is trained again, and what the front is afterwards."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler

from search.backends.base import Event, Finished
from search.evaluation.job import Job
from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.reporting.tables import fallen, front, table_hypervolume
from search.study.confirming import MAX_GROWTH, MIN_BOUND, seeds_after, to_confirm
from search.study.driver import explore
from search.study.study import Study
from search.trials.confirmations import Confirmations
from search.trials.reader import read_learnt
from search.trials.trial import State, StoredTrial
from search.trials.writer import write_confirmations
from spaces import SearchSpace
from tests.search.conftest import SMALL
from tests.search.study.test_driver import FakeBackend

NAN = math.nan


@pytest.mark.parametrize(
    ("accuracy", "mean", "cost", "chosen"),
    [
        ([0.5, 0.7, 0.6], [NAN, NAN, NAN], [3, 5, 4], [0, 2, 1]),  # the whole front, cost rising
        ([0.5, 0.7, 0.6], [NAN, NAN, NAN], [3, 5, 6], [0, 1]),  # what is dominated is not
        ([0.5, 0.7, 0.6], [0.5, 0.55, NAN], [3, 5, 6], [2]),  # comes to light behind a member that fell
        ([0.5, 0.7, 0.6], [0.5, 0.65, NAN], [3, 5, 6], []),  # stays behind it
        ([0.5, 0.7, 0.6], [0.5, 0.4, 0.6], [3, 5, 6], []),  # all is known
        ([], [], [], []),
    ],
)
def test_the_front_is_confirmed_and_what_comes_to_light(
    accuracy: list[float], mean: list[float], cost: list[float], chosen: list[int]
) -> None:
    assert to_confirm(accuracy, mean, cost).tolist() == chosen


def test_no_more_are_confirmed_than_a_multiple_of_the_first_front() -> None:
    n = 200
    accuracy, cost, mean = np.linspace(0.9, 0.8, n), np.full(n, 5.0), np.full(n, NAN)
    cost += np.arange(n)
    while len(chosen := to_confirm(accuracy, mean, cost)):
        mean[chosen] = 0.1  # every one of them falls, and the next comes to light
    assert np.isfinite(mean).sum() == max(MIN_BOUND, MAX_GROWTH * 1)


def test_what_trainings_say_together() -> None:
    known = Confirmations().with_one_more(1, 0.5).with_one_more(2, None).with_one_more(3, 0.7)
    study, trial = optuna.create_study(), StoredTrial(0, State.COMPLETE, digest="ab", candidate_digest="cd")
    assert read_learnt(study).confirmations_of(trial) == Confirmations()
    write_confirmations(study, trial, known)
    assert read_learnt(study).confirmations_of(trial) == known
    assert study.user_attrs.keys() == {"confirmed:cd"}
    assert (known.mean, known.std) == (pytest.approx(0.6), pytest.approx(math.sqrt(0.02)))
    assert math.isnan(Confirmations((1,), (0.5,)).std)
    assert math.isnan(Confirmations((1,), (None,)).mean)
    assert seeds_after(2**32 - 2, 3) == [2**32 - 1, 0, 1]


def accuracy_of(job: Job) -> float:
    """Rises with the size of the network, and with luck, which is another under every seed."""
    width = sum(layer.get("channels", 0) for layer in job.architecture["layers"])
    rate = round(1e6 * job.hyperparameters.get("lr", 0))
    luck = np.random.default_rng((job.seed, width, rate)).uniform(-0.1, 0.1)
    return float(np.clip(0.3 + width / 400 + luck, 0, 1))


def finish(job: Job) -> Event:
    return Finished(job.number, Outcome("complete", accuracy_of(job), None, 1, 0.1, (accuracy_of(job),)))


class Trainings(FakeBackend):
    """Notes what is trained."""

    def __init__(self, workers: int, end: Any = finish) -> None:
        super().__init__(workers, end)
        self.all: list[Job] = []

    def start(self, job: Job) -> None:
        super().start(job)
        self.all.append(job)


def search(storage: Any, confirm: int, backend: Trainings | None = None, space: SearchSpace | None = None) -> Study:
    space = space or SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8)
    config = {"objective": {}, "seed": 0}
    study = Study(space, Objective(), RandomSampler(seed=0), storage, trials=20, config=config)
    trains = backend or Trainings(2)
    explore(study, lambda: trains, seed=0, retries=1, watch=lambda status, ended: None, confirm=confirm)
    return study


def test_the_front_holds_means_of_other_seeds_and_says_who_fell() -> None:
    backend = Trainings(2)
    study = search(optuna.storages.InMemoryStorage(), 3, backend)
    again = backend.all[20:]
    assert {job.seed for job in backend.all[:20]} == {0}
    assert {job.seed for job in again} == {1, 2, 3}
    assert len({job.number for job in backend.all}) == len(backend.all)
    assert all(job.rungs == () for job in again)
    trials, info = read_study(study.optuna_study)
    members = front(trials, "flops")
    assert members["confirmations"].tolist() == [3] * len(members)
    for row in members.to_dict("records"):
        runs = [job for job in again if job.number % 1_000_000 == row["number"]]
        accuracies = [accuracy_of(job) for job in runs]
        assert row["accuracy_mean"] == pytest.approx(np.mean(accuracies))
        assert row["accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
        assert row["reward"] == pytest.approx(float(info.objective.mean_reward(row["accuracy_mean"], row["flops"])))
    assert members["accuracy_mean"].is_monotonic_increasing
    assert len(fallen(trials, "flops"))  # this luck is large
    assert table_hypervolume(trials, info) < table_hypervolume(trials.drop(columns="accuracy_mean"), info)


def test_confirmations_resume_where_they_were_and_more_may_be_asked_for() -> None:
    storage = optuna.storages.InMemoryStorage()
    first = Trainings(1)
    first.end = lambda job: finish(job) if len(first.all) < 23 else 1 / 0  # type: ignore[return-value]
    with pytest.raises(ZeroDivisionError):
        search(storage, 2, first)
    second = Trainings(2)
    search(storage, 2, second)
    kept = {job.number for job in first.all[20:22]}
    assert kept
    assert not kept & {job.number for job in second.all}
    assert {job.seed for job in second.all} == {1, 2}
    unchanged = Trainings(2)
    search(storage, 1, unchanged)
    assert unchanged.all == []
    more = Trainings(2)
    study = search(storage, 3, more)
    assert {job.seed for job in more.all} >= {3}
    assert set(front(read_study(study.optuna_study)[0], "flops")["confirmations"]) == {3}


def test_a_confirmation_that_diverges_counts_as_guessing_and_one_that_fails_otherwise_not_at_all() -> None:
    def end(job: Job) -> Event:
        kinds = {1: "diverged: the loss became nan", 2: "exception: no luck"}
        return Finished(job.number, Outcome("failed", failure=kinds[job.seed])) if job.seed in kinds else finish(job)

    study = search(optuna.storages.InMemoryStorage(), 2, Trainings(2, end))
    trials, _ = read_study(study.optuna_study)
    confirmed = trials[trials["confirmations"].notna()]
    assert (confirmed["confirmations"] == 1).all()
    assert (confirmed["accuracy_mean"] == 0.1).all()
    assert trials["accuracy_std"].isna().all()


def test_the_same_network_trained_otherwise_is_another_candidate() -> None:
    space = SearchSpace(
        {"layers": [{"block": "conv", "channels": 8}]},
        {"lr": {"float": [1e-3, 1.0], "log": True}},
        in_channels=1,
        num_classes=10,
        resolution=8,
    )
    study = search(optuna.storages.InMemoryStorage(), 2, space=space)
    trials, _ = read_study(study.optuna_study)
    assert trials["digest"].nunique() == 1
    confirmed = trials[trials["confirmations"].notna()]
    assert 0 < len(confirmed) < 20
