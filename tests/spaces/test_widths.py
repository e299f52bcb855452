"""The width multiplier on channels, on options that count channels, and published tables."""

import pytest

import spaces
from spaces.decoding import decode
from spaces.errors import InputError


def describe(layer, **top):
    image = {"in_channels": 3, "num_classes": 10, "resolution": 16}
    return {**image, "channel_divisor": 4, "layers": [{"block": "conv", "channels": 16}, layer], **top}


def hidden(**top):
    layer = {"block": "ghost_bottleneck", "channels": 24, "hidden_channels": 184, "width": top.pop("width", "scaled")}
    return decode(describe(layer, **top)).layers[1].keywords["hidden_channels"]


@pytest.mark.parametrize(
    ("top", "channels"),
    [
        ({}, 184),
        ({"width_multiplier": 0.5}, 92),
        ({"width_multiplier": 0.35}, 64),
        ({"width_multiplier": 0.5, "width": "fixed"}, 184),
        ({"width_multiplier": 0.5, "width": "at_least_one"}, 184),
    ],
)
def test_options_that_count_channels_are_scaled_like_channels(top, channels):
    assert hidden(**top) == channels


def test_a_table_may_stand_for_any_value_of_an_option():
    head = {"hidden": [{"at_width": {1.0: 64, 2.4: 80}}], "dropout": {"at_width": {1.0: 0, 2.4: 0.2}}}
    small = decode(describe({"block": "conv", "channels": 24}, head=head)).layers[-1]
    assert small.keywords == {"hidden": [64]}  # a dropout of 0 is the default, so it is left out
    large = decode(describe({"block": "conv", "channels": 24}, head=head, width_multiplier=2.4)).layers[-1]
    assert large.keywords == {"hidden": [80], "dropout": 0.2}


def test_a_width_without_an_entry_names_those_there_are():
    head = {"hidden": {"at_width": {1.0: [64], 2.4: [80]}}}
    with pytest.raises(InputError, match=r"head: no published width at width_multiplier 2; there are 1, 2\.4"):
        decode(describe({"block": "conv", "channels": 24}, head=head, width_multiplier=2))


def test_a_scaled_network_reads_back_from_its_description():
    """What is written out is scaled already: reading it must not scale it again."""
    network = spaces.network("ghostnet", width_multiplier=0.35, resolution=64)
    assert decode(network.to_dict()) == network
