"""Search spaces: how open values are rounded, and how mistakes in them are told."""

import numpy as np
import pytest

from spaces import SearchSpace, cost
from spaces.blocks import BLOCKS
from spaces.errors import InputError

IMAGE = {"in_channels": 3, "num_classes": 10, "resolution": 16}


def choice(*options, **name):
    return {"choice": list(options), **name}


def make(*layers, **top):
    return SearchSpace({**IMAGE, "layers": [*layers], **top})


@pytest.mark.parametrize(
    ("layers", "top", "expected", "remark"),
    [
        ([{"channels": choice(20)}], {}, [24], "open channels are rounded to the divisor"),
        ([{"channels": 20}], {"width_multiplier": choice(1.0)}, [24], "an open multiplier rounds at 1 too"),
        (
            [{"channels": 20, "width": "fixed"}],
            {"width_multiplier": choice(0.5)},
            [20],
            "but not what it does not multiply",
        ),
        (
            [{"channels": 20}, {"channels": 24, "groups": choice(3)}],
            {},
            [21, 24],
            "fixed channels make room for open groups alone",
        ),
        ([{"channels": choice(20)}, {"channels": 30, "groups": 3}], {}, [24, 30], "open channels for fixed groups"),
        ([{"channels": 20}, choice({"block": "conv", "groups": 3})], {}, [21, 21], "an alternative layer is open"),
    ],
)
def test_rounding_of_what_is_open(layers, top, expected, remark):
    entries = [{"block": "conv", **layer} if "choice" not in layer else layer for layer in layers]
    architecture = make(*entries, **top).random(np.random.default_rng(0)).architecture
    assert [layer.out_channels for layer in architecture.layers[:-1]] == expected, remark


def test_open_groups_do_not_excuse_fixed_groups_that_cannot_divide():
    space = make(
        {"block": "conv", "channels": 20},
        {"block": "conv", "channels": 24, "groups": 3},
        {"block": "conv", "channels": 8, "groups": choice(4)},
    )
    with pytest.raises(InputError, match=r"layers.0: 20 channels are not a multiple of 3, .* nearest: 18 or 21"):
        space.check()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": [{"block": "conv", "channels": {"choice": []}}]}, ["layers.0.channels: choice is empty"]),
        ({"layers": [{"block": "conv", "channels": {"int": [3, 1]}}]}, ["layers.0.channels: low must not exceed high"]),
        ({"layer": []}, ["unknown key 'layer'", "layers"]),
        ({"layers": {"choice": [[], []]}}, ["layers must be a list"]),
        (
            {
                "layers": [
                    {"block": "conv", "channels": choice(8, 16, name="c")},
                    {"block": "conv", "channels": choice(8, name="c")},
                ]
            },
            ["layers.1.channels: values tied by the name 'c' differ", "one of 8", "one of 8, 16"],
        ),
        ({"layers": [], "parameters": {"p": choice(1, 2)}}, ["parameters.p is open", "`name:`"]),
    ],
)
def test_mistakes_in_open_values_are_found_at_once(arguments, words):
    with pytest.raises(InputError) as caught:
        SearchSpace(arguments, source="my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"block": choice("conv", "kov")}], ["layers.0.block: unknown block 'kov'"]),
        ([{"block": choice("conv", {"conv": {"kernel": 3}})}], ["layers.0: block 'conv' has no option 'kernel'"]),
        (
            # deep inside, and all the way down each alternative is as good as its neighbours
            [
                {
                    "block": choice(
                        *[
                            {
                                "conv": {
                                    "bias": choice(True, False),
                                    "activation": choice(*["relu", "swish", None][:i], "rleu" if i == 2 else "prelu"),
                                }
                            }
                            for i in range(4)
                        ]
                    ),
                    "channels": 8,
                }
            ],
            ["layers.0 (conv)", "unknown activation 'rleu'"],
        ),
        (
            [{"block": "conv", "channels": choice(8, 16), "stride": choice(1, 2)}] * 5,
            ["layers.4 (conv) of a 16x16 image", "stride 2 on a 1x1 map"],
        ),
        (
            [{"block": "conv", "channels": 8, "kernel_size": choice(1, 3, 5), "padding": 0}] * 5,
            ["(conv) of a 16x16 image", "kernel eats"],
        ),
        ([{"block": "conv", "channels": choice(8, 0)}], ["layers.0: channels must be a whole number", "0"]),
    ],
)
def test_check_finds_what_cannot_be_built(layers, words):
    space = make(*layers)
    with pytest.raises(InputError) as caught:
        space.check()
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_block_registered_anew_is_used(monkeypatch):
    decisions = {"layers.0.channels": 8}
    before = make({"block": "conv", "channels": choice(8)}).candidate(decisions).architecture
    price = cost(before)
    monkeypatch.setitem(BLOCKS, "conv", BLOCKS["depthwise_separable"])
    after = make({"block": "conv", "channels": choice(8)}).candidate(decisions).architecture
    assert cost(after) != price
    with pytest.raises(InputError, match="has no option 'groups'"):
        make({"block": "conv", "channels": 8, "groups": choice(1)}).check()
