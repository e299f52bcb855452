"""Networks layer by layer, and the traits they differ in."""

from dataclasses import replace

from search.reporting.networks import gather_traits, read_network
from spaces import cost, network
from tests.search.reporting.fake import fake_record


def test_layers_add_up_to_the_network() -> None:
    for name in ("mobilenet_v2", "googlenet", "shufflenet_v1_g4"):
        architecture = network(name)
        drawn = read_network(architecture.to_dict())
        total = cost(architecture)
        assert drawn.problem is None
        assert sum(layer.flops for layer in drawn.layers) == total.flops
        assert sum(layer.params for layer in drawn.layers) == total.params
        assert len(drawn.layers) == len(architecture.layers)
        assert drawn.layers[-1].block == "head"


def test_a_network_that_no_longer_builds_is_told_not_raised() -> None:
    description = network("resnet20_cifar").to_dict()
    unknown = {**description, "layers": [{**description["layers"][0], "block": "of_another_time"}]}
    drawn = read_network(unknown)
    assert drawn.layers == ()
    assert "of_another_time" in str(drawn.problem)
    assert drawn.description == unknown
    assert read_network({"layers": 3}).problem
    assert read_network({}).problem


def test_traits_are_those_in_which_networks_differ() -> None:
    record = fake_record(30)
    chosen = {
        "a": network("mobilenet_v1").to_dict(),
        "b": network("shufflenet_v1_g4").to_dict(),
        "c": network("vgg11").to_dict(),
        "d": {"layers": [{"block": "gone"}]},
    }
    traits = gather_traits(replace(record, architectures=chosen))
    assert "3x3 filters" not in traits  # all have them
    assert traits["pointwise (1x1) convolutions"] == {"a": True, "b": True, "c": False}  # of b the very first
    assert traits["pointwise group convolutions"] == {"a": False, "b": True, "c": False}
    assert traits["depthwise_separable"] == {"a": True, "b": False, "c": False}


def test_gates_are_no_pointwise_convolutions() -> None:
    record = fake_record(1)
    with_gate = network("shufflenet_v1_g4").to_dict()
    gated = {**with_gate, "layers": [{"block": "conv", "channels": 8, "kernel_size": 3}]}
    plain = network("efficientnet_b0").to_dict()
    traits = gather_traits(replace(record, architectures={"a": gated, "b": plain}))
    assert traits["squeeze-and-excitation"] == {"a": False, "b": True}
