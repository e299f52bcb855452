"""Xception's unit: the contract, and the counts of its flows."""

import pytest
import torch

from spaces.blocks.xception import SeparableConv, XceptionUnit
from tests.spaces.blocks.contract import check_block, count


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (7, 9), {}),
        (8, 16, 2, (7, 10), {"convs": 2, "leading_activation": False}),
        (12, 20, 2, (8, 5), {"convs": 2, "widen": "last", "activation": "prelu"}),
        (6, 9, 1, (5, 5), {"convs": 1, "kernel_size": 5, "activation": "prelu"}),
        (8, 8, 2, (6, 6), {"kernel_size": 2, "activation": "swish"}),
        (6, 9, 1, (5, 5), {"convs": 2, "leading_activation": False, "activation": "prelu"}),
    ],
)
def test_unit_contract(in_channels, out_channels, stride, size, options):
    check_block("xception", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 24, 1, (7, 9), {}),
        (5, 7, 2, (7, 9), {"kernel_size": 2, "activation": "prelu"}),
        (3, 8, 1, (4, 4), {"kernel_size": [1, 7]}),
    ],
)
def test_separable_contract(in_channels, out_channels, stride, size, options):
    check_block("separable_conv", in_channels, out_channels, stride, size, **options)


def test_middle_flow():
    """Figure 5: three separable convolutions of 728 maps: 3 (9 C + C² + 2 C) parameters."""
    assert count(XceptionUnit(728, 728), 728, (19, 19)).params == 1_613_976


def test_the_last_strided_unit_widens_at_its_end():
    """Figure 5, exit flow: 728 -> 728 -> 1024."""
    unit = XceptionUnit(728, 1024, 2, convs=2, widen="last")
    convs = [module for module in unit.layers if isinstance(module, SeparableConv)]
    assert [conv.depthwise.out_channels for conv in convs] == [728, 728]
    assert [conv.pointwise[0].out_channels for conv in convs] == [728, 1024]


def test_the_leading_activation_leaves_the_shortcut_its_input():
    unit = XceptionUnit(4, 4)
    x = torch.randn(1, 4, 3, 3)
    before = x.clone()
    unit(x)
    assert x.equal(before)


@pytest.mark.parametrize(
    ("options", "message"), [({"widen": "middle"}, "valid: first, last"), ({"convs": 0}, "at least 1")]
)
def test_impossible_units_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        XceptionUnit(4, 4, **options)
