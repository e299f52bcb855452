"""Residual units: the contract, and where stride and shortcut sit."""

import pytest
import torch

from spaces.blocks.resnet import PadShortcut, ResNetBasic, ResNetBottleneck
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (8, 8), {}),
        (16, 24, 2, (7, 9), {}),
        (16, 24, 2, (7, 9), {"shortcut": "pad", "kernel_size": 5}),
        (16, 24, 2, (7, 9), {"shortcut": "avg_pool", "squeeze_ratio": 0.25, "kernel_size": 2}),
        (16, 24, 1, (4, 5), {"shortcut": "avg_pool", "activation": "prelu"}),
        (24, 16, 2, (1, 1), {"shortcut": "avg_pool"}),
        (24, 16, 2, (5, 1), {"shortcut": "pad", "activation": "swish"}),
    ],
)
def test_basic_contract(in_channels, out_channels, stride, size, options):
    check_block("resnet_basic", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (64, 256, 1, (7, 7), {}),
        (32, 64, 2, (7, 9), {"stride_on": "first"}),
        (32, 64, 2, (7, 9), {"stride_on": "middle", "kernel_size": 5}),
        (256, 256, 1, (5, 5), {"groups": 32, "base_width": 4}),
        (64, 128, 2, (5, 6), {"groups": 4, "base_width": 32, "kernel_size": 2, "activation": "prelu"}),
        (64, 64, 1, (5, 6), {"shortcut": "avg_pool", "squeeze_ratio": 0.25}),
        (64, 128, 2, (5, 7), {"shortcut": "avg_pool", "squeeze_ratio": 0.25, "activation": "h_swish"}),
        (16, 16, 1, (5, 5), {"groups": 8, "base_width": 4}),  # p · base / 64 below one: one channel a group
        (10, 7, 1, (3, 3), {"shortcut": "pad"}),
    ],
)
def test_bottleneck_contract(in_channels, out_channels, stride, size, options):
    check_block("resnet_bottleneck", in_channels, out_channels, stride, size, **options)


def test_resnext_unit_of_the_paper():
    # figure 3c: 256 -> 128 -> (3x3, 32 groups of 4) -> 128 -> 256; pointwise convolutions are 93.4 % of it
    cost = price("resnet_bottleneck", 256, 256, 1, (1, 1), groups=32, base_width=4)
    assert cost.flops == 256 * 128 + 9 * 128 * 4 + 128 * 256
    assert round(2 * 256 * 128 / cost.flops, 3) == 0.934


def test_stride_on_the_first_convolution_is_cheaper_and_as_large():
    first = price("resnet_bottleneck", 256, 512, 2, (56, 56), stride_on="first")
    middle = price("resnet_bottleneck", 256, 512, 2, (56, 56), stride_on="middle")
    assert middle.flops - first.flops == 3 * 28 * 28 * 256 * 128
    assert middle.params == first.params
    assert middle.size == first.size == (28, 28)


def test_pad_shortcut_subsamples_and_adds_zeros():
    x = torch.randn(2, 3, 5, 4)
    y = PadShortcut(3, 5, 2)(x)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert y.shape == (2, 5, 3, 2)
    assert not y[:, 3:].any()


@pytest.mark.parametrize(
    ("block", "options"), [(ResNetBasic, {"shortcut": "none"}), (ResNetBottleneck, {"stride_on": "last"})]
)
def test_unknown_words_are_refused(block, options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        block(8, 8, 2, **options)
