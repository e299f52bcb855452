"""The MobileNets' blocks: the contract, and layers of the published networks counted by hand."""

import pytest
import torch
import torch.nn.functional as F

from spaces.blocks import BLOCKS
from spaces.blocks.mobilenet import DepthwiseSeparable, InvertedResidual, MBConv, MnasNetConv, MobileNetV3
from tests.spaces.blocks.contract import check_block, price


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (8, 16, 1, (7, 5), {}),
        (8, 8, 2, (7, 6), {"kernel_size": 5}),
        (6, 9, 2, (1, 1), {"kernel_size": 2, "activation": "prelu"}),
        (3, 4, 1, (4, 4), {"activation": None}),
    ],
)
def test_contract_of_depthwise_separable(in_channels, out_channels, stride, size, options):
    check_block("depthwise_separable", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize("name", ["inverted_residual", "mobilenet_v3", "mbconv"])
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (8, 8, 1, (7, 5), {}),
        (8, 8, 1, (7, 5), {"squeeze_ratio": 0.25}),
        (8, 16, 2, (9, 6), {"expand_ratio": 1, "activation": "relu"}),
        (8, 8, 1, (4, 4), {"expand_ratio": 1, "squeeze_ratio": 0.25, "activation": "swish"}),
        (12, 12, 1, (6, 6), {"expand_ratio": 2.3, "kernel_size": 5, "activation": "h_swish"}),
        (12, 20, 2, (5, 8), {"expand_ratio": 3.67, "kernel_size": 2, "squeeze_ratio": 0.5, "activation": "prelu"}),
        (6, 10, 2, (1, 3), {"expand_ratio": 0.5, "squeeze_ratio": 0.1}),
        (8, 8, 2, (7, 4), {"expand_ratio": 2, "skip": "pool"}),
        (8, 8, 1, (5, 5), {"expand_ratio": 2, "skip": None}),
    ],
)
def test_contract_of_the_inverted_residuals(name, in_channels, out_channels, stride, size, options):
    check_block(name, in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (8, 8, 1, (7, 5), {}),
        (8, 8, 2, (7, 4), {"skip": "pool", "kernel_size": 2, "squeeze_ratio": 0.25}),
        (8, 12, 1, (5, 5), {"skip": "pool", "activation": "prelu", "squeeze_ratio": 0.1}),
        (3, 3, 1, (1, 2), {"skip": None, "kernel_size": 5}),
    ],
)
def test_contract_of_mnasnets_convolution(in_channels, out_channels, stride, size, options):
    check_block("mnasnet_conv", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        # MobileNetV1's first: 9·32 + 32·64 weights, 112 x 112 pixels
        (price("depthwise_separable", 32, 64, 1, (112, 112)), (29_302_784, 2_528, (112, 112))),
        # MobileNetV2's second: 16·96 at 112², (9·96 + 96·24) at 56²
        (price("inverted_residual", 16, 24, 2, (112, 112)), (29_202_432, 5_136, (56, 56))),
        # t = 1 has no expansion: (9·32 + 32·16) at 112²
        (price("inverted_residual", 32, 16, 1, (112, 112), expand_ratio=1), (10_035_200, 896, (112, 112))),
        # MobileNetV3-Large's fourth: 24 -> 72 -> 40, 5x5, gate of 24
        (
            price(
                "mobilenet_v3",
                24,
                40,
                2,
                (56, 56),
                expand_ratio=3,
                kernel_size=5,
                squeeze_ratio=0.25,
                activation="relu",
            ),
            (72 * 24 * 56 * 56 + 72 * (25 + 40) * 28 * 28 + 2 * 72 * 24, 10_328, (28, 28)),
        ),
        # EfficientNet-B0's first: 32 -> 16, gate of 8 from its input
        (
            price("mbconv", 32, 16, 1, (112, 112), expand_ratio=1, squeeze_ratio=0.25, activation="swish"),
            (10_035_712, 1_448, (112, 112)),
        ),
    ],
)
def test_published_layers(cost, expected):
    assert cost[:3] == expected


def test_hidden_widths_follow_each_papers_rule():
    assert InvertedResidual.widths(20, 2.3, 0)[0] == 46  # whole channels
    assert MobileNetV3.widths(80, 2.3, 0.25) == (184, 48)  # MobileNetV3-Large, 184 / 4 = 46 -> 48
    assert MobileNetV3.widths(24, 3.67, 0)[0] == 88  # MobileNetV3-Small
    assert MBConv.widths(24, 6, 0.25) == (144, 6)  # EfficientNet-B0: from the input
    assert MBConv.widths(3, 6, 0.25) == (18, 1)  # never none


@pytest.mark.parametrize("name", ["inverted_residual", "mobilenet_v3", "mbconv"])
def test_residual_keeps_its_input_and_adds_it(name):
    torch.manual_seed(0)
    block = BLOCKS[name](8, 8, expand_ratio=1, activation="relu", squeeze_ratio=0.25)
    x = torch.randn(2, 8, 5, 5)
    kept = x.clone()
    y = block(x)
    assert torch.equal(x, kept)
    assert torch.allclose(y - block.body(x), x, atol=1e-6)
    assert not torch.allclose(y, x)


@pytest.mark.parametrize("block", [InvertedResidual, MnasNetConv])
def test_skips_of_mnasnet(block):
    """The identity where shapes stay, the pooled input where channels do, else nothing."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 7)
    pooled = F.avg_pool2d(x, 3, 2, 1)
    for unit, added in [
        (block(8, 8), x),
        (block(8, 8, 2), 0),
        (block(8, 8, skip=None), 0),
        (block(8, 8, 2, skip="pool"), pooled),
        (block(8, 12, skip="pool"), 0),
    ]:
        assert torch.allclose(unit.eval()(x), unit.body(x) + added, atol=1e-6)
    with pytest.raises(ValueError, match="unknown skip 'pol'; valid: identity, pool or null"):
        block(8, 8, skip="pol")


def test_normalisations_add_each_papers_epsilon():
    def added(block):
        return {m.eps for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)}

    assert added(InvertedResidual(8, 8)) == {1e-5}
    assert added(MobileNetV3(8, 8)) == added(MBConv(8, 8)) == added(MnasNetConv(8, 8)) == {1e-3}


def test_projection_is_linear():
    torch.manual_seed(0)
    x = torch.randn(4, 8, 6, 6)
    assert InvertedResidual(8, 12)(x).min() < 0
    assert DepthwiseSeparable(8, 12)(x).min() == 0


def test_an_expansion_to_nothing_is_refused():
    with pytest.raises(ValueError, match=r"expand_ratio 0\.1 leaves none of the 4 channels"):
        InvertedResidual(4, 4, expand_ratio=0.1)
