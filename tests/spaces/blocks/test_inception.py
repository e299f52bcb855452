"""Inception modules: the contract, the papers' cells, and that branches align."""

import pytest
import torch
from torch import nn

from spaces.blocks.inception import Inception, InceptionResidual
from tests.spaces.blocks.contract import check_block, price

GOOGLENET_3A = [[{"1x1": 64}], [{"1x1": 96}, {"3x3": 128}], [{"1x1": 16}, {"5x5": 32}], ["max", {"1x1": 32}]]
V4_A = [
    [{"1x1": 96}],
    [{"1x1": 64}, {"3x3": 96}],
    [{"1x1": 64}, {"3x3": 96}, {"3x3": 96}],
    ["avg", {"1x1": 96}],
]
V4_B = [
    [{"1x1": 384}],
    [{"1x1": 192}, {"1x7": 224}, {"7x1": 256}],
    [{"1x1": 192}, {"7x1": 192}, {"1x7": 224}, {"7x1": 224}, {"1x7": 256}],
    ["avg", {"1x1": 128}],
]
V4_C = [
    [{"1x1": 256}],
    [{"1x1": 384}, [{"1x3": 256}, {"3x1": 256}]],
    [{"1x1": 384}, {"3x1": 448}, {"1x3": 512}, [{"1x3": 256}, {"3x1": 256}]],
    ["avg", {"1x1": 256}],
]
RESIDUAL_A = [[{"1x1": 32}], [{"1x1": 32}, {"3x3": 32}], [{"1x1": 32}, {"3x3": 48}, {"3x3": 64}]]
RESIDUAL_B = [[{"1x1": 192}], [{"1x1": 128}, {"1x7": 160}, {"7x1": 192}]]
RESIDUAL_C = [[{"1x1": 192}], [{"1x1": 192}, {"1x3": 224}, {"3x1": 256}]]
SMALL = [[{"1x1": 4}], [{"1x1": 3}, {"3x3": 8}], [{"2x2": 5}, [{"1x3": 2}, {"3x1": 3}]], ["avg", {"1x1": 2}]]
REDUCTION = [[{"3x3": 6}], [{"1x1": 3}, {"5x1": 4}, {"3x3": 6}], ["max"]]


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (8, 24, 1, (7, 9), {"branches": SMALL}),
        (8, 24, 2, (7, 9), {"branches": SMALL, "activation": "prelu"}),
        (8, 51, 1, (5, 4), {"branches": SMALL}),  # all widths about twice as large
        (8, 6, 2, (1, 1), {"branches": SMALL}),  # one channel a filter
        (8, 20, 2, (9, 8), {"branches": REDUCTION}),
        (8, 20, 2, (9, 8), {"branches": REDUCTION, "padding": "valid"}),
        (8, 14, 1, (9, 8), {"branches": REDUCTION, "padding": "valid"}),
        (8, 8, 2, (5, 6), {"branches": [["avg"], None]}),
        (8, 10, 2, (5, 6), {"branches": [[{"2x2": 10}, "max"], None, []]}),
    ],
)
def test_inception_contract(in_channels, out_channels, stride, size, options):
    check_block("inception", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (7, 9), {"branches": SMALL, "scale": 0.2}),
        (16, 16, 1, (1, 1), {"branches": SMALL, "out_activation": None}),
        (16, 24, 2, (7, 9), {"branches": SMALL, "activation": "swish", "out_activation": "prelu"}),
        (16, 16, 1, (4, 5), {"branches": RESIDUAL_A, "base_channels": 320}),
        (16, 16, 2, (4, 5), {"branches": [["max"], [{"1x1": 4}]], "base_channels": 4}),
    ],
)
def test_residual_contract(in_channels, out_channels, stride, size, options):
    check_block("inception_residual", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("channels", "branches", "params"),
    [(384, V4_A, 317_632), (1024, V4_B, 2_936_256), (1536, V4_C, 4_553_088)],
)
def test_cells_of_inception_v4(channels, branches, params):
    # parameters of the authors' cells, each of which keeps its number of channels
    assert Inception.default_out_channels(channels, branches=branches, padding="same") == channels
    assert price("inception", channels, channels, 1, (8, 8), branches=branches).params == params


@pytest.mark.parametrize(
    ("channels", "branches", "params"),
    [(320, RESIDUAL_A, 123_168), (1088, RESIDUAL_B, 1_126_784), (2080, RESIDUAL_C, 2_035_424)],
)
def test_cells_of_inception_resnet_v2(channels, branches, params):
    assert price("inception_residual", channels, channels, 1, (8, 8), branches=branches).params == params


def impulse_response(block, in_channels, side):
    """The block's response to a centred impulse, with all its filters positive: (channels, side', side')."""
    for parameter in block.parameters():
        nn.init.constant_(parameter, 1.0)
    impulse = torch.zeros(1, in_channels, side, side)
    impulse[..., side // 2, side // 2] = 1
    return block.eval()(impulse)[0].detach()


def centre(maps):
    """(row, column) of the maps' centre of mass, over all of them."""
    side = torch.arange(maps.shape[-1], dtype=maps.dtype)
    weights = maps.sum(0)
    rows, columns = (weights.sum(axis) @ side / weights.sum() for axis in (1, 0))
    return rows.item(), columns.item()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_branches_align(padding, stride):
    branches = [[{"3x3": 4}], [{"1x1": 4}, {"1x7": 4}, {"3x3": 4}], [{"5x5": 4}, {"7x1": 4}, {"3x3": 4}], ["avg"]]
    block = Inception(4, 16, stride, branches=branches, padding=padding)
    response = impulse_response(block, 4, 17)
    places = {centre(maps - maps.min()) for maps in response.split(4)}
    middle = (response.shape[-1] - 1) / 2
    assert {(round(row, 4), round(column, 4)) for row, column in places} == {(middle, middle)}


def test_even_filters_do_not_drift():
    block = Inception(4, 8, branches=[[{"2x2": 4}, {"2x2": 4}], [{"1x1": 4}, {"4x4": 4}]])
    for maps in impulse_response(block, 4, 13).split(4):
        row, column = centre(maps - maps.min())
        assert abs(row - 6) < 1e-4
        assert abs(column - 6) < 1e-4


def test_side_by_side_reads_the_same_maps():
    # a 1x3 and a 3x1 filter in parallel see a cross, in a chain they would see a square
    block = Inception(1, 2, branches=[[[{"1x3": 1}, {"3x1": 1}]]])
    row, column = (maps > maps.min() + 1e-6 for maps in impulse_response(block, 1, 5))
    assert row.nonzero().tolist() == [[2, 1], [2, 2], [2, 3]]
    assert column.nonzero().tolist() == [[1, 2], [2, 2], [3, 2]]


@pytest.mark.parametrize("factor", [0.25, 0.5, 2])
def test_widths_scale_together(factor):
    # a module of half the width is the module with half of every width
    scaled = [[op if op == "max" else {k: int(w * factor) for k, w in op.items()} for op in b] for b in GOOGLENET_3A]
    by_channels = price("inception", 192, int(256 * factor), 1, (28, 28), branches=GOOGLENET_3A)
    assert by_channels == price("inception", 192, int(256 * factor), 1, (28, 28), branches=scaled)
    residual = [branch for branch in GOOGLENET_3A if "max" not in branch]
    scaled = [branch for branch in scaled if "max" not in branch]
    by_base = price("inception_residual", 192, int(192 * factor), 1, (9, 9), branches=residual, base_channels=192)
    assert by_base == price("inception_residual", 192, int(192 * factor), 1, (9, 9), branches=scaled)


@pytest.mark.parametrize("out_channels", range(4, 300, 7))
def test_any_number_of_channels_is_met(out_channels):
    block = Inception(8, out_channels, branches=GOOGLENET_3A)
    assert block(torch.randn(2, 8, 3, 3)).shape[1] == out_channels


def test_residual_starts_from_its_input():
    block = InceptionResidual(16, 16, branches=RESIDUAL_A, scale=0.0)
    x = torch.randn(1, 16, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(
    ("out_channels", "options", "words"),
    [
        (8, {"branches": []}, "at least one branch"),
        (8, {"branches": [3]}, "lists of operations"),
        (8, {"branches": [[{"3x3": 0}]]}, "width of a 3x3"),
        (8, {"branches": [[{"3by3": 8}]]}, "3by3"),
        (8, {"branches": [[{"3x3": 8, "1x1": 8}]]}, "operation"),
        (8, {"branches": [["mean"]]}, "mean"),
        (8, {"branches": [[{"3x3": 8}]], "padding": "full"}, "full"),
        (16, {"branches": [[{"3x3": 8}], [{"5x5": 8}]], "padding": "valid"}, "3x3, 5x5"),
        (9, {"branches": [["max"]]}, "exactly 8"),
        (9, {"branches": [["max"], [{"1x1": 8}], [{"3x3": 8}]]}, "at least 10"),
    ],
)
def test_mistakes_are_named(out_channels, options, words):
    with pytest.raises(ValueError, match=words):
        Inception(8, out_channels, **options)
    with pytest.raises(ValueError, match=words):
        price("inception", 8, out_channels, 1, (8, 8), **options)
