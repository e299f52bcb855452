"""The project's spaces: whatever they produce builds, and costs what was said."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("image", [DIGITS, CIFAR, {"in_channels": 2, "num_classes": 3, "resolution": (19, 33)}])
@pytest.mark.parametrize("name", NAMES)
def test_many_random_architectures_cost_what_pytorch_counts(name, image):
    for architecture in random_architectures(name, 200, image):
        assert spaces.layer_costs(architecture) == count_layers(architecture)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_can_be_built(name):
    spaces.load_space(name, **CIFAR).check()
