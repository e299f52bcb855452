"""Networks and spaces by name or from files."""

import pytest

from spaces import cost, decode, load_space, network, networks, published
from spaces.errors import InputError
from spaces.reference import describe, read_yaml

SPACE = """
in_channels: 1
num_classes: 10
resolution: 8
parameters: {k: {choice: [3, 5], name: k}}
layers:
  - {block: conv, channels: 8, kernel_size: "${parameters.k}"}
  - {block: conv, channels: {at_width: {0.5: 8, 1.0: 16}}, kernel_size: "${parameters.k}"}
"""


def test_names_are_those_of_the_files():
    assert {"mobilenet_v2", "shufflenet_v2", "resnet50"} <= set(networks())
    assert networks() == sorted(networks())


def test_overrides_replace_top_level_values():
    small = network("mobilenet_v2", width_multiplier=0.5, resolution=(96, 64), in_channels=1, num_classes=7)
    assert (small.in_channels, small.num_classes, small.resolution) == (1, 7, (96, 64))
    assert cost(small).params < cost(network("mobilenet_v2")).params


def test_parameters_of_a_network_are_overridden_by_their_name():
    stated = describe("espnet_c")["parameters"]
    deeper = network("espnet_c", q=stated["q"] + 3)
    assert len(deeper.layers) == len(network("espnet_c").layers) + 3


def test_published_figures_name_their_source():
    assert published("mobilenet_v2")["top1"] == 72.0
    assert published("mobilenet_v2")["source"]


def test_a_network_of_the_literature_reads_back():
    architecture = network("shufflenet_v2", width_multiplier=0.5)
    assert decode(architecture.to_dict()) == architecture


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("mobilnet_v2", {}, ["unknown network 'mobilnet_v2'", "did you mean 'mobilenet_v2'?"]),
        (
            "mobilenet_v2",
            {"widht_multiplier": 1},
            ["unknown key 'widht_multiplier'", "did you mean 'width_multiplier'?"],
        ),
        ("mobilenet_v2", {"q": 1}, ["network 'mobilenet_v2': unknown key 'q'"]),
        ("mobilenet_v2", {"width_multiplier": 0.01}, ["network 'mobilenet_v2'", "leaves no channel"]),
        ("mobilenet_v2", {"width_multiplier": {"choice": [1]}}, ["network 'mobilenet_v2': width_multiplier is open"]),
        ("mobilenet_v2", {"resolution": object()}, ["network 'mobilenet_v2': resolution cannot be"]),
        ("shufflenet_v2", {"width_multiplier": 0.7}, ["no published width at width_multiplier 0.7", "0.5, 1, 1.5, 2"]),
    ],
)
def test_mistakes_are_named(name, overrides, words):
    with pytest.raises(InputError) as caught:
        network(name, **overrides)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_resolution_the_strides_eat_is_refused():
    with pytest.raises(
        InputError, match=r"network 'mobilenet_v2': layers.\d+ .* of a 8x8 image: stride 2 on a 1x1 map"
    ):
        cost(network("mobilenet_v2", resolution=8))


def test_a_space_from_a_file_ties_what_refers_to_one_parameter(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE)
    space = load_space(path, {"lr": {"float": [0.1, 1]}}, num_classes=3)
    assert [decision.name for decision in space.decisions] == ["k", "train.lr"]
    architecture = space.candidate({"k": 5, "train.lr": 0.5}).architecture
    assert [layer.keywords for layer in architecture.layers] == [{"kernel_size": 5}, {"kernel_size": 5}, {}]
    assert architecture.num_classes == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no file"]),
        ("layers: [", ["not a readable YAML file"]),
        ("- 1\n- 2", ["a mapping is needed"]),
        ("3", ["not a readable YAML file"]),
        ("layers: ${somewhere.else}", ["a reference leads nowhere", "somewhere"]),
        ("a: 1\na: 2", ["not a readable YAML file", "duplicate key a"]),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert all(word in str(caught.value) for word in ["bad.yaml", *words]), caught.value
    assert "\n" not in str(caught.value)


def test_an_unknown_space_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown space 'shufle_agg'; did you mean 'shuffle_agg'\?"):
        load_space("shufle_agg")
