"""DiCENet's unit: the contract, and that its convolutions run along the dimensions they claim."""

import pytest
import torch

from spaces.blocks.dice import DiceUnit, DimConv, DimFuse, ShuffleFuse, resize
from tests.spaces.blocks.contract import check_block, count


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (7, 9), {}),
        (24, 48, 2, (9, 6), {}),
        (7, 12, 1, (5, 4), {"kernel_size": 2, "activation": "relu"}),
        (6, 20, 2, (5, 8), {"kernel_size": 5, "activation": "h_swish"}),  # not twice the input
        (16, 8, 1, (4, 4), {}),  # narrower than its input
        (1, 2, 1, (1, 1), {}),
        (16, 24, 1, (5, 6), {"fuse": "shuffle_agg", "fuse_groups": 4}),
        (8, 16, 2, (5, 6), {"fuse": "shuffle_agg", "fuse_groups": 2, "kernel_size": 2}),
    ],
)
def test_contract(in_channels, out_channels, stride, size, options):
    check_block("dice", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    (
        "member",
        "width",
        "plane",
    ),  # which convolution, its maps among the three of a channel, and what one pixel may reach
    [
        ("over_channels", 0, (slice(3, 4), slice(2, 5), slice(4, 7))),  # one channel: a patch of rows and columns
        ("over_rows", 1, (slice(2, 5), slice(3, 4), slice(4, 7))),  # one row: channels and columns
        ("over_columns", 2, (slice(2, 5), slice(2, 5), slice(5, 6))),  # one column: channels and rows
    ],
)
def test_each_convolution_runs_over_its_own_planes(member, width, plane):
    """One bright voxel lights up a 3x3 patch of the plane it lies in, in each of the three directions."""
    conv = DimConv(7, (6, 9))
    for module in (conv.over_channels, conv.over_rows, conv.over_columns):
        torch.nn.init.ones_(module.weight)
    conv.norm_act = torch.nn.Identity()
    volume = torch.zeros(1, 7, 6, 9)
    volume[0, 3, 3, 5] = 1
    answer = conv(volume)[0].view(7, 3, 6, 9)[:, width]
    expected = torch.zeros(7, 6, 9)
    expected[plane] = 1
    assert answer.equal(expected)


def test_each_row_and_column_has_a_kernel_of_its_own():
    conv = DimConv(4, (5, 6))
    assert [c.weight.shape[0] for c in (conv.over_channels, conv.over_rows, conv.over_columns)] == [4, 5, 6]


def test_local_fusion_sees_the_three_maps_of_its_own_channel():
    conv, fuse = DimConv(4, (5, 5)), DimFuse(4).eval()
    volume = torch.rand(1, 4, 5, 5, requires_grad=True)
    shuffled = conv.shuffle(torch.cat([volume, 10 * volume, 100 * volume], 1))
    (gradient,) = torch.autograd.grad(fuse.local(shuffled)[:, 2].sum(), volume)
    assert gradient.abs().sum((0, 2, 3)).ne(0).tolist() == [False, False, True, False]


def test_another_size_than_the_built_one_is_resized_there_and_back():
    """The parameters stay, and only the convolutions over rows and columns still cost what they cost at the built size."""
    conv = DimConv(4, (8, 6))
    assert conv(torch.rand(2, 4, 8, 6)).shape == (2, 12, 8, 6)
    for size in ((5, 9), (16, 3)):
        assert conv(torch.rand(2, 4, *size)).shape == (2, 12, *size)
    built, other = count(DimConv(4, (8, 6)), 4, (8, 6)), count(DimConv(4, (8, 6)), 4, (4, 3))
    assert built.params == other.params
    assert built.flops == 27 * 4 * 8 * 6
    assert other.flops == 9 * 4 * (4 * 3 + 8 * 3 + 4 * 6)


def test_resize_averages_down_and_interpolates_up():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert resize(ramp, (4, 2))[0, 0, 0].tolist() == [0.5, 2.5]
    assert resize(ramp, (4, 7))[0, 0, 0].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])
    assert resize(ramp, (4, 4)) is ramp


def test_half_of_the_input_passes_untouched():
    """Stride 1: output channels 0, 2, 4, ... are the first half of the input."""
    unit = DiceUnit(8, 12, size=(4, 4))
    x = torch.rand(1, 8, 4, 4)
    assert unit(x)[:, 0:8:2].equal(x[:, :4])


def test_either_fusion_sees_all_channels():
    """DimFuse through the means of its gate, `shuffle_agg` pixel by pixel: a far pixel's channels matter to the gate alone."""
    x = torch.rand(1, 24, 9, 9, requires_grad=True)
    mixed = ShuffleFuse(8, groups=2)
    mixed.mix.aggregation.aggregate = "mean"  # a maximum would let one map of each line through
    reached = {}
    for name, fuse in (("dim_fuse", DimFuse(8)), ("shuffle_agg", mixed)):
        (gradient,) = torch.autograd.grad(fuse.eval()(x)[0, 0, 0, 0], x)
        reached[name] = gradient[0].ne(0)
        assert reached[name][:, :3, :3].any(2).any(1).all()
    assert reached["dim_fuse"][:, 8, 8].all()
    assert not reached["shuffle_agg"][:, 8, 8].any()


def test_published_formula():
    """9 (D + H + W) + 9 D + 6 D + 12 D + 2 D ⌊D/4⌋ parameters, H W D (27 + 3 + 9) + 2 D ⌊D/4⌋ multiply-adds."""
    d, size = 58, (28, 28)
    unit = torch.nn.Sequential(DimConv(d, size), DimFuse(d))
    cost = count(unit, d, size)
    assert cost.params == 9 * (58 + 28 + 28) + 27 * 58 + 2 * 58 * 14
    assert cost.flops == 28 * 28 * 58 * 39 + 2 * 58 * 14


@pytest.mark.parametrize(
    ("out_channels", "options", "message"),
    [(7, {}, "an even number of output channels, not 7"), (8, {"fuse": "sum"}, "valid: dim_fuse, shuffle_agg")],
)
def test_impossible_units_are_refused(out_channels, options, message):
    with pytest.raises(ValueError, match=message):
        DiceUnit(8, out_channels, size=(4, 4), **options)
