"""Which networks lie in a space."""

from __future__ import annotations

import numpy as np
import pytest

from spaces import InputError, decode, load_space, network
from spaces.recognition import recognise
from spaces.reference import CONF

IMAGE = {"in_channels": 3, "num_classes": 10, "resolution": 32}
SPACES = sorted(path.stem for path in (CONF / "space").glob("*.yaml"))


@pytest.mark.parametrize("name", SPACES)
def test_what_is_recognised_is_made_by_the_decisions(name: str) -> None:
    space = load_space(name, {"lr": {"float": [1e-3, 1.0], "log": True}}, **IMAGE)
    rng = np.random.default_rng(1)
    wanted = space.random(rng)
    found = recognise(space, wanted.architecture, wanted.decisions)
    assert found is not None
    assert not any(decision.startswith("train.") for decision in found)
    assert space.candidate(space.complete(found, rng)).architecture == wanted.architecture


@pytest.mark.parametrize("name", ["shuffle_agg", "mobilenet_v2", "resnet", "all_blocks"])
def test_most_networks_of_a_space_are_recognised_without_a_hint(name: str) -> None:
    space = load_space(name, **IMAGE)
    wanted = [space.random(np.random.default_rng(seed)).architecture for seed in range(5)]
    found = [recognise(space, architecture) for architecture in wanted]
    assert sum(decisions is not None for decisions in found) >= 4
    assert all(d is None or space.candidate(d).architecture == a for d, a in zip(found, wanted))


def test_what_lies_outside_is_not() -> None:
    space = load_space("shuffle_agg", **IMAGE)
    assert recognise(space, network("mobilenet_v2", **IMAGE)) is None
    inside = space.random(np.random.default_rng(0)).architecture
    assert recognise(space, decode({**inside.to_dict(), "num_classes": 11})) is None


def test_hints_of_another_space_do_no_harm() -> None:
    space = load_space("mobilenet_v2", **IMAGE)
    wanted = space.random(np.random.default_rng(3)).architecture
    found = recognise(space, wanted, {"width_multiplier": 77, "no.such.decision": 1, "activation": ["a list"]})  # type: ignore[dict-item]
    assert found is not None


def test_a_network_outside_is_trained_as_the_space_says() -> None:
    space = load_space("shuffle_agg", {"epochs": 3, "lr": {"float": [1e-3, 1.0], "log": True}}, **IMAGE)
    own = network("mobilenet_v2", **IMAGE)
    decisions = space.decide_hyperparameters(lambda decision: 0.1)
    assert decisions == {"train.lr": 0.1}
    candidate = space.candidate_outside(own, {**decisions, "width_multiplier": 0.5})
    assert (candidate.architecture, candidate.decisions) == (own, decisions)
    assert candidate.hyperparameters == {"epochs": 3, "lr": 0.1}
    with pytest.raises(InputError, match=r"no value for the decision 'train\.lr'"):
        space.candidate_outside(own, {})
