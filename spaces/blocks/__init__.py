"""The blocks by name: a new one is one file and one line in this table."""

from torch import nn

from spaces.blocks.resnet import ResNetBasic, ResNetBottleneck
from spaces.blocks.squeezenet import Fire
from spaces.blocks.squeezenext import SqueezeNext

BLOCKS: dict[str, type[nn.Module]] = {
    "resnet_basic": ResNetBasic,
    "resnet_bottleneck": ResNetBottleneck,
    "fire": Fire,
    "squeezenext": SqueezeNext,
}
