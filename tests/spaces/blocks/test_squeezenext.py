"""SqueezeNext: the contract in all forms of the unit, and the published counts."""

import pytest

from spaces.blocks.squeezenext import SqueezeNext
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (32, 32, 1, (9, 9), {}),
        (32, 32, 1, (7, 8), {"vertical_first": False, "kernel_size": 5}),
        (64, 32, 1, (5, 5), {}),  # narrowing
        (64, 32, 1, (5, 5), {"project_input": True}),
        (32, 64, 2, (7, 5), {}),
        (32, 64, 2, (7, 5), {"project_input": True, "groups": 2, "activation": "prelu"}),
        (64, 32, 1, (6, 6), {"groups": 2, "kernel_size": 2}),
        (10, 13, 1, (4, 4), {"activation": "h_swish"}),  # inner widths 5 and 2: rounded down
        (4, 8, 2, (4, 4), {"groups": 4}),  # inner widths never fall below the groups
    ],
)
def test_contract(in_channels, out_channels, stride, size, options):
    check_block("squeezenext", in_channels, out_channels, stride, size, **options)


def test_a_plain_unit_costs_a_quarter_of_a_convolution():
    # 2.25 C² weights against 9 C², and batch normalisation of 2.75 C maps
    cost = price("squeezenext", 64, 64, 1, (10, 10))
    assert cost.flops == 100 * 9 * 64**2 // 4
    assert cost.params - 2 * 176 == 9 * 64**2 // 4


def test_projected_input_is_what_the_body_reads():
    # v5's strided unit reduces the 64 projected maps by 2; the other form reduces the 32 input maps by 1
    first = SqueezeNext(32, 64, 2, project_input=True).body[0][0]
    assert (first.in_channels, first.out_channels, first.stride) == (64, 32, (1, 1))
    first = SqueezeNext(32, 64, 2).body[0][0]
    assert (first.in_channels, first.out_channels, first.stride) == (32, 32, (2, 2))


def test_groups_must_divide():
    with pytest.raises(ValueError, match="groups 3"):
        SqueezeNext(32, 32, groups=3)
