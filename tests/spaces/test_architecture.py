"""Architectures: one form for equal networks, and a description that reads back."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import spaces
from spaces import Architecture, Layer, decode
from spaces.architecture import freeze, thaw


def describe(*layers, **top):
    return {"in_channels": 3, "num_classes": 10, "resolution": 16, "layers": [*layers], **top}


CONV = {"block": "conv", "channels": 8}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (describe(CONV), describe({"block": "conv", "channels": 8, "kernel_size": 3, "stride": 1})),
        (describe(CONV), describe({"block": {"conv": {"kernel_size": [3, 3]}}, "channels": 8, "repeat": 1})),
        (
            describe(CONV),
            describe({**CONV, "name": "stem", "inputs": ["image"], "width": "fixed"}, resolution=[16, 16]),
        ),
        (describe(CONV, CONV), describe({**CONV, "repeat": 2})),
        (describe(CONV, CONV), describe({**CONV, "repeat": 1}, depth_multiplier=1.5)),
        (describe(CONV, CONV), describe({**CONV, "name": "a"}, {**CONV, "inputs": ["a"]})),
        (describe(CONV), describe({**CONV, "channels": 16}, width_multiplier=0.5)),
        (describe(CONV), describe(CONV, resolution=32, resolution_multiplier=0.5)),
        (describe({**CONV, "activation": "swish"}), describe(CONV, activation="swish")),
        (
            describe({"block": "inverted_residual", "channels": 8, "expand_ratio": 4}),
            describe({"block": "inverted_residual", "channels": 8, "expand_ratio": 4.0, "squeeze_ratio": 0.0}),
        ),
        (describe(CONV), describe(CONV, {"block": "identity"}, {"block": "identity", "channels": 8, "repeat": 3})),
        (
            describe(CONV),
            describe(CONV, {**CONV, "channels": 24, "name": "unread"}, {"block": "identity", "inputs": [-2]}),
        ),
        (
            describe(CONV, head={"dropout": 0.0, "pool": "avg"}),
            describe(CONV, published={"top1": 1.0}, parameters={"p": 2}),
        ),
    ],
)
def test_equal_networks_are_equal_however_they_are_written(one, other):
    one, other = decode(one, "one file"), decode(other, "another file")
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "other",
    [
        describe({**CONV, "stride": 2}),
        describe({**CONV, "channels": 16}),
        describe({**CONV, "kernel_size": [3, 1]}),
        describe({**CONV, "bias": False}),  # the default, null, depends on the normalisation
        describe(CONV, CONV),
        describe(CONV, resolution=[16, 17]),
        describe(CONV, in_channels=1),
        describe(CONV, num_classes=11),
        describe(CONV, head={"dropout": 0.1}),
        describe(CONV, {"block": "identity", "stride": 2}),
    ],
)
def test_other_networks_have_other_digests(other):
    assert decode(other).digest != decode(describe(CONV)).digest


def test_digests_stay_the_same_for_ever():
    """Studies refer to networks by them."""
    architecture = Architecture(1, (8, 8), (Layer("conv", 1, 8, 2, (("kernel_size", (5, 3)),)), Layer("head", 8, 10)))
    assert architecture.digest == "14a51272dec079b8"


@pytest.mark.parametrize(
    "description",
    [
        describe(CONV),
        describe(),
        describe(
            {**CONV, "groups": 1, "kernel_size": [1, 3]}, {"block": "pool", "stride": 2}, head={"hidden": [32, 16]}
        ),
        describe(
            {**CONV, "name": "a"}, CONV, {"block": "concat", "inputs": ["a", -1, "image"]}, {**CONV, "inputs": ["a"]}
        ),
    ],
)
def test_the_description_reads_back_through_json(description):
    architecture = decode(description)
    again = decode(json.loads(json.dumps(architecture.to_dict())))
    assert again == architecture
    assert again.digest == architecture.digest


def test_inputs_are_relative_so_that_digests_do_not_hang_on_names():
    first = describe({**CONV, "name": "a"}, {**CONV, "name": "b"}, {"block": "concat", "inputs": ["a", "b"]})
    second = describe({**CONV, "name": "x"}, {**CONV, "name": "y"}, {"block": "concat", "inputs": [-2, -1]})
    assert decode(first) == decode(second)
    assert decode(first).layers[2].inputs == (-2, -1)


def test_architectures_and_layers_are_frozen():
    architecture = decode(describe(CONV))
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture.in_channels = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture.layers[0].stride = 2  # type: ignore[misc]


def test_num_classes_is_what_the_head_gives():
    assert decode(describe(CONV, num_classes=7)).num_classes == 7


@pytest.mark.parametrize(
    "value", [3, 0.5, None, True, "max", [1, [2, 3]], {"b": [1, 2], "a": {"c": None}}, {1: "x"}, [], {}]
)
def test_freezing_keeps_the_data(value):
    hash(freeze(value))
    assert thaw(freeze(value)) == value


def test_frozen_values_have_one_form():
    assert freeze({"b": 2.0, "a": (1,)}) == freeze({"a": [1.0], "b": 2})
    assert freeze([1, 2]) != freeze([2, 1])


def test_a_layer_from_another_process_is_the_same_key():
    """Texts hash differently in every process, so a layer's hash must not travel with it."""
    layer = "Layer('conv', 3, 8, 2, where='a.yaml')"
    code = f"import pickle, sys; from spaces import Layer; sys.stdout.buffer.write(pickle.dumps({layer}))"
    root = Path(spaces.__file__).parents[1]
    sent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root).stdout
    layer = pickle.loads(sent)
    assert {Layer("conv", 3, 8, 2): "found"}[layer] == "found"
    assert layer.where == "a.yaml"
