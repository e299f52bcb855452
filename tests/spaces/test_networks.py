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
