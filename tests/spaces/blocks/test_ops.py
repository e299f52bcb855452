"""The bricks: the shuffle as a permutation, padding without drift, sizes as PyTorch computes them, rounding."""

import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.ops import (
    SqueezeExcitation,
    SymmetricPad2d,
    activate,
    channel_shuffle,
    conv2d,
    conv_norm_act,
    make_divisible,
)
from spaces.operation import Input, Operations
from spaces.sizes import window_size

INPUT = Input(0, 8, (4, 4))


@pytest.mark.parametrize(("channels", "groups"), [(12, 1), (12, 3), (12, 4), (12, 12), (16, 2)])
def test_shuffle_is_a_permutation_and_its_inverse_has_groups_and_width_exchanged(channels, groups):
    x = torch.randn(2, channels, 3, 2)
    y = channel_shuffle(x, groups)
    assert sorted(y[0, :, 0, 0].tolist()) == sorted(x[0, :, 0, 0].tolist())
    assert torch.equal(channel_shuffle(y, channels // groups), x)


def test_shuffle_lays_a_groups_neighbours_into_different_groups():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def centre(x):
    """(rows, columns): mean position of the mass of (1, C, H, W) maps of non-negative values."""
    mass = x.sum((0, 1))
    rows, columns = torch.arange(x.shape[2]) * 1.0, torch.arange(x.shape[3]) * 1.0
    return float((mass.sum(1) * rows).sum() / mass.sum()), float((mass.sum(0) * columns).sum() / mass.sum())


@pytest.mark.parametrize("kernel_size", [2, 3, 4, (2, 3), (1, 2)])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_stack_of_even_filters_keeps_a_centred_impulse_centred(kernel_size, groups):
    layers = [conv2d(8, 8, kernel_size, groups=groups) for _ in range(5)]
    for layer in layers:
        for weight in layer.parameters():
            torch.nn.init.ones_(weight)
    x = torch.zeros(1, 8, 31, 31)
    x[:, :, 15, 15] = 1
    with torch.no_grad():
        y = torch.nn.Sequential(*layers)(x)
    assert y.shape == x.shape
    assert centre(y) == pytest.approx((15, 15), abs=1e-3)


def test_symmetric_padding_sends_four_channels_to_four_corners():
    y = SymmetricPad2d(4, (1, 1))(torch.ones(1, 4, 1, 1))
    assert sorted(tuple(channel.flatten().tolist()) for channel in y[0]) == [
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 1, 0, 0),
        (1, 0, 0, 0),
    ]


@pytest.mark.parametrize("side", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolutions_give_ceil_of_side_over_stride(side, kernel_size, dilation, stride):
    conv = conv2d(4, 4, kernel_size, stride, dilation=dilation)
    assert conv(torch.zeros(1, 4, side, side + 2)).shape[2:] == (-(-side // stride), -(-(side + 2) // stride))


@pytest.mark.parametrize("size", [(7, 8), (5, 12)])
@pytest.mark.parametrize("kernel_size", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil", [False, True])
def test_window_sizes_are_pytorchs(size, kernel_size, stride, padding, ceil):
    pooled = F.max_pool2d(torch.zeros(1, 1, *size), kernel_size, stride, padding, ceil_mode=ceil)
    assert window_size(size, kernel_size, stride, padding, ceil=ceil) == tuple(pooled.shape[2:])


@pytest.mark.parametrize(
    ("value", "divisor", "rounded"),
    [(16, 8, 16), (20, 8, 24), (19, 8, 24), (11, 8, 16), (3, 8, 8), (46, 8, 48), (33, 32, 32), (0.4, 1, 1)],
)  # 19 and 11 would lose more than a tenth at 16 and 8
def test_rounding_never_loses_more_than_a_tenth(value, divisor, rounded):
    assert make_divisible(value, divisor) == rounded


@pytest.mark.parametrize("activation", ["relu", "relu6", "h_swish", "swish", "prelu", None])
def test_a_layer_leaves_its_input_as_it_was(activation):
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    kept = x.detach().clone()
    y = x * 1
    (y + conv_norm_act(4, 4, 3, activation=activation)(y)).sum().backward()
    assert torch.equal(y, kept)
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_squeeze_excitation_scales_whole_channels():
    x = torch.rand(2, 4, 3, 3) + 1
    scale = SqueezeExcitation(4, 2)(x) / x
    assert torch.allclose(scale, scale[:, :, :1, :1].expand_as(scale))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: activate("reLU", 4), "unknown activation 'reLU'"),
        (lambda: conv2d(6, 8, groups=4), "groups 4 do not divide the 6 input channels"),
        (lambda: conv2d(8, 6, groups=4), "groups 4 do not divide the 6 output channels"),
        (lambda: conv2d(8, 8, 0), "kernel_size must be at least 1, not 0"),
        (
            lambda: Operations(8, (4, 4)).convolution("", INPUT, 8, [3, 0]),
            r"kernel_size must be at least 1, not \[3, 0\]",
        ),
        (
            lambda: Operations(8, (4, 4)).convolution("", INPUT, 8, "3x3"),
            "a whole number or a pair of them is needed, not '3x3'",
        ),
        (lambda: SqueezeExcitation(4, 2, gate="tanh"), "unknown gate 'tanh'"),
    ],
)
def test_impossible_bricks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
