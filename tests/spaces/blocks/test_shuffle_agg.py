"""The aggregation's lines, what the stack mixes, and the block's contract."""

import itertools

import pytest
import torch

from spaces import Cost
from spaces.blocks.shuffle_agg import (
    LineAggregation,
    ShuffleAgg,
    aggregation_lines,
    group_counts,
    last_width,
    mixes_all_channels,
    stack_widths,
)
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize("aggregate", ["max", "mean"])
@pytest.mark.parametrize("kernel_size", [2, 3, 5])
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (8, 8, 1, (5, 7), {}),  # residual
        (8, 8, 1, (5, 7), {"residual": False, "depth": 1}),
        (8, 12, 2, (7, 4), {"groups": 2, "widen": 2, "activation": "h_swish"}),
        (16, 16, 1, (4, 4), {"groups": 8, "depth": 3, "squeeze_ratio": 0.5}),
        (16, 10, 2, (1, 3), {"groups": [16, 4], "activation": "prelu"}),
        (9, 7, 1, (3, 5), {"groups": [3, 1, 2], "depth": 3, "squeeze_ratio": 2}),
        (6, 24, 2, (6, 5), {"groups": [1, 16], "widen": 1.5}),
    ],
)
def test_contract(in_channels, out_channels, stride, size, options, kernel_size, aggregate):
    options = {"kernel_size": kernel_size, "aggregate": aggregate, **options}
    check_block("shuffle_agg", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize("groups", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("widen", [1, 1.5, 2])
def test_no_two_outputs_aggregate_the_same_set_and_each_spans_all_groups(groups, widen):
    for out_channels in (1, 2, 3, 7, 16, 24, 64, 100):
        lines = aggregation_lines(out_channels, groups, widen)
        width = last_width(out_channels, groups, widen)
        assert lines.shape == (out_channels, groups)
        assert len({frozenset(line) for line in lines.tolist()}) == out_channels
        assert torch.equal(lines // (width // groups), torch.arange(groups).expand(out_channels, groups))


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize("widen", [1, 2])
def test_every_map_of_the_last_layer_is_read(groups, widen):
    assert aggregation_lines(32, groups, widen).unique().tolist() == list(range(last_width(32, groups, widen)))


@pytest.mark.parametrize(
    ("out_channels", "groups", "widen", "width"),
    [
        (64, 8, 1, 64),
        (64, 8, 2, 128),
        (16, 8, 1, 32),  # 2 channels a group allow 4 lines: raised to 4, which allow 16
        (65, 2, 1, 66),  # whole groups
        (17, 16, 1, 80),  # 5 x 5 lines
    ],
)
def test_last_layer_is_wide_enough(out_channels, groups, widen, width):
    assert last_width(out_channels, groups, widen) == width


def test_lines_of_a_small_case():
    """n = 3 channels a group: the first three outputs go straight, the next step by one a group, the last by two."""
    assert aggregation_lines(9, 3).tolist() == [
        [0, 3, 6],
        [1, 4, 7],
        [2, 5, 8],
        [0, 4, 8],
        [1, 5, 6],
        [2, 3, 7],
        [0, 5, 7],
        [1, 3, 8],
        [2, 4, 6],
    ]


@pytest.mark.parametrize("aggregate", ["max", "mean"])
@pytest.mark.parametrize(
    ("out_channels", "groups", "widen"), [(12, 4, 1), (10, 3, 2), (5, 8, 1), (1, 2, 1), (2, 300, 1)]
)
def test_aggregation_and_its_gradient_equal_the_plain_ones(out_channels, groups, widen, aggregate, monkeypatch):
    monkeypatch.setattr("spaces.blocks.shuffle_agg.CHUNK", out_channels * 20 * 2)  # two images at a time
    torch.manual_seed(0)
    aggregation = LineAggregation(out_channels, groups, widen, aggregate)
    x = torch.randn(5, last_width(out_channels, groups, widen), 4, 5, requires_grad=True)
    gathered = x[:, aggregation_lines(out_channels, groups, widen)]  # (N, out, groups, H, W)
    plain = gathered.amax(2) if aggregate == "max" else gathered.mean(2)
    ours = aggregation(x)
    assert torch.allclose(ours, plain, atol=1e-6)
    assert torch.allclose(aggregation(x.detach()), plain, atol=1e-6)
    weights = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * weights).sum(), x)[0]
    assert torch.allclose(torch.autograd.grad((ours * weights).sum(), x)[0], expected, atol=1e-6)


def test_of_equal_values_one_gets_the_gradient():
    x = torch.zeros(1, 8, 1, 1, requires_grad=True)
    LineAggregation(4, 4)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 4


def seen_inputs(in_channels, groups, squeeze_ratio):
    """(last maps, inputs): which inputs reach which maps of the last layer, read off the gradients of a linear stack."""
    torch.manual_seed(0)
    block = ShuffleAgg(
        in_channels,
        64,
        kernel_size=1,
        groups=groups,
        depth=len(groups),
        squeeze_ratio=squeeze_ratio,
        activation=None,
    ).eval()
    jacobian = torch.autograd.functional.jacobian(block.stack, torch.randn(1, in_channels, 1, 1))
    return jacobian.reshape(-1, in_channels) != 0


@pytest.mark.parametrize(
    "groups", [*itertools.product([1, 2, 4, 8], [2, 4, 8]), (4, 4, 4), (8, 4, 2), (8, 8, 8), (2, 8, 4)]
)
@pytest.mark.parametrize("squeeze_ratio", [0.5, 1])
@pytest.mark.parametrize("in_channels", [8, 16, 32])
def test_stack_mixes_all_channels_exactly_when_its_group_widths_multiply_to_them(in_channels, groups, squeeze_ratio):
    widths = stack_widths(in_channels, 64, groups, squeeze_ratio)
    seen = seen_inputs(in_channels, groups, squeeze_ratio)
    product = 1
    for width, count in zip(widths, groups):
        product *= width // count
    assert seen.all() == (product >= in_channels) == mixes_all_channels(widths, groups)
    assert (seen.sum(1) == min(product, in_channels)).all()


def test_inner_widths_fit_the_groups_on_both_sides():
    assert stack_widths(32, 64, [4, 4, 4], 0.5) == [32, 16, 16, 64]
    assert stack_widths(32, 64, [8, 4, 2], 0.25) == [32, 8, 8, 64]
    assert stack_widths(30, 64, [3, 2], 1) == [30, 30, 64]
    assert stack_widths(30, 64, [3, 4], 0.2) == [30, 12, 64]  # 6 rounds to the least common multiple


def test_last_layer_costs_half_of_a_pointwise_convolution():
    """2x2 filters in 8 groups: k² / g = 1 / 2."""
    cost = price("shuffle_agg", 64, 64, 1, (10, 10), kernel_size=2, groups=8, depth=1)
    assert cost == Cost(100 * 64 * 64 // 2, 64 * 64 // 2 + 128, (10, 10), 100 * 128 + 64 * 64 // 2)


def test_residual_is_added_where_shapes_allow():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 4, 4)
    block = ShuffleAgg(8, 8).eval()
    assert torch.allclose(block(x) - x, block.aggregation(block.stack(x)), atol=1e-6)
    assert not ShuffleAgg(8, 8, 2).residual
    assert not ShuffleAgg(8, 12).residual
    assert not ShuffleAgg(8, 8, residual=False).residual


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_exported_block_computes_the_same(aggregate):
    block = ShuffleAgg(8, 8, kernel_size=2, groups=4, aggregate=aggregate).eval()
    x = torch.randn(2, 8, 5, 5)
    assert torch.allclose(torch.export.export(block, (x,)).module()(x), block(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 1}, "at least 2 groups to aggregate, not 1"),
        ({"groups": [4, 1]}, "at least 2 groups to aggregate, not 1"),
        ({"groups": [4, 4, 4]}, "depth 2 needs one number of groups a layer, not 3"),
        ({"depth": 0}, "depth 0 needs"),
        ({"groups": 3}, "groups 3 do not divide the 8 input channels"),
        ({"groups": 2, "widen": 3}, r"widen 3 must lie in \(0, 2\]"),
        ({"aggregate": "sum"}, "unknown aggregate 'sum'"),
    ],
)
def test_impossible_blocks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ShuffleAgg(8, 8, **options)


def test_groups_of_each_layer():
    assert group_counts(4, 3) == [4, 4, 4]
    assert group_counts([8, 2], 2) == [8, 2]
