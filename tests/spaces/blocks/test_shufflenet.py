"""ShuffleNet's units: the contract, the published stages counted by hand, and what passes untouched."""

import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.shufflenet import ShuffleNetV1, ShuffleNetV2
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (24, 24, 1, (7, 5), {}),  # added
        (12, 24, 2, (7, 6), {}),  # beside the pooled input
        (12, 24, 1, (7, 6), {"activation": "prelu"}),  # beside the input
        (24, 24, 2, (5, 8), {"groups": 2}),  # alone
        (32, 16, 1, (4, 4), {"groups": 4, "activation": "h_swish"}),  # alone
        (8, 32, 2, (9, 9), {"groups": 8, "kernel_size": 5}),
        (10, 16, 2, (6, 7), {"groups": 2, "first_groups": 1, "kernel_size": 2}),
        (9, 20, 2, (1, 1), {"groups": 1}),
    ],
)
def test_contract_of_v1(in_channels, out_channels, stride, size, options):
    check_block("shufflenet_v1", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize("strided", ["authors", "torchvision"])
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (7, 5), {}),  # split
        (16, 16, 2, (7, 5), {"kernel_size": 2}),
        (3, 10, 2, (9, 6), {"activation": "prelu"}),
        (6, 16, 1, (4, 5), {"kernel_size": 5}),
        (16, 6, 2, (5, 5), {"activation": "h_swish"}),  # narrower: the input's branch cannot keep its channels
        (10, 10, 1, (1, 2), {"kernel_size": 2}),
    ],
)
def test_contract_of_v2(in_channels, out_channels, stride, size, options, strided):
    check_block("shufflenet_v2", in_channels, out_channels, stride, size, strided=strided, **options)


@pytest.mark.parametrize(
    ("groups", "width"), [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)]
)  # table 1 of the paper: stage 2 by groups; m = O / 4
def test_first_unit_of_v1_at_224_pixels(groups, width):
    middle, branch = width // 4, width - 24
    flops = 56 * 56 * 24 * middle + 28 * 28 * (9 * middle + middle * branch // groups)
    params = 24 * middle + 9 * middle + middle * branch // groups + 4 * middle + 2 * branch
    assert price("shufflenet_v1", 24, width, 2, (56, 56), groups=groups, first_groups=1)[:3] == (
        flops,
        params,
        (28, 28),
    )


@pytest.mark.parametrize(
    ("in_channels", "stride", "strided", "weights", "norms"),
    [
        (116, 1, "authors", 2 * 58 * 58 + 9 * 58, 6 * 58),
        # the shortcut keeps 24, the branch adds 92: 9·24 + 24² + 24·58 + 9·58 + 58·92
        (24, 2, "authors", 216 + 576 + 1392 + 522 + 5336, 48 + 48 + 116 + 116 + 184),
        # both end at 58: 9·24 + 24·58 + 24·58 + 9·58 + 58²
        (24, 2, "torchvision", 216 + 1392 + 1392 + 522 + 3364, 48 + 116 + 116 + 116 + 116),
    ],
)
def test_units_of_v2_at_width_116(in_channels, stride, strided, weights, norms):
    cost = price("shufflenet_v2", in_channels, 116, stride, (28, 28), strided=strided)
    assert cost.params == weights + norms
    if stride == 1:
        assert cost.flops == 28 * 28 * weights


def test_both_strided_units_of_v2_are_one_at_twice_the_channels():
    assert price("shufflenet_v2", 16, 32, 2, (9, 9), strided="authors") == price(
        "shufflenet_v2", 16, 32, 2, (9, 9), strided="torchvision"
    )


def test_v2_passes_half_of_its_channels_untouched():
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(ShuffleNetV2(8, 8)(x)[:, ::2], x[:, :4])


def test_v1_joins_the_pooled_input_when_striding():
    x = torch.rand(2, 6, 7, 5)
    y = ShuffleNetV1(6, 24, 2, groups=3)(x)
    assert torch.allclose(y[:, :6], F.avg_pool2d(x, 3, 2, 1))


def test_v1_mixes_groups_in_two_convolutions():
    """Any output of the branch depends on inputs of every group, which without the shuffle it would not."""
    torch.manual_seed(0)
    unit = ShuffleNetV1(24, 48, 2, groups=3, activation=None).eval()
    x = torch.randn(1, 24, 1, 1, requires_grad=True)
    unit.branch(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert all(group.abs().sum() > 0 for group in x.grad.flatten().chunk(3))


@pytest.mark.parametrize(
    ("block", "arguments", "options", "message"),
    [
        (ShuffleNetV1, (12, 22), {"groups": 1}, "22 output channels needs a multiple of 4"),
        (ShuffleNetV1, (8, 24), {"groups": 3}, "groups 3 do not divide the 8 input channels"),
        (ShuffleNetV1, (6, 20), {"groups": 2}, "groups 2 do not divide the 5 output channels"),
        (ShuffleNetV2, (8, 9), {}, "an even number of output channels, not 9"),
        (ShuffleNetV2, (8, 10), {"strided": "paper"}, "unknown strided unit 'paper'"),
    ],
)
def test_impossible_units_are_refused(block, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        block(*arguments, **options)
