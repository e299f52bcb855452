"""From a description to an architecture: rounding, repeats, inputs, and one clear error for each mistake."""

import pytest

from spaces import build, decode
from spaces.errors import InputError


def describe(*layers, **top):
    return {"in_channels": 3, "num_classes": 10, "resolution": 32, "layers": [*layers], **top}


def conv(channels=None, **options):
    stated = {} if channels is None else {"channels": channels}
    return {"block": "conv", **stated, **options}


def widths(*layers, **top):
    return [layer.out_channels for layer in decode(describe(*layers, **top)).layers[:-1]]


@pytest.mark.parametrize(
    ("layers", "top", "expected", "remark"),
    [
        ([conv(20)], {}, [20], "a fixed count stays, whatever the divisor"),
        ([conv(20)], {"width_multiplier": 1.0}, [20], "and at a multiplier of 1"),
        ([conv(32)], {"width_multiplier": 0.75}, [24], "multiplied"),
        ([conv(20)], {"width_multiplier": 0.5}, [16], "10, to the nearest multiple of 8, not below 90%"),
        ([conv(24)], {"width_multiplier": 0.5, "channel_divisor": 4}, [12], "another divisor"),
        ([conv(24)], {"width_multiplier": 0.5, "channel_divisor": 32}, [32], "never to nothing"),
        ([conv(32, groups=1), conv(32, groups=3)], {"width_multiplier": 0.5}, [24, 24], "to a multiple of 8 and of 3"),
        (
            [conv(32), {"block": "pool"}, conv(48, groups=3)],
            {"width_multiplier": 0.5},
            [24, 24, 24],
            "seen through a pool",
        ),
        ([conv(24, width="fixed"), conv(24)], {"width_multiplier": 2}, [24, 48], "fixed"),
        ([conv(24, width="at_least_one")], {"width_multiplier": 0.5}, [24], "at least one: not narrowed"),
        ([conv(24, width="at_least_one")], {"width_multiplier": 2}, [48], "at least one: widened"),
        ([conv({"at_width": {0.5: 11, 1: 22}})], {"width_multiplier": 0.5}, [11], "a table is never rounded"),
        (
            [conv({"base": 128, "increment": 128, "period": 2, "position": i}) for i in range(8)],
            {},
            [128, 128, 256, 256, 384, 384, 512, 512],
            "the modules of SqueezeNet, table 1",
        ),
        ([conv({"base": 32, "increment": 8, "period": 1, "position": 1})], {"width_multiplier": 0.6}, [24], "and then"),
        ([conv(16), conv()], {}, [16, 16], "as many as the input where none are stated"),
        ([conv("num_classes")], {"width_multiplier": 0.5}, [10], "classes are not multiplied"),
    ],
)
def test_channels(layers, top, expected, remark):
    assert widths(*layers, **top) == expected, remark


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([conv(20), conv(30, groups=3)], ["layers.0: 20", "multiple of 3", "layers.1 (3)", "nearest: 18 or 21"]),
        ([conv(16), conv(20, groups=8)], ["layers.1: 20", "multiple of 8", "nearest: 16 or 24"]),
        ([conv(16), conv(4, groups=8)], ["layers.1: 4", "nearest: 8"]),
        ([conv(20), {"block": "pool"}, conv(30, groups=3)], ["layers.0: 20", "layers.2 (3)"]),
        ([conv(groups=2)], ["the image's 3 channels are not a multiple of 2", "layers.0 (2)"]),
        ([conv(16), conv("num_classes", groups=4)], ["layers.1: its 10 channels are not a multiple of 4"]),
        ([conv({"at_width": {1: 6}}), conv(8, groups=4)], ["layers.0: 6", "nearest: 4 or 8"]),
    ],
)
def test_fixed_channels_that_fixed_groups_do_not_divide_are_refused(layers, words):
    with pytest.raises(InputError) as caught:
        decode(describe(*layers), "net")
    assert all(word in str(caught.value) for word in ["net: ", *words]), caught.value


def test_repetitions_share_everything_but_the_stride():
    first, second, third, _ = decode(describe(conv(16, stride=2, repeat=3, kernel_size=5))).layers
    assert (first.in_channels, first.stride) == (3, 2)
    assert second == third
    assert (second.in_channels, second.stride, second.keywords) == (16, 1, {"kernel_size": 5})


@pytest.mark.parametrize(
    ("repeat", "multiplier", "num"), [(2, 1.0, 2), (2, 1.2, 3), (3, 1.1, 4), (10, 1.1, 11), (4, 0.5, 2), (1, 0.1, 1)]
)
def test_depth_multiplies_stated_repeats_and_rounds_up(repeat, multiplier, num):
    layers = decode(describe(conv(8), conv(16, repeat=repeat), depth_multiplier=multiplier)).layers
    assert len(layers) == 1 + num + 1


@pytest.mark.parametrize(
    ("resolution", "multiplier", "expected"),
    [(32, 1, (32, 32)), ([20, 33], 0.5, (10, 17)), ((8, 8), 1.3, (10, 10)), (224, 0.571, (128, 128))],
)
def test_resolution_is_multiplied_then_rounded(resolution, multiplier, expected):
    description = describe(conv(8), resolution=resolution, resolution_multiplier=multiplier)
    assert decode(description).resolution == expected


def test_inputs_by_name_by_distance_and_of_the_image():
    layers = decode(
        describe(
            conv(8, name="a"),
            conv(16, inputs=["image"]),
            {"block": "concat", "inputs": ["a", -1, "image"]},
            conv(8, inputs=[-9]),
            {"block": "concat", "inputs": [-1, -2]},
        )
    ).layers
    assert [layer.inputs for layer in layers] == [(-1,), (-2,), (-2, -1, -3), (-4,), (-1, -2), (-1,)]
    assert layers[2].in_channels == (8, 16, 3)
    assert layers[2].out_channels == 27
    assert layers[4].in_channels == (8, 27)


def test_repetitions_read_the_one_before_and_what_else_the_layer_reads():
    cell = {
        "block": "nasnet_cell",
        "channels": 16,
        "steps": [[["sep3", "h"], ["identity", "p"]]],
        "inputs": [-1, -2],
        "repeat": 2,
    }
    layers = decode(describe(conv(8), cell)).layers
    assert [layer.inputs for layer in layers] == [(-1,), (-1, -2), (-1, -2), (-1,)]
    assert [layer.in_channels for layer in layers[1:3]] == [(8, 3), (16, 8)]


def test_a_name_stands_for_the_last_repetition():
    layers = decode(describe(conv(8, name="a", repeat=2), conv(16), conv(8, inputs=["a"]))).layers
    assert len(layers) == 4  # nobody reads the 16 channels
    assert layers[2].inputs == (-1,)


def test_layers_nobody_reads_and_identities_that_change_nothing_are_left_out():
    layers = decode(
        describe(
            conv(8, name="a"),
            {"block": "identity", "name": "same", "repeat": 2},
            conv(16),
            conv(12, inputs=["same"]),
            {"block": "concat", "inputs": ["same", -1, "a"]},
            {"block": "identity", "channels": 16},
        )
    ).layers
    assert [layer.block for layer in layers] == ["conv", "conv", "concat", "identity", "head"]
    assert layers[2].inputs == (-2, -1, -2)


def test_options_inside_the_block_win_over_those_beside_it():
    assert decode(describe({"block": {"conv": {"kernel_size": 5}}, "kernel_size": 1, "channels": 8})).layers[
        0
    ].keywords == {"kernel_size": 5}


def test_the_networks_activation_is_that_of_blocks_that_state_none():
    head = {"hidden": [16]}
    layers = decode(
        describe(conv(8), conv(8, activation=None), {"block": "pool"}, activation="swish", head=head)
    ).layers
    assert [layer.keywords.get("activation", "default") for layer in layers] == ["swish", None, "default", "swish"]
    assert decode(describe(conv(8), activation="swish")).layers[-1].keywords == {}  # nothing in this head has one


MISTAKES = [
    (describe(conv(8), layer=3), ["unknown key 'layer'", "did you mean 'layers'?"]),
    (describe(conv(8), **{"width": 1}), ["unknown key 'width'", "width_multiplier"]),
    ({**describe(), 7: 1}, ["unknown key '7'"]),
    ({"layers": None}, ["layers must be a list", "None"]),
    ([conv(8)], ["a network is a mapping"]),
    (describe("conv"), ["layers.0: a layer is a mapping with a block", "'conv'"]),
    (describe(None), ["layers.0: a layer is a mapping", "None"]),
    (describe({"channels": 8}), ["layers.0: a layer is a mapping with a block"]),
    (describe({"block": "konv", "channels": 8}), ["layers.0.block: unknown block 'konv'", "did you mean 'conv'?"]),
    (describe({"block": ["conv"]}), ["layers.0.block: unknown block"]),
    (describe({"block": {1: {}}}), ["layers.0.block: unknown block '1'"]),
    (describe({"block": {"conv": {}, "pool": {}}}), ["layers.0.block: names one block"]),
    (describe({"block": {"conv": 3}}), ["layers.0.block.conv: options are a mapping", "3"]),
    (describe({"block": {"conv": {"channels": 8}}}), ["'channels' is no option of a block", "beside `block:`"]),
    (describe(conv(8, kernel=3)), ["layers.0: block 'conv' has no option 'kernel'", "did you mean 'kernel_size'?"]),
    (describe(conv(8, size=3)), ["block 'conv' has no option 'size'"]),
    (describe(conv(8, **{"chanels": 3})), ["did you mean 'channels'?"]),
    (describe({"block": "inception", "channels": 8}), ["block 'inception' needs the option 'branches'"]),
    (describe(conv(0)), ["layers.0: channels must be a whole number of at least 1", "0"]),
    (describe(conv(8.0)), ["channels must be a whole number"]),
    (describe(conv(True)), ["channels must be a whole number", "True"]),
    (describe(conv({"at_width": {}})), ["at_width maps width multipliers to channels"]),
    (describe(conv({"at_width": {0.5: 8}})), ["no published width at width_multiplier 1", "there are 0.5"]),
    (
        describe(conv({"base": 8, "increment": 8, "period": 0, "position": 0})),
        ["layers.0: channels that grow need whole numbers", "'period': 0"],
    ),
    (describe(conv({"base": 8, "increment": 8})), ["channels must be a whole number", "{base: 128, increment: 128"]),
    (describe(conv(8, stride=0)), ["stride must be a whole number of at least 1", "0"]),
    (describe(conv(8, repeat=0)), ["repeat must be a whole number of at least 1", "0"]),
    (describe(conv(8, repeat="two")), ["repeat must be", "'two'"]),
    (describe(conv(8, width="wide")), ["unknown width 'wide'", "scaled"]),
    (describe(conv(8, name=["a"])), ["a name is a text", "['a']"]),
    (describe(conv(8, name="a"), conv(8, name="a")), ["layers.1: the name 'a' is taken"]),
    (describe(conv(8, name="image")), ["the name 'image' is taken"]),
    (describe(conv(8, inputs=["stem"])), ["layers.0: inputs name no layer before it: 'stem'"]),
    (describe(conv(8, name="stem"), conv(8, inputs=["sten"])), ["did you mean 'stem'?"]),
    (describe(conv(8, inputs=[])), ["inputs lists names"]),
    (describe(conv(8, inputs=[0])), ["inputs lists names", "[0]"]),
    (describe(conv(8, inputs="image")), ["inputs lists names", "'image'"]),
    (
        describe(conv(8, name="a"), {"block": "concat", "inputs": ["a", "image"], "repeat": 2}),
        ["layers.1: 2 repetitions would all read a, image", "-1"],
    ),
    (
        describe(conv(8), {"block": "nasnet_cell", "steps": [[["sep3", "h"], ["sep3", "p"]]], "inputs": [-1, -2]}),
        ["state its channels"],
    ),
    (describe(conv(8, groups=0)), ["layers.0: block 'conv' cannot take {'groups': 0}", "at least 1"]),
    (describe(conv(8, groups="two")), ["layers.0: block 'conv' cannot take {'groups': 'two'}"]),
    (describe(conv(8), head={"pol": "avg"}), ["head: block 'head' has no option 'pol'", "did you mean 'pool'?"]),
    (describe(conv(8), head=["avg"]), ["head: a head is a mapping"]),
    (describe(conv(8), width_multiplier=0), ["width_multiplier must be a number above zero", "0"]),
    (describe(conv(8), width_multiplier="1"), ["width_multiplier must be a number above zero", "'1'"]),
    (describe(conv(8), width_multiplier=0.01), ["width_multiplier 0.01 leaves no channel of 8", "at least 0.125"]),
    (describe(conv(8), depth_multiplier=-1), ["depth_multiplier must be a number above zero"]),
    (describe(conv(8), resolution_multiplier=None), ["resolution_multiplier must be a number above zero", "None"]),
    (describe(conv(8), resolution_multiplier=0.01), ["resolution_multiplier 0.01 leaves no pixel of [32, 32]"]),
    (describe(conv(8), resolution=[32]), ["resolution is one side in pixels or [height, width]", "[32]"]),
    (describe(conv(8), resolution=0), ["resolution is one side", "0"]),
    (describe(conv(8), resolution=None), ["resolution is missing"]),
    (describe(conv(8), in_channels=None), ["in_channels is missing"]),
    (describe(conv(8), num_classes=None), ["num_classes is missing"]),
    (describe(conv(8), num_classes=0), ["num_classes must be a whole number of at least 1", "0"]),
    (describe(conv(8), channel_divisor=0), ["channel_divisor must be a whole number", "0"]),
    (describe(conv({"choice": [8, 16]})), ["layers.0.channels is open", "only a search space"]),
    (describe(conv(8), width_multiplier={"float": [0.5, 1]}), ["width_multiplier is open"]),
    # more than can be written out, or than any network has
    (describe(conv(8, repeat=10**9)), ["layers.0.repeat", "1000000000"]),
    (describe(conv(8, repeat=10**6)), ["layers.0: repeat 1,000,000", "3,000"]),
    (describe(conv(8), *[conv(8)] * 3000), ["layers.3000: repeat 1", "3,000"]),
    (describe(conv(8, repeat=10), depth_multiplier=1e6), ["layers.0: repeat 10,000,000", "3,000"]),
    (describe(conv(10**9)), ["layers.0.channels: 1000000000", "1,048,576"]),
    (describe(conv(1e300)), ["layers.0.channels: 1e+300"]),
    (describe(conv(10**5), width_multiplier=1e5), ["layers.0: more channels", "1,048,576"]),
    (
        describe(conv(8), *[{"block": "concat", "inputs": [-1, -1]}] * 60, conv(8, groups=4)),
        ["layers.18: more channels"],
    ),
    (
        describe(conv(8, groups=1009), conv(8, groups=1013), width_multiplier=2.0, channel_divisor=1021),
        ["layers.0", "1009"],
    ),
    (describe(conv(8, kernel_size=99999999999999999999)), ["layers.0.kernel_size", "64 bits"]),
    (describe(conv(8, kernel_size=float("nan"))), ["layers.0.kernel_size: nan"]),
    (describe(conv(8, kernel_size=float("inf"))), ["layers.0.kernel_size: inf"]),
    (describe(conv(8, kernel_size=True)), ["layers.0: kernel_size", "is a number", "True"]),
    (describe(conv(8, group_size=True)), ["layers.0: group_size", "is a number", "True"]),
    (describe(conv(8, norm=1)), ["layers.0: norm", "true or false", "1"]),
    (describe(conv(8, bias=3)), ["layers.0: bias", "true or false", "3"]),
    (describe(conv(8), resolution=10**9), ["resolution: 1000000000"]),
    (describe(conv(8), resolution_multiplier=1e5), ["resolution 3200000x3200000", "65,536"]),
]


def test_many_ways_to_a_map_are_asked_once():
    """Each of 50 pairs of layers reads the one before it twice: 2^50 ways lead from the last to the first."""
    layers = [conv(8)]
    for _ in range(50):
        layers += [{"block": "concat", "inputs": [-1, -1], "channels": 16}, conv(8)]
    assert len(decode(describe(*layers, conv(8, groups=4))).layers) == 103


@pytest.mark.parametrize(("description", "words"), MISTAKES)
def test_one_clear_error_for_each_mistake(description, words):
    with pytest.raises(InputError) as caught:
        decode(description, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (describe(conv(8, stride=64)), ["layers.0 (conv) of a 32x32 image", "stride 64 on a 32x32 map"]),
        (describe(*[conv(8, stride=2)] * 7), ["layers.5 (conv)", "stride 2 on a 1x1 map", "larger resolution"]),
        (describe(conv(8, kernel_size=5, padding=0), resolution=4), ["layers.0 (conv)", "its kernel eats the 4x4 map"]),
        (describe(conv(8), {"block": "pool", "channels": 4}), ["layers.1 (pool)", "8 channels", "4"]),
        (describe(conv(8, activation="rleu")), ["layers.0 (conv)", "unknown activation 'rleu'"]),
        (describe(conv(8, activation=["relu"])), ["layers.0 (conv)"]),
        (describe(conv(8, kernel_size="three")), ["layers.0 (conv)"]),
        (describe(conv(8), head={"pool": "mean"}), ["head (head)", "unknown pool 'mean'", "avg"]),
        (describe(conv(8), head={"pool_size": 10**5}), ["head (head)", "pooled bins", "25,600"]),
        (describe(conv(8), head={"hidden": [8] * 1000}), ["head (head)", "hidden layers 1,000", "200"]),
        (describe(conv(8, kernel_size=[True, 3])), ["layers.0 (conv)", "[True, 3]"]),
        (
            describe({"block": "xception", "channels": 8, "convs": 10**5}),
            ["layers.0 (xception)", "convs 100,000", "200"],
        ),
        (describe(conv(8), {"block": "local_response_norm", "window": 10**6}), ["layers.1", "window 1,000,000"]),
        (
            describe(conv(8, name="a"), conv(8, stride=2), {"block": "concat", "inputs": ["a", -1]}),
            ["layers.2 (concat)", "32x32, 16x16"],
        ),
    ],
)
def test_what_a_block_refuses_names_the_layer(description, words):
    architecture = decode(description, "my.yaml")
    with pytest.raises(InputError) as caught:
        build(architecture)
    assert all(word in str(caught.value) for word in ["my.yaml: ", *words]), caught.value
