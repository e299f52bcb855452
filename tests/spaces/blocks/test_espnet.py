"""ESP and EESP: the contract, and how their branches fit together."""

import pytest
import torch

from spaces import Cost
from spaces.blocks.espnet import EESP, ESP, halvings
from tests.spaces.blocks.contract import check_block, count, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (64, 64, 1, (16, 24), {}),
        (19, 64, 2, (15, 18), {}),  # d = 12, the first branch takes 16
        (16, 16, 1, (7, 9), {"branches": 2, "kernel_size": 2}),
        (8, 24, 1, (9, 7), {"branches": 8, "kernel_size": 5, "dilations": [1, 1, 2, 2, 3, 3, 4, 4, 9]}),
        (5, 13, 2, (1, 6), {"branches": 3, "kernel_size": 2, "activation": "relu"}),
    ],
)
def test_esp_contract(in_channels, out_channels, stride, size, options):
    check_block("esp", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (32, 32, 1, (9, 6), {}),
        (16, 48, 1, (5, 5), {"activation": "relu"}),  # no residual
        (16, 48, 2, (13, 10), {"max_extent": 13}),  # without the image
        ((16, 3), 48, 2, ((13, 10), (50, 40)), {"max_extent": 7}),
        ((16, 1), 16, 2, ((8, 8), (8, 8)), {"branches": 2, "kernel_size": 2}),  # not wider: nothing but the pyramid
        ((8, 3), 24, 2, ((5, 4), (9, 7)), {"branches": 2, "kernel_size": 5, "activation": "h_swish"}),
    ],
)
def test_eesp_contract(in_channels, out_channels, stride, size, options):
    check_block("eesp", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "size", "options"),
    [
        ((4, 3, 2), ((5, 6),) * 3, {}),
        ((4, 4), ((3, 3),) * 2, {"norm": False}),
        ((2, 1), ((4, 4),) * 2, {"activation": "prelu"}),
    ],
)
def test_concat_contract(in_channels, size, options):
    check_block("concat", in_channels, sum(in_channels), 1, size, **options)


def test_maps_of_different_sizes_are_not_concatenated():
    with pytest.raises(ValueError, match="8x8, 4x4"):
        price("concat", (2, 2), 4, 1, ((8, 8), (4, 4)))


def impulse_response(branch, size=35):
    """Rows and columns at which a filter of ones answers to a single bright pixel in the middle."""
    torch.nn.init.ones_(branch.weight)
    image = torch.zeros(1, branch.in_channels, size, size)
    image[:, :, size // 2, size // 2] = 1
    rows, columns = branch(image).sum((0, 1)).nonzero().T
    return rows.unique(), columns.unique()


@pytest.mark.parametrize("block", [ESP(20, 20, branches=5), EESP(16, 16, branches=4, max_extent=9)])
def test_branches_align(block):
    """Every branch answers around the same pixel, the dilated ones from farther away."""
    extents = []
    for branch in block.branches:
        rows, columns = impulse_response(branch)
        assert rows.equal(columns)
        assert len(rows) == 3
        assert rows.float().mean() == 17
        extents.append((rows.max() - rows.min()).item() + 1)
    assert extents == (
        [3, 5, 9, 17, 33] if isinstance(block, ESP) else [3, 5, 7, 9]
    )  # ESPNet's section 3; ESPNetv2's figure 2


@pytest.mark.parametrize(
    ("max_extent", "dilations"), [(13, [1, 2, 3, 4]), (9, [1, 2, 3, 4]), (7, [1, 1, 2, 3]), (5, [1, 1, 1, 2])]
)  # the authors' levels
def test_extents_over_the_limit_fall_back_to_the_base_filter(max_extent, dilations):
    assert [branch.dilation[0] for branch in EESP(16, 16, max_extent=max_extent).branches] == dilations


def test_hierarchical_fusion_adds_up_the_branches():
    """With filters that pass their input, branch k of ESP is the sum of branches 2..k; EESP sums from the first."""
    x = torch.rand(1, 8, 5, 5)
    esp = ESP(8, 8, branches=4)
    reduced = esp.reduce(x)
    for branch in esp.branches:
        torch.nn.init.dirac_(branch.weight)
    esp.norm_act = torch.nn.Identity()
    assert torch.allclose(esp(x) - x, torch.cat([reduced, reduced, 2 * reduced, 3 * reduced], 1), atol=1e-6)


@pytest.mark.parametrize(
    ("block", "in_channels", "out_channels", "size", "options", "cost"),
    [  # closed forms of the papers: d (M + 9 N) + 3 N, with d = 20 and 12
        (ESP, 100, 100, (4, 4), {}, Cost(16 * 20 * 1000, 20 * 1000 + 300, (4, 4))),
        (ESP, 64, 64, (4, 4), {}, Cost(16 * 12 * 640, 12 * 640 + 192, (4, 4))),
        # C n / K + 3 n + 9 N + 3 N + N² / K + 2 N + N, n = 16
        (EESP, 64, 64, (4, 4), {}, Cost(16 * (256 + 576 + 1024), 256 + 48 + 576 + 192 + 1024 + 128 + 64, (4, 4))),
    ],
)
def test_published_formulas(block, in_channels, out_channels, size, options, cost):
    assert count(block(in_channels, out_channels, **options), in_channels, size)[:3] == cost[:3]


def test_image_is_halved_to_the_size_of_the_maps():
    assert halvings((225, 97), (8, 4)) == 5
    with pytest.raises(ValueError, match="20x20 cannot be halved to 7x7"):
        halvings((20, 20), (7, 7))


@pytest.mark.parametrize(
    ("block", "arguments", "options", "message"),
    [
        (ESP, (16, 16), {"branches": 9}, "2 to 8 branches, not 9"),
        (ESP, (8, 4), {"branches": 5}, "at least as many output channels, not 4"),
        (ESP, (8, 8), {"branches": 4, "dilations": [1, 2]}, "as many dilations"),
        (EESP, (16, 24), {}, "groups 4 do not divide the 6 output channels"),
    ],
)
def test_impossible_pyramids_are_refused(block, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        block(*arguments, **options)
