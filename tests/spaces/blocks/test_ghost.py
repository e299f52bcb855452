"""Ghost module and bottleneck: the contract, and where the ghosts come from."""

import pytest
import torch

from spaces.blocks.ghost import GhostBottleneck, GhostModule
from tests.spaces.blocks.contract import check_block, count


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 24, 1, (7, 9), {}),
        (5, 13, 2, (7, 9), {"ratio": 3, "kernel_size": 3, "cheap_kernel_size": 5}),  # 15 maps, cut to 13
        (8, 16, 2, (6, 6), {"ratio": 5, "kernel_size": 2, "cheap_kernel_size": 2, "activation": "prelu"}),
        (4, 8, 1, (5, 5), {"cheap_kernel_size": 1, "activation": None}),
    ],
)
def test_module_contract(in_channels, out_channels, stride, size, options):
    check_block("ghost_module", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (16, 16, 1, (7, 9), {"hidden_channels": 16}),
        (24, 40, 2, (15, 11), {"hidden_channels": 72, "kernel_size": 5, "squeeze_ratio": 0.25}),
        (16, 24, 1, (6, 6), {"expand_ratio": 2.3, "ratio": 3, "kernel_size": 2}),
        (12, 12, 1, (5, 4), {"squeeze_ratio": 0.5, "cheap_kernel_size": 5, "activation": "h_swish"}),
        (8, 20, 2, (9, 9), {"kernel_size": 2, "cheap_kernel_size": 2, "activation": "prelu", "squeeze_ratio": 0.25}),
    ],
)
def test_bottleneck_contract(in_channels, out_channels, stride, size, options):
    check_block("ghost_bottleneck", in_channels, out_channels, stride, size, **options)


def test_each_ghost_comes_from_one_intrinsic_map():
    """Equation 3: map i of the primary convolution is passed on, and alone it makes its ratio - 1 ghosts."""
    module = GhostModule(6, 6, ratio=3, activation=None).eval()
    intrinsic = torch.rand(1, 2, 5, 5, requires_grad=True)
    module.primary = torch.nn.Identity()
    output = module(intrinsic)
    assert output[:, :2].equal(intrinsic)
    for ghost in range(4):
        (gradient,) = torch.autograd.grad(output[:, 2 + ghost].sum(), intrinsic, retain_graph=True)
        assert gradient.sum((0, 2, 3)).ne(0).tolist() == [ghost // 2 == 0, ghost // 2 == 1]


def test_a_ghost_module_saves_about_its_ratio():
    """Section 3.1: n (1 / s · c k² + (s - 1) / s · d²) against n c k², nearly s."""
    for ratio in (2, 3, 4):
        ghost = count(GhostModule(240, 240, ratio=ratio, kernel_size=3), 240, (8, 8)).flops
        assert 64 * 240 * 240 * 9 / ghost == pytest.approx(ratio, rel=0.02)


def test_the_end_of_a_bottleneck_is_linear():
    block = GhostBottleneck(8, 8)
    for module in block.layers[-1].modules():
        assert not isinstance(module, torch.nn.ReLU)


def test_a_ratio_of_one_makes_no_ghosts():
    with pytest.raises(ValueError, match="at least 2, not 1"):
        GhostModule(8, 8, ratio=1)
