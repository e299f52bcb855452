"""The head: the contract, and the literature's heads counted by hand."""

import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.head import Head, pool_bins
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "size", "options"),
    [
        (8, 10, (7, 5), {}),
        (8, 10, (7, 5), {"pool": "max", "bias": False}),
        (8, 10, (1, 1), {"dropout": 0.2}),
        (4, 5, (6, 9), {"pool_size": 3, "hidden": [12, 8], "dropout": 0.5}),
        (4, 5, (6, 9), {"pool": "max", "pool_size": 2, "hidden": [6], "activation": "prelu"}),
        (4, 5, (7, 9), {"pool": "pyramid"}),
        (4, 5, (3, 2), {"pool": "pyramid", "levels": [1, 3], "hidden": [6], "activation": "h_swish"}),
        (8, 5, (4, 4), {"hidden": [12], "hidden_groups": 4, "hidden_bias": False, "activation": None}),
        (8, 5, (4, 4), {"hidden": [12, 6], "hidden_norm": True, "hidden_bias": False}),
        (8, 8, (4, 5), {"linear": False, "dropout": 0.1}),
        (8, 8, (4, 5), {"pool": None, "linear": False}),
    ],
)
def test_contract(in_channels, out_channels, size, options):
    check_block("head", in_channels, out_channels, 1, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "options", "flops", "params"),
    [
        # VGG: fc6 25,088 x 4,096, fc7 4,096 x 4,096, fc8 4,096 x 1,000
        (512, {"pool_size": 7, "hidden": [4096, 4096]}, 123_633_664, 123_642_856),
        # MobileNetV3-Large: 960 -> 1,280 -> 1,000
        (960, {"hidden": [1280], "activation": "h_swish"}, 2_508_800, 2_511_080),
        # DiCENet: 8 -> 16 in 4 groups without bias, then 1,000 classes
        (8, {"hidden": [16], "hidden_groups": 4, "hidden_bias": False, "activation": None}, 16_032, 17_032),
        # spatial pyramid of 1 + 4 + 16 bins
        (256, {"pool": "pyramid"}, 5_376_000, 5_377_000),
    ],
)
def test_published_heads(in_channels, options, flops, params):
    assert price("head", in_channels, 1000, 1, (7, 7), **options)[:3] == (flops, params, (1, 1))


def test_pyramid_takes_several_input_sizes():
    head = Head(4, 3, pool="pyramid", levels=[1, 2, 4])
    assert {head(torch.randn(2, 4, *size)).shape for size in [(13, 13), (10, 7), (2, 3)]} == {(2, 3)}


@pytest.mark.parametrize("size", [(7, 7), (5, 9), (2, 13)])
@pytest.mark.parametrize("bins", [1, 2, 4, 7])
def test_bins_are_those_of_adaptive_pooling(size, bins):
    x = torch.randn(2, 3, *size)
    assert torch.equal(pool_bins(x, bins, "max"), F.adaptive_max_pool2d(x, bins))
    assert torch.allclose(pool_bins(x, bins, "avg"), F.adaptive_avg_pool2d(x, bins), atol=1e-6)


def test_pyramid_bins_are_maxima_of_the_quarters():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert Head(1, 5, pool="pyramid", levels=[1, 2]).pool(x).tolist() == [[15, 5, 7, 13, 15]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((8, 0), {}, "at least one class, not 0"),
        ((8, 4, 2), {}, "stride 1, not 2"),
        ((8, 4), {"pool": "sum"}, "unknown pool 'sum'"),
        ((8, 4), {"pool": None}, "pool null goes with linear false"),
        ((8, 8), {"linear": False, "hidden": [4]}, "linear false goes without them"),
        ((8, 4), {"linear": False}, "the 8 features are the logits, not 4"),
        ((8, 4), {"pool": "pyramid", "levels": [0]}, "at least one bin"),
        ((6, 4), {"hidden": [8], "hidden_groups": 4}, "hidden_groups 4 do not divide the 6 features"),
        ((8, 4), {"hidden": [6], "hidden_groups": 4}, "hidden_groups 4 do not divide the 6 hidden units"),
    ],
)
def test_impossible_heads_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Head(*arguments, **options)
