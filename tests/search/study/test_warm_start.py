"""What an earlier study teaches a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.objective.reward import Objective
from search.samplers import make_sampler
from search.samplers.cost_aware import CostAwareSampler
from search.study.study import Study
from search.study.warm_start import read_earlier
from search.trials.storage import DATABASE, open_database
from spaces import InputError, SearchSpace
from tests.search.conftest import SMALL, instant_outcome

TRAIN: dict[str, Any] = {"epochs": 3, "lr": 0.1}


def make(description: dict[str, Any], train: dict[str, Any] | None = None) -> SearchSpace:
    return SearchSpace(description, train or TRAIN, in_channels=1, num_classes=10, resolution=8)


def warm_start(
    sampler: CostAwareSampler, entries: list[str], folder: Path, storage: str | None, config: dict[str, Any]
) -> list[str]:
    """As a run does it; returns what is said."""
    earlier, said = read_earlier(sampler.space, entries, folder, storage, config)
    sampler.learn_from(earlier)
    return said


def search(folder: Path, space: SearchSpace, train: dict[str, Any] | None = None, trials: int = 20) -> dict[str, Any]:
    """Runs a study in a folder; returns its config."""
    config = config_of(train)
    folder.mkdir()
    storage = open_database(folder / DATABASE)
    sampler = make_sampler({"name": "random"}, 0)
    study = Study(space, Objective(), sampler, storage, name=folder.name, trials=trials, config=config)
    while (proposal := study.ask()) is not None:
        study.tell(proposal.number, instant_outcome(proposal))
    return config


def config_of(train: dict[str, Any] | None = None, fingerprint: str = "abc") -> dict[str, Any]:
    return {"objective": {}, "data": {"fingerprint": fingerprint}, "train": train or TRAIN}


def begin(space: SearchSpace, folder: Path) -> tuple[Study, CostAwareSampler]:
    folder.mkdir()
    sampler = CostAwareSampler(0)
    study = Study(
        space, Objective(), sampler, open_database(folder / DATABASE), name=folder.name, trials=30, config=config_of()
    )
    return study, sampler


def test_the_same_space_is_known_from_the_first_trial_on(tmp_path: Path) -> None:
    search(tmp_path / "old", make(SMALL))
    study, sampler = begin(make(SMALL), tmp_path / "new")
    (said,) = warm_start(sampler, ["old"], tmp_path / "new", None, config_of())
    assert said == "Warm start: 20 of 20 complete trials of 'old' lie in this space (the same images and training)."
    past = sampler.past(study.optuna_study, -1)
    assert len(past.earlier) == 20
    assert past.results == []  # they are no trials of this study
    model = sampler._model(past)
    assert len(model.results) == 20
    proposal = study.ask()  # the surrogate chooses it, where a cold sampler would spread the first ones
    assert proposal is not None
    cold, _ = begin(make(SMALL), tmp_path / "cold")
    spread = cold.ask()
    assert spread is not None
    assert spread.candidate != proposal.candidate


def test_other_images_and_trainings_are_told_apart_by_the_surrogate(tmp_path: Path) -> None:
    search(tmp_path / "old", make(SMALL))
    study, sampler = begin(make(SMALL), tmp_path / "new")
    (said,) = warm_start(sampler, [str(tmp_path / "old")], tmp_path / "new", None, config_of(fingerprint="other"))
    assert "other images or another training" in said
    model = sampler._model(sampler.past(study.optuna_study, -1))
    assert (model.posterior.x[:, -1] == 1).all()
    points = [result.point for result in model.results]
    assert model.posterior.x.shape[1] == sampler._inputs(points).shape[1]
    assert (sampler._inputs(points)[:, -1] == 0).all()
    for _ in range(10):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal.number, instant_outcome(proposal))


def test_what_overlaps_is_used_and_said(tmp_path: Path) -> None:
    narrow = {**SMALL, "width_multiplier": {"choice": [0.5, 1.0]}}  # one of three widths is missing
    search(tmp_path / "old", make(SMALL))
    _, sampler = begin(make(narrow, {"epochs": 3, "lr": {"float": [1e-2, 1.0], "log": True}}), tmp_path / "new")
    (said,) = warm_start(sampler, ["old"], tmp_path / "new", None, config_of())
    used = int(said.split()[2])
    assert 5 < used < 20
    assert f"{used} of 20" in said
    assert all(earlier.point.decisions["train.lr"] == 0.1 for earlier in sampler._earlier)


def test_other_names_for_the_same_networks_are_recognised(tmp_path: Path) -> None:
    inner = {"choice": [{"conv": {"kernel_size": {"choice": [2, 3]}}}, {"mbconv": {"kernel_size": 3}}]}
    search(
        tmp_path / "old",
        make({"layers": [{"block": "conv", "kernel_size": {"choice": [2, 3, 5]}, "channels": 8}]}),
        trials=3,
    )
    _, sampler = begin(make({"layers": [{"block": inner, "channels": {"choice": [8, 16]}}]}), tmp_path / "new")
    (said,) = warm_start(sampler, ["old"], tmp_path / "new", None, config_of())
    assert "2 of 3" in said


def test_a_space_with_nothing_in_common_a_missing_study_and_itself_are_refused(tmp_path: Path) -> None:
    search(tmp_path / "old", make(SMALL), trials=3)
    _, sampler = begin(make({"layers": [{"block": "conv", "channels": {"choice": [8, 16]}}]}), tmp_path / "new")
    for entry, words in [
        ("old", "warm_start: none of the 3 complete trials of 'old' is a network of this space"),
        ("odl", r"warm_start: there is no study 'odl' in .*; did you mean 'old'"),
        ("new", "warm_start: 'new' is this study itself"),
    ]:
        with pytest.raises(InputError, match=words):
            warm_start(sampler, [entry], tmp_path / "new", None, config_of())
