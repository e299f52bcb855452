"""Costs: exact sums, counted once for blocks that state none."""

import textwrap

import pytest
import torch
from torch import nn

from spaces import Cost, SearchSpace, build, cost, decode, layer_costs, operations, size_bytes
from spaces.blocks import BLOCKS, protocol
from spaces.costs import build_block
from spaces.errors import InputError
from spaces.operation import Convolution, Elementwise, Linear, Norm, Pool
from spaces.width_map import width_map
from tests.spaces.blocks.contract import check_axes, count


class Mixer(nn.Module):
    """A user's block: no `operations`, options without a star, anything else passed on."""

    num_made = 0

    def __init__(self, in_channels, out_channels, stride=1, kernel_size=3, extra_channels=0, **others):
        super().__init__()
        Mixer.num_made += 1
        self.conv = nn.Conv2d(
            in_channels, out_channels + extra_channels, kernel_size, stride, kernel_size // 2, **others
        )

    def forward(self, x):
        return self.conv(x).relu()


class Positions(nn.Module):
    """A user's block whose weights depend on the input's size and which reads two maps."""

    needs_size = True

    def __init__(self, in_channels, out_channels, stride=1, *, size):
        super().__init__()
        (height, width), _ = size
        self.bias = nn.Parameter(torch.zeros(1, out_channels, height, width))

    def forward(self, x, y):
        return x + y + self.bias


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(BLOCKS, "mixer", Mixer)
    monkeypatch.setitem(BLOCKS, "positions", Positions)


def describe(*layers, resolution=(9, 7)):
    return {"in_channels": 3, "num_classes": 10, "resolution": resolution, "layers": [*layers]}


def test_costs_by_hand():
    """9x7 pixels, then 5x4 after the stride: k² C O Q multiply-adds; two numbers a normalised channel."""
    network = decode(describe({"block": "conv", "channels": 8, "stride": 2}, {"block": "pool"}))
    conv = Cost(20 * 9 * 3 * 8, 9 * 3 * 8 + 2 * 8, (5, 4), 63 * 3 + 9 * 3 * 8 + 20 * 8)
    head = Cost(8 * 10, 8 * 10 + 10, (1, 1), 8 + 8 * 10 + 10)
    assert layer_costs(network) == [conv, Cost(0, 0, (5, 4), 0), head]
    assert cost(network)[:3] == (conv.flops + head.flops, conv.params + head.params, (1, 1))


def test_a_block_without_a_cost_is_counted_once():
    layer = {"block": "mixer", "channels": 8, "kernel_size": 5, "groups": 2}
    network = decode(describe({"block": "conv", "channels": 6}, layer))
    Mixer.num_made = 0
    assert layer_costs(network)[1] == Cost(
        63 * 25 * 6 * 8 // 2, 25 * 6 * 8 // 2 + 8, (9, 7), 63 * (6 + 8) + 25 * 6 * 8 // 2
    )
    assert cost(network) == cost(decode(network.to_dict()))
    assert Mixer.num_made == 1
    cost(decode(describe({"block": "conv", "channels": 6}, layer, resolution=(9, 8))))
    assert Mixer.num_made == 2  # another input size


def test_a_users_block_can_be_open():
    block = {"mixer": {"kernel_size": {"choice": [1, 3]}, "bias": {"choice": [True, False]}}}
    layers = [{"block": "conv", "channels": 8}, {"block": {"choice": [block, "identity"]}, "channels": 8}]
    space = SearchSpace(describe(*layers))
    space.check()
    assert space.size == 5
    chosen = {"layers.1.block": "mixer", "layers.1.block.mixer.kernel_size": 1, "layers.1.block.mixer.bias": False}
    assert layer_costs(space.candidate(chosen).architecture)[1].params == 64


def test_a_block_that_needs_sizes_is_told_them():
    stem = {"block": "conv", "channels": 8, "stride": 2}
    network = decode(describe(stem, {"block": "positions", "inputs": [-1, -1], "channels": 8}))
    assert layer_costs(network)[1] == Cost(0, 8 * 5 * 4, (5, 4), 0)
    assert build(network)(torch.zeros(1, 3, 9, 7)).shape == (1, 10)


def test_a_name_given_to_another_block_is_priced_anew(monkeypatch):
    network = decode(describe({"block": "mixer", "channels": 8}))
    before = cost(network)
    monkeypatch.setitem(
        BLOCKS, "mixer", type("Wide", (Mixer,), {"forward": lambda self, x: self.conv(self.conv(x)[:, :3])})
    )
    assert cost(network).flops == before.flops + 63 * 9 * 3 * 8


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"block": "mixer", "channels": 8, "extra_channels": 1}, ["layers.0 (mixer)", "gives 9 channels instead of 8"]),
        ({"block": "mixer", "channels": 8, "kernel_size": -1}, ["layers.0 (mixer)"]),
        ({"block": "mixer", "channels": 8, "grups": 2}, ["layers.0 (mixer)", "grups"]),
        ({"block": "conv", "channels": 8, "stride": 8}, ["9x7 image", "stride 8 on a 9x7 map", "below one pixel"]),
        ({"block": "conv", "channels": 8, "kernel_size": 9, "padding": 0}, ["kernel eats the 9x7 map"]),
    ],
)
def test_impossible_layers_are_named(layer, words):
    network = decode(describe(layer), "mine.yaml")
    with pytest.raises(InputError) as caught:
        cost(network)
    assert all(word in str(caught.value) for word in ["mine.yaml: layers.0", *words]), caught.value


def test_bytes_of_all_parameters_at_a_number_of_bits():
    network = decode(describe({"block": "conv", "channels": 8, "bias": True}))
    params = 9 * 3 * 8 + 3 * 8 + 8 * 10 + 10
    assert cost(network).params == params == 330
    assert [size_bytes(network, *bits) for bits in ((), (8,), (1,))] == [1320, 330, 42]


def test_operations_are_listed_layer_by_layer():
    network = decode(describe({"block": "conv", "channels": 8, "stride": 2}, {"block": "mixer", "channels": 8}))
    first, second, head = operations(network)
    assert [type(operation) for operation in first] == [Convolution, Norm, Elementwise]
    assert first[0][:10] == ("conv.0", (0,), 1, 3, 8, (9, 7), (5, 4), (3, 3), 1, False)
    assert second is None
    assert [(type(operation), operation.out_size) for operation in head] == [(Pool, (1, 1)), (Linear, (1, 1))]


def test_the_example_of_a_block_that_states_operations(monkeypatch):
    """Its price is what PyTorch counts, its parameters are in its map, and the width multiplier applies to its option."""
    _, _, code = protocol.__doc__.partition("    from torch")
    example, _, _ = f"    from torch{code}".partition("\nA method")
    names = {}
    exec(textwrap.dedent(example), names)
    monkeypatch.setitem(BLOCKS, "factorized", names["Factorized"])
    network = decode(
        describe({"block": "factorized", "inner": 48, "channels": 8, "stride": 2}, resolution=8)
        | {"width_multiplier": 0.5}
    )
    layer = network.layers[0]
    assert (layer.out_channels, layer.keywords) == (8, {"inner": 24})
    module = build(network)[0]
    assert layer_costs(network)[0] == count(module, 3, (8, 8))
    check_axes(width_map(layer, (8, 8)), module)


class Silent(Mixer):
    """A user's block whose errors say nothing."""

    def forward(self, x):
        raise AssertionError


def test_an_error_that_says_nothing_is_told_by_its_type_and_line(monkeypatch):
    monkeypatch.setitem(BLOCKS, "silent", Silent)
    with pytest.raises(InputError, match=r"AssertionError \(.*test_costs.py, line \d+\)$"):
        layer_costs(decode(describe({"block": "silent", "channels": 4})))


def test_a_built_block_that_says_nothing_is_told_too(monkeypatch):
    def refuse(*arguments, **options):
        raise ValueError

    monkeypatch.setitem(BLOCKS, "silent", type("Silent", (Mixer,), {"__init__": refuse}))
    layer = decode(describe({"block": "silent", "channels": 4})).layers[0]
    with pytest.raises(InputError, match=r"ValueError \(.*test_costs.py, line \d+\)$"):
        build_block(layer, (9, 7))
