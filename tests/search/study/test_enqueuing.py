"""Networks that come first, inside the space and outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import TrialState

from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.reporting.reading import read_study
from search.reporting.tables import front
from search.samplers import SAMPLERS, make_sampler
from search.study.enqueuing import Enqueued, read_networks
from search.study.study import Study
from spaces import InputError, SearchSpace, cost, decode
from tests.search.conftest import SMALL, instant_outcome

IMAGE: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "resolution": (8, 8)}
OWN = {"layers": [{"block": "conv", "channels": 40, "kernel_size": 3, "stride": 2}, {"block": "conv", "channels": 24}]}


@pytest.fixture
def space() -> SearchSpace:
    """With an open learning rate, which a network outside the space is trained with too."""
    rate = {"lr": {"float": [1e-3, 1e-1], "log": True}, "epochs": 2}
    return SearchSpace(SMALL, rate, in_channels=1, num_classes=10, resolution=8)


def outside() -> Enqueued:
    return Enqueued("own", decode({**OWN, **IMAGE}))


def inside(space: SearchSpace) -> Enqueued:
    return Enqueued("found", space.random(np.random.default_rng(5)).architecture)


def open_study(
    space: SearchSpace, storage: Any, *, name: str = "cost_aware", trials: int = 12, enqueued: Any = ()
) -> Study:
    return Study(
        space,
        Objective(),
        make_sampler({"name": name}, 0),
        storage,
        trials=trials,
        config={"objective": {}},
        enqueued=enqueued,
    )


def finish(study: Study) -> None:
    while (proposal := study.ask()) is not None:
        # the network outside is better than any other
        is_own = proposal.candidate.architecture == outside().architecture
        study.tell(proposal.number, Outcome("complete", 0.97, epochs=2) if is_own else instant_outcome(proposal))


@pytest.mark.parametrize("name", SAMPLERS)
def test_enqueued_networks_come_first_whatever_the_sampler(space: SearchSpace, name: str) -> None:
    study = open_study(space, optuna.storages.InMemoryStorage(), name=name, enqueued=[outside(), inside(space)])
    finish(study)
    trials, _ = read_study(study.optuna_study)
    assert trials["name"].tolist()[:2] == ["own", "found"]
    assert trials["name"].isna()[2:].all()
    own, found = (trials.iloc[i] for i in (0, 1))
    assert own["digest"] == outside().architecture.digest
    assert (own["flops"], own["params"]) == cost(outside().architecture)[:2]
    assert own[["width_multiplier", "layers.1.block"]].isna().all()
    assert 1e-3 <= own["train.lr"] <= 1e-1
    assert found["digest"] == inside(space).architecture.digest
    assert found["width_multiplier"] in (0.5, 0.75, 1.0)
    assert front(trials, "flops")["number"].tolist()[-1] == 0
    assert study.num_done == 12


def test_optunas_samplers_still_see_what_all_trials_share(space: SearchSpace) -> None:
    study = open_study(space, optuna.storages.InMemoryStorage(), name="gp", enqueued=[outside()])
    finish(study)
    assert "width_multiplier" in study._study.sampler.infer_relative_search_space(study._study, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cost_aware", "random"])
def test_a_resumed_study_enqueues_nothing_twice_and_runs_what_was_interrupted(space: SearchSpace, name: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    wanted = [outside(), inside(space)]
    study = open_study(space, storage, name=name, enqueued=wanted)
    first = study.ask()
    assert first is not None
    # the driver is killed here
    again = open_study(space, storage, name=name, enqueued=wanted)
    assert len(again.optuna_study.trials) == 2
    assert again.num_enqueued == 2
    same = again.ask()
    assert same is not None
    assert (same.number, same.candidate) == (first.number, first.candidate)
    again.tell(same.number, Outcome("complete", 0.97, epochs=2))
    finish(again)
    more = open_study(
        space, storage, name=name, trials=13, enqueued=[*wanted, *read_networks(["mobilenet_v2"], **IMAGE)]
    )
    finish(more)
    assert [t.user_attrs["name"] for t in more.optuna_study.trials if "enqueued" in t.user_attrs] == [
        "own",
        "found",
        "mobilenet_v2",
    ]
    assert more.optuna_study.trials[-1].state is TrialState.COMPLETE
    assert open_study(space, storage, name=name, trials=13, enqueued=wanted).ask() is None


def test_one_outside_the_limits_is_refused_and_says_so(space: SearchSpace) -> None:
    limits = Objective(max_params=3_000)
    sampler = make_sampler({"name": "random"}, 0)
    config = {"objective": {"max_params": 3_000}}
    storage = optuna.storages.InMemoryStorage()
    study = Study(space, limits, sampler, storage, trials=3, config=config, enqueued=[outside()])
    finish(study)
    trials, _ = read_study(study.optuna_study)
    assert trials["state"][0] == "infeasible"
    assert trials["failure"][0].startswith("params")
    assert study.num_done == 3


def test_networks_are_made_for_the_images(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**OWN, "in_channels": 3, "num_classes": 1000, "resolution": 224}))
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump({**OWN, "resolution": 4}))
    found = read_networks(["mobilenet_v2", str(path), str(small)], **IMAGE)
    assert [one.name for one in found] == ["mobilenet_v2", "mine", "small"]
    assert [one.architecture.resolution for one in found] == [(32, 32), (8, 8), (4, 4)]
    assert {(one.architecture.in_channels, one.architecture.num_classes) for one in found} == {(1, 10)}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("mobilenet_v22", "enqueue: there is no network named 'mobilenet_v22'; did you mean 'mobilenet_v2'"),
        ("./nowhere.yaml", "no file nowhere.yaml"),
        ("inception_v4", "enqueue: 'inception_v4' cannot be made for these images: .* below one pixel"),
    ],
)
def test_what_is_no_network_of_the_images_is_refused(entry: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_networks([entry], **IMAGE)


@pytest.mark.parametrize("resolution", ["big", [32], {"a": 1}, [32, "x"], True])
def test_a_files_resolution_that_is_none_is_named(tmp_path: Path, resolution: Any) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**OWN, "resolution": resolution}))
    with pytest.raises(
        InputError, match=r"^enqueue: .*own\.yaml: resolution is one side in pixels or \[height, width\]"
    ):
        read_networks([str(path)], **IMAGE)
