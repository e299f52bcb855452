"""The builder: plain modules that compute what the description says."""

import pytest
import torch
from torch import nn

from spaces import build, cost, decode
from spaces.errors import InputError

IMAGE = {"in_channels": 3, "num_classes": 10, "resolution": 16}


def make(*layers):
    torch.manual_seed(0)
    return build(decode({**IMAGE, "layers": [*layers]})).eval()


def conv(channels, **more):
    return {"block": "conv", "channels": channels, **more}


def test_a_chain_is_a_sequential():
    network = make(conv(8, stride=2), {"block": "inverted_residual", "channels": 8, "repeat": 2})
    assert type(network) is nn.Sequential
    assert [type(block).__name__ for block in network] == ["Conv", "InvertedResidual", "InvertedResidual", "Head"]
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 10)


def test_a_graph_reads_the_maps_it_names():
    network = make(
        conv(4, name="a"),
        conv(6, inputs=["image"]),
        {"block": "concat", "inputs": ["a", -1, "image"], "norm": False},
        conv(5, inputs=["a"], name="b"),
        {"block": "concat", "inputs": ["b", -2], "norm": False},
    )
    a, b, _, c, _, head = network.blocks
    x = torch.randn(2, 3, 16, 16)
    expected = head(torch.cat([c(a(x)), a(x), b(x), x], 1))
    assert torch.equal(network(x), expected)


def test_every_parameter_of_a_graph_gets_a_gradient():
    network = make(
        conv(4, name="a"),
        conv(6),
        {"block": "concat", "inputs": [-1, "a"]},
        conv(9),
        conv(
            4,
            inputs=[
                "a",
            ][:1],
        ),
    )
    network.train()(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_same_seed_builds_the_same_network():
    layers = [conv(4), {"block": "shufflenet_v2", "channels": 8, "stride": 2}]
    one, other = make(*layers).state_dict(), make(*layers).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_block_refuses_is_an_error_of_the_user():
    architecture = decode({**IMAGE, "layers": [conv(8, activation="rleu")]}, "mine.yaml")
    with pytest.raises(InputError, match=r"^mine.yaml: layers.0 \(conv\): unknown activation 'rleu'"):
        build(architecture)


def test_more_parameters_than_memory_holds_are_priced_and_not_built():
    architecture = decode({**IMAGE, "layers": [conv(2**20), conv(2**20, kernel_size=1)]}, "mine.yaml")
    assert cost(architecture).params > 2**40
    with pytest.raises(
        InputError, match=r"the network has 1,099,\d{3},\d{3},\d{3} parameters; 1,073,741,824 are the most"
    ):
        build(architecture)
