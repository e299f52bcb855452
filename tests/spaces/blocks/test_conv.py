"""The plain layers: the contract, closed forms, and what PyTorch's own layers give."""

import math

import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.conv import Conv, Dropout, Identity, LocalResponseNorm, Pool
from tests.spaces.blocks.contract import check_block


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (3, 8, 2, (15, 9), {}),
        (8, 12, 1, (7, 5), {"kernel_size": 1, "activation": None}),
        (8, 8, 1, (7, 5), {"kernel_size": 2, "groups": 4}),
        (8, 8, 2, (7, 5), {"kernel_size": 2, "group_size": 1, "activation": "prelu"}),
        (6, 12, 2, (8, 11), {"kernel_size": 5, "group_size": 2}),
        (6, 4, 1, (5, 6), {"kernel_size": [1, 3], "activation": "h_swish"}),
        (6, 4, 2, (5, 6), {"kernel_size": [7, 1], "activation": "swish"}),
        (4, 4, 1, (9, 8), {"dilation": 2, "norm": False}),
        (4, 4, 2, (9, 8), {"kernel_size": 2, "dilation": 3}),
        (3, 8, 4, (23, 31), {"kernel_size": 11, "padding": 2, "norm": False}),  # AlexNet's stem
        (3, 8, 2, (15, 16), {"padding": 0, "bias": True}),
        (3, 8, 2, (15, 16), {"kernel_size": [1, 7], "padding": [0, 3], "norm": False, "bias": False}),
    ],
)
def test_contract_of_conv(in_channels, out_channels, stride, size, options):
    check_block("conv", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3},
        {"kernel_size": 4},
        {"kernel_size": 5, "count_include_pad": False},
        {"kernel_size": 3, "padding": 0, "ceil_mode": True},
        {"kernel_size": 3, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "padding": 1},
    ],
)
@pytest.mark.parametrize("size", [(7, 10), (5, 6)])
def test_contract_of_pool(kind, stride, size, options):
    check_block("pool", 6, 6, stride, size, kind=kind, **options)


@pytest.mark.parametrize(
    ("name", "out_channels", "stride", "options"),
    [
        ("identity", 6, 1, {}),
        ("identity", 8, 1, {}),
        ("identity", 6, 2, {}),
        ("activation", 6, 1, {}),
        ("activation", 6, 1, {"activation": "prelu"}),
        ("local_response_norm", 6, 1, {"window": 3}),
        ("dropout", 6, 1, {"rate": 0.3}),
    ],
)
def test_contract_of_plain_layers(name, out_channels, stride, options):
    check_block(name, 6, out_channels, stride, (5, 4), **options)


@pytest.mark.parametrize("side", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_plain_pool_has_ceil_of_side_over_stride(side, kernel_size, stride, kind):
    pool = Pool(4, 4, stride, kind=kind, kernel_size=kernel_size)
    x = -1 - torch.rand(2, 4, side, side + 3)  # zeros of a padding would win the maximum
    y = pool(x)
    assert y.shape[2:] == (math.ceil(side / stride), math.ceil((side + 3) / stride))
    if kind == "max":
        assert y.max() <= -1


def test_pool_two_by_two_halves_even_sides_without_padding():
    x = torch.randn(1, 3, 6, 8)
    assert torch.equal(Pool(3, 3, 2, kernel_size=2)(x), F.max_pool2d(x, 2))
    assert torch.equal(Pool(3, 3, 2, kind="avg", kernel_size=2)(x), F.avg_pool2d(x, 2))


def test_even_pool_keeps_a_constant_image():
    assert torch.allclose(Pool(4, 4, 1, kind="avg", kernel_size=2)(torch.ones(1, 4, 5, 5)), torch.ones(1, 4, 5, 5))


def test_identity_is_the_input_itself():
    x = torch.randn(2, 4, 3, 3)
    assert Identity(4, 4)(x) is x


def test_depthwise_group_size_is_as_many_groups_as_channels():
    assert Conv(6, 6, kernel_size=3, group_size=1).conv[0].groups == 6


def test_local_response_norm_is_the_papers_equation():
    x = torch.randn(1, 7, 1, 1)
    flat = x.flatten()
    expected = [
        float(flat[i]) / (2 + 1e-2 * sum(float(v) ** 2 for v in flat[max(0, i - 2) : i + 3])) ** 0.75 for i in range(7)
    ]
    assert torch.allclose(LocalResponseNorm(7, 7, alpha=1e-2)(x).flatten(), torch.tensor(expected))


def test_dropout_passes_everything_after_training():
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(Dropout(3, 3, rate=0.9).eval()(x), x)


@pytest.mark.parametrize(
    ("block", "arguments", "options", "message"),
    [
        (Conv, (6, 8), {"groups": 4}, "groups 4 do not divide the 6 input channels"),
        (Conv, (6, 8), {"group_size": 4}, "group_size 4 does not divide the 6 input channels"),
        (Conv, (6, 8), {"group_size": 1}, "groups 6 do not divide the 8 output channels"),
        (Conv, (8, 8), {"group_size": 1, "groups": 2}, "state one of them"),
        (Conv, (8, 8), {"activation": "rleu"}, "unknown activation 'rleu'"),
        (Pool, (8, 6), {}, "pool keeps its 8 channels, it cannot give 6"),
        (Pool, (8, 8), {"kind": "min"}, "unknown kind of pool 'min'"),
        (Pool, (8, 8), {"padding": 2}, "padding 2 is more than half of the kernel_size 3"),
        (LocalResponseNorm, (8, 8, 2), {}, "stride 1, not 2"),
        (Dropout, (8, 4), {}, "dropout keeps its 8 channels"),
    ],
)
def test_impossible_layers_are_refused(block, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        block(*arguments, **options)
