"""The project's spaces: whatever they produce builds, and costs what was said."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import spaces
from spaces.reference import CONF
from tests.spaces.counting import count_layers, run_network

NAMES = sorted(path.stem for path in (CONF / "space").glob("*.yaml"))
DIGITS = {"in_channels": 1, "num_classes": 10, "resolution": 8}
CIFAR = {"in_channels": 3, "num_classes": 10, "resolution": 32}


def random_architectures(name: str, num: int, image: dict[str, Any]) -> Iterator[spaces.Architecture]:
    """`num` random architectures of the space of that name for images of that kind."""
    space = spaces.load_space(name, **image)
    rng = np.random.default_rng(0)
    for _ in range(num):
        yield space.random(rng).architecture


@pytest.mark.parametrize("name", NAMES)
def test_random_architectures_run_and_cost_what_was_said(name):
    for architecture in random_architectures(name, 20, DIGITS):
        cost, logits = run_network(architecture)
        assert cost == spaces.cost(architecture)
        assert logits.shape == (1, 10)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", [n for n in NAMES if "pyramid" in (CONF / "space" / f"{n}.yaml").read_text()])
def test_one_network_with_a_pyramid_takes_several_input_sizes(name):
    space = spaces.load_space(name, **CIFAR)
    rng = np.random.default_rng(0)
    decisions = space.complete({**space.sample(rng), "head.pool": "pyramid"}, rng)
    network = spaces.build(space.candidate(decisions).architecture).eval()
    for size in [(32, 32), (24, 24), (45, 33), (40, 64)]:
        with torch.no_grad():
            logits = network(torch.randn(2, 3, *size))
        assert logits.shape == (2, 10)
        assert logits.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("image", [DIGITS, CIFAR, {"in_channels": 2, "num_classes": 3, "resolution": (19, 33)}])
@pytest.mark.parametrize("name", NAMES)
def test_many_random_architectures_cost_what_pytorch_counts(name, image):
    for architecture in random_architectures(name, 200, image):
        assert spaces.layer_costs(architecture) == count_layers(architecture)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_can_be_built(name):
    spaces.load_space(name, **CIFAR).check()


def test_squeezenets_metaparameters_are_one_decision_each():
    """e_i = base_e + incr_e * floor(i / freq) for its eight modules."""
    space = spaces.load_space("squeezenet", **CIFAR)
    rng = np.random.default_rng(0)
    stated = {"width_multiplier": 1.0, "base": 64, "increment": 32, "period": 4}
    network = space.candidate({**space.sample(rng), **stated}).architecture
    assert [layer.out_channels for layer in network.layers if layer.block == "fire"] == [64] * 4 + [96] * 4
