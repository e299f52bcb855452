"""Whatever random spaces produce can be built, costs what was said, and reads back."""

import numpy as np
import pytest

from spaces import SearchSpace, decode, layer_costs
from tests.spaces.counting import count_layers

IMAGE = {"in_channels": 3, "num_classes": 10, "resolution": 16}


def choice(*options):
    return {"choice": list(options)}


def random_layer(rng: np.random.Generator) -> dict:
    """A layer with groups, kernels, strides and channels open at random; some pass channels on, some read two layers."""
    kernels = {"kernel_size": choice(2, 3, 5)}
    groups = choice(*rng.choice([1, 2, 3, 4, 8], int(rng.integers(1, 4)), replace=False).tolist())
    blocks = [
        {"conv": {"groups": groups, **kernels}},
        {"shufflenet_v1": {"groups": groups}},
        {"shufflenet_v2": kernels},
        {"inverted_residual": {"expand_ratio": {"float": [0.5, 4]}, "squeeze_ratio": choice(0, 0.25)}},
        "identity",
    ]
    kind = rng.integers(10)
    if kind < 2:
        return {"block": choice({"pool": {"kind": choice("max", "avg")}}, "identity"), "stride": choice(1, 2)}
    if kind == 2:
        return {"block": "concat", "inputs": ["stem", choice("stem", "other")]}
    channels = [24, 30, 7, choice(16, 20), {"int": [8, 40]}, None][int(rng.integers(6))]
    layer = {"block": choice(*(blocks[i] for i in rng.choice(5, int(rng.integers(1, 4)), replace=False)))}
    layer |= {"channels": channels, "repeat": {"int": [1, 2]}, "width": str(rng.choice(["scaled", "fixed"]))}
    return layer | ({"inputs": [choice(-1, "stem")]} if kind == 3 else {})


def random_space(seed: int) -> SearchSpace:
    rng = np.random.default_rng(seed)
    stem = [
        {"block": "conv", "channels": 16, "name": "stem"},
        {"block": "conv", "channels": choice(8, 12), "name": "other"},
    ]
    open_values = {
        "width_multiplier": [choice(0.25, 1), {"float": [0.2, 2]}, 1][int(rng.integers(3))],
        "resolution_multiplier": choice(1.5, 2.1),
        "depth_multiplier": choice(1, 1.4),
        "channel_divisor": choice(1, 8),
        "activation": choice("relu", "prelu"),
        "head": {"hidden": [32], "hidden_groups": choice(1, 4)},
    }
    layers = [*stem, *(random_layer(rng) for _ in range(rng.integers(1, 5)))]
    return SearchSpace({**IMAGE, "layers": layers, **open_values})


def check_random_space(seed: int, num: int) -> None:
    space, rng = random_space(seed), np.random.default_rng(seed)
    for _ in range(num):
        candidate = space.random(rng)
        architecture = candidate.architecture
        assert layer_costs(architecture) == count_layers(architecture), candidate.decisions
        assert decode(architecture.to_dict()) == architecture
        assert space.candidate(candidate.decisions) == candidate


@pytest.mark.parametrize("seed", range(25))
def test_whatever_a_random_space_produces_can_be_built(seed):
    check_random_space(seed, 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_whatever_many_random_spaces_produce_can_be_built(seed):
    check_random_space(seed, 20)
