"""The networks of the literature: exact counts, published accuracies, and that each of them learns."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import spaces
from spaces.errors import InputError
from tests.spaces.counting import count_layers, run_network

# name, overrides, params, multiply-adds of convolutions and linear layers, and where the two figures are from:
# torchvision 0.28, timm 1.0, pytorchcv 0.0.74: counted by PyTorch's counter on that implementation
# authors: the network of the authors' code, which is in none of these packages in that form; not counted again on it
# own: recorded from this implementation, so that a change is noticed
COUNTS = [
    ("alexnet", {}, 61_100_840, 714_188_480, "torchvision"),
    ("alexnet_two_tower", {}, 60_965_224, 724_406_816, "authors"),
    ("vgg16", {}, 138_357_544, 15_470_264_320, "torchvision"),
    ("vgg19", {}, 143_667_240, 19_632_062_464, "torchvision"),
    ("vgg19_bn", {}, 143_678_248, 19_632_062_464, "torchvision"),
    ("vgg11", {}, 132_863_336, 7_609_090_048, "torchvision"),
    ("vgg13_bn", {}, 133_053_736, 11_308_466_176, "torchvision"),
    ("resnet18", {}, 11_689_512, 1_814_073_344, "torchvision"),
    ("resnet34", {}, 21_797_672, 3_663_761_408, "torchvision"),
    ("resnet50", {}, 25_557_032, 4_089_184_256, "torchvision"),
    ("resnet101", {}, 44_549_160, 7_801_405_440, "torchvision"),
    ("resnet152", {}, 60_192_808, 11_513_626_624, "torchvision"),
    ("resnet50_v1", {}, 25_557_032, 3_857_973_248, "pytorchcv"),  # the paper's 3.8 G
    ("resnet20_cifar", {}, 272_474, 40_813_184, "pytorchcv"),
    ("resnext50_32x4d", {}, 25_028_904, 4_230_479_872, "torchvision"),
    ("resnext101_32x4d", {}, 44_177_704, 7_969_996_800, "timm"),
    ("resnext101_64x4d", {}, 83_455_272, 15_460_270_080, "torchvision"),
    ("resnext101_32x8d", {}, 88_791_336, 16_414_015_488, "torchvision"),
    ("resnet_rs_50", {}, 35_691_912, 2_278_629_376, "timm"),
    ("resnet_rs_101", {}, 63_618_696, 6_012_157_952, "timm"),
    ("resnet_rs_420", {}, 191_891_656, 63_942_344_704, "timm"),
    ("googlenet", {}, 6_624_904, 1_498_376_192, "torchvision"),
    ("inception_v3", {}, 23_834_568, 5_713_216_096, "torchvision"),
    ("inception_v4", {}, 42_679_816, 12_253_974_624, "timm"),
    ("inception_resnet_v1", {}, 23_995_624, 6_308_235_360, "pytorchcv"),
    ("inception_resnet_v2", {}, 55_843_464, 13_155_794_016, "timm"),
    ("nasnet_a_mobile", {}, 5_289_978, 563_638_816, "own"),  # the paper's 564 M; pytorchcv 568,234,858
    ("nasnet_a_large", {}, 88_753_150, 23_783_414_658, "timm"),
    ("squeezenet1_0", {}, 1_248_424, 818_924_576, "torchvision"),
    ("squeezenet1_1", {}, 1_235_496, 349_151_936, "torchvision"),
    ("squeezenext_23", {}, 717_280, 277_999_808, "authors"),
    # the authors' first unit projects a map whose shape stays: 2,361,728 and 742,070,464 (the paper's 749 M)
    ("squeezenext_23", {"width_multiplier": 2.0}, 2_361_728 - 4_224, 742_070_464 - 12_390_400, "own"),
    ("squeezenext_23_v5", {}, 930_016, 224_916_480, "authors"),
    # and here 3,222,912 and 702,592,000 (the paper's 703 M)
    ("squeezenext_23_v5", {"width_multiplier": 2.0}, 3_222_912 - 4_224, 702_592_000 - 12_845_056, "own"),
    ("mobilenet_v1", {}, 4_231_976, 568_740_352, "pytorchcv"),
    ("mobilenet_v1", {"width_multiplier": 0.25}, 470_072, 41_030_272, "pytorchcv"),
    ("mobilenet_v2", {}, 3_504_872, 300_774_272, "torchvision"),
    ("mobilenet_v2", {"width_multiplier": 0.5}, 1_968_680, 97_131_840, "torchvision"),
    ("mobilenet_v2", {"width_multiplier": 1.4}, 6_108_776, 582_195_824, "torchvision"),  # 1792 maps at the end
    ("mobilenet_v3_large", {}, 5_483_032, 216_589_760, "timm"),
    ("mobilenet_v3_large", {"width_multiplier": 0.75}, 3_993_528, 154_560_624, "timm"),
    ("mobilenet_v3_small", {}, 2_542_856, 56_510_400, "timm"),
    # timm leaves the stem as it is: 1,593,224 and 24,188,688
    ("mobilenet_v3_small", {"width_multiplier": 0.5}, 1_592_704, 21_052_560, "own"),
    ("shufflenet_v1_g1", {}, 1_531_936, 143_078_976, "pytorchcv"),
    ("shufflenet_v1_g1", {"width_multiplier": 0.25}, 209_746, 11_003_184, "pytorchcv"),
    ("shufflenet_v1_g2", {}, 1_733_848, 140_836_512, "pytorchcv"),
    ("shufflenet_v1_g3", {}, 1_865_728, 137_460_672, "pytorchcv"),
    ("shufflenet_v1_g3", {"width_multiplier": 0.75}, 1_238_266, 79_740_144, "pytorchcv"),
    ("shufflenet_v1_g4", {}, 1_968_344, 134_339_776, "pytorchcv"),
    ("shufflenet_v1_g8", {}, 2_434_768, 138_365_952, "pytorchcv"),
    ("shufflenet_v2", {"width_multiplier": 0.5}, 1_365_792, 40_476_448, "authors"),
    ("shufflenet_v2", {}, 2_278_760, 145_814_296, "authors"),
    ("shufflenet_v2", {"width_multiplier": 1.5}, 3_506_720, 298_970_656, "authors"),
    ("shufflenet_v2", {"width_multiplier": 2}, 7_402_600, 590_783_000, "authors"),
    ("efficientnet_b0", {}, 5_288_548, 385_814_752, "torchvision"),
    ("efficientnet_b3", {}, 12_233_232, 1_827_141_392, "torchvision"),
    ("efficientnet_b7", {}, 66_347_960, 37_745_884_192, "torchvision"),
    ("mnasnet_a1", {}, 3_887_038, 311_579_072, "timm"),
    ("mnasnet_b1", {}, 4_383_312, 314_415_872, "torchvision"),
    ("mnasnet_b1", {"width_multiplier": 1.3}, 6_282_256, 526_362_432, "torchvision"),
    ("xception", {}, 22_855_952, 8_357_403_496, "timm"),
    ("dicenet", {}, 1_805_604, 70_709_744, "pytorchcv"),
    ("dicenet", {"width_multiplier": 2.4}, 5_113_628, 297_941_296, "authors"),
    ("dicenet", {"width_multiplier": 0.2}, 1_130_704, 14_902_464, "pytorchcv"),
    ("dicenet", {"resolution": 192}, 1_804_956, 52_298_104, "pytorchcv"),  # kernels for the rows and columns of 192 px
    ("espnet_c", {}, 349_449, 3_470_155_776, "authors"),
    ("espnetv2", {}, 1_670_072 - 3_130, 86_744_404, "authors"),  # the authors' code owns 3,130 weights that never run
    ("espnetv2", {"width_multiplier": 2.0}, 3_498_136 - 6_202, 286_086_228, "authors"),  # and here 6,202
    # the authors leave out the linear layer
    ("espnetv2", {"width_multiplier": 0.5}, 1_239_722, 28_375_508 + 1_024_000, "authors"),
    ("ghostnet", {}, 5_182_508, 141_150_512, "timm"),
    ("ghostnet", {"width_multiplier": 0.5}, 2_587_292, 42_328_152, "timm"),
    ("ghostnet", {"width_multiplier": 1.3}, 7_358_820, 227_003_256, "timm"),
]

# what the small forms below need beside a quarter of the width and depth and 64 pixels
SMALL: dict[str, dict[str, Any]] = {
    "alexnet_two_tower": {"resolution": 80},
    "dicenet": {"width_multiplier": 0.2},
    "espnetv2": {"width_multiplier": 0.5},
    "inception_resnet_v1": {"resolution": 80},
    "inception_resnet_v2": {"resolution": 80},
    "inception_v3": {"resolution": 80},
    "inception_v4": {"resolution": 80},
    "shufflenet_v2": {"width_multiplier": 0.5},
}


def small(name: str) -> spaces.Architecture:
    """A small form of the network, with two image channels and five classes."""
    few = {"width_multiplier": 0.25, "depth_multiplier": 0.25, "resolution": 64, "in_channels": 2, "num_classes": 5}
    return spaces.network(name, **{**few, **SMALL.get(name, {})})


@pytest.mark.parametrize(("name", "overrides", "params", "flops", "source"), COUNTS)
def test_counts(name, overrides, params, flops, source):
    architecture = spaces.network(name, **overrides)
    cost = spaces.cost(architecture)
    assert (cost.params, cost.flops) == (params, flops)
    assert spaces.layer_costs(architecture) == count_layers(architecture)


# the millions of parameters that the paper prints, tables 1 to 3
@pytest.mark.parametrize(
    ("name", "multiplier", "millions"),
    [
        ("squeezenext_23", 1.0, 0.7),
        ("squeezenext_23", 1.5, 1.4),
        ("squeezenext_23", 2.0, 2.4),
        ("squeezenext_23_v5", 1.0, 0.9),
        ("squeezenext_23_v5", 2.0, 3.2),
    ],
)
def test_wide_squeezenext_has_the_papers_parameters(name, multiplier, millions):
    assert round(spaces.cost(spaces.network(name, width_multiplier=multiplier)).params / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["squeezenext_23", "squeezenext_23_g", "squeezenext_23_v5"])
def test_the_multiplier_leaves_squeezenexts_stem_and_last_convolution(name):
    layers = spaces.network(name, width_multiplier=2.0).layers
    assert (layers[0].out_channels, layers[-2].out_channels) == (64, 128)


@pytest.mark.parametrize("name", spaces.networks())
def test_counts_hold_away_from_the_published_point(name):
    """One grey channel, 10 classes, an odd rectangle."""
    side = spaces.network(name).resolution[0]
    architecture = spaces.network(name, in_channels=1, num_classes=10, resolution=(side // 2 | 1, side | 1))
    assert spaces.layer_costs(architecture) == count_layers(architecture)


@pytest.mark.parametrize("name", spaces.networks())
def test_the_built_network_is_what_was_priced(name):
    architecture = small(name)
    cost, output = run_network(architecture)
    assert cost == spaces.cost(architecture)
    assert output.shape[:2] == (1, 5)
    assert output.isfinite().all()


@pytest.mark.parametrize("name", [n for n in spaces.networks() if spaces.cost(spaces.network(n)).params < 50_000_000])
def test_every_network_learns(name):
    """Finite logits, a gradient for every parameter, and a step along it that reduces the loss."""
    torch.manual_seed(0)
    architecture = small(name)
    network = spaces.build(architecture).train()
    images, labels = torch.randn(4, 2, *architecture.resolution), torch.arange(4)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same units drop out each time
        logits = network(images)
        assert logits.isfinite().all()
        return F.cross_entropy(logits.flatten(2).mean(2) if logits.dim() > 2 else logits, labels)

    before = loss()
    before.backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    start = [p.detach().clone() for p in network.parameters()]
    for step in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        with torch.no_grad():
            for p, origin in zip(network.parameters(), start, strict=True):
                p.copy_(origin - step * p.grad)
            if loss() < before:
                return
    raise AssertionError("no step along the gradient reduces the loss")


@pytest.mark.parametrize("name", spaces.networks())
def test_published_figures_name_their_source(name):
    published = spaces.published(name)
    if "top1" in published:
        assert 50 < published["top1"] < 90
    if published:
        assert published["source"]


@pytest.mark.parametrize(
    ("name", "top1"),
    [
        ("alexnet", 62.5),
        ("squeezenet1_0", 57.5),
        ("mobilenet_v1", 70.6),
        ("mobilenet_v2", 72.0),
        ("mobilenet_v3_large", 75.2),
        ("mobilenet_v3_small", 67.4),
        ("shufflenet_v1_g8", 67.6),
        ("shufflenet_v2", 69.4),
        ("mnasnet_a1", 75.2),
        ("dicenet", 75.7),
        ("ghostnet", 73.9),
        ("xception", 79.0),
        ("efficientnet_b0", 76.3),
        ("efficientnet_b7", 84.4),
        ("resnet_rs_420", 84.4),
        ("inception_resnet_v2", 80.1),
        ("nasnet_a_mobile", 74.0),
    ],
)
def test_published_accuracies(name, top1):
    assert spaces.published(name)["top1"] == top1


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("mobilnet_v2", {}, "did you mean 'mobilenet_v2'"),
        ("mobilenet_v2", {"width_multiplyer": 1}, "did you mean 'width_multiplier'"),
        ("mobilenet_v2", {"width_multiplier": 0.01}, "leaves no channel"),
        ("mobilenet_v2", {"resolution": 16}, "below one pixel"),
        ("alexnet", {"resolution": 32}, r"layers\.7 .* below one pixel"),
        ("mobilenet_v2", {"num_classes": 0}, "num_classes must be a whole number of at least 1"),
        ("shufflenet_v2", {"width_multiplier": 0.7}, "0.5, 1, 1.5, 2"),
    ],
)
def test_bad_input_is_one_clear_error(name, overrides, words):
    with pytest.raises(InputError, match=words):
        spaces.cost(spaces.network(name, **overrides))
