"""The blocks by name: a new one is one file and one line in this table."""

from typing import Any

from torch import nn

from spaces.blocks.concat import Concat
from spaces.blocks.conv import Activation, Conv, Dropout, Identity, LocalResponseNorm, Pool
from spaces.blocks.dice import DiceUnit
from spaces.blocks.espnet import EESP, ESP
from spaces.blocks.ghost import GhostBottleneck, GhostModule
from spaces.blocks.head import Head
from spaces.blocks.inception import Inception, InceptionResidual
from spaces.blocks.mobilenet import DepthwiseSeparable, InvertedResidual, MBConv, MnasNetConv, MobileNetV3
from spaces.blocks.nasnet import NASNetCell
from spaces.blocks.protocol import Block, read_block
from spaces.blocks.resnet import ResNetBasic, ResNetBottleneck
from spaces.blocks.shuffle_agg import ShuffleAgg
from spaces.blocks.shufflenet import ShuffleNetV1, ShuffleNetV2
from spaces.blocks.squeezenet import Fire
from spaces.blocks.squeezenext import SqueezeNext
from spaces.blocks.xception import SeparableConv, XceptionUnit

BLOCKS: dict[str, type[nn.Module]] = {
    "concat": Concat,
    "activation": Activation,
    "conv": Conv,
    "dropout": Dropout,
    "identity": Identity,
    "local_response_norm": LocalResponseNorm,
    "pool": Pool,
    "dice": DiceUnit,
    "eesp": EESP,
    "esp": ESP,
    "ghost_bottleneck": GhostBottleneck,
    "ghost_module": GhostModule,
    "head": Head,
    "inception": Inception,
    "inception_residual": InceptionResidual,
    "depthwise_separable": DepthwiseSeparable,
    "inverted_residual": InvertedResidual,
    "mbconv": MBConv,
    "mnasnet_conv": MnasNetConv,
    "mobilenet_v3": MobileNetV3,
    "nasnet_cell": NASNetCell,
    "resnet_basic": ResNetBasic,
    "resnet_bottleneck": ResNetBottleneck,
    "shuffle_agg": ShuffleAgg,
    "shufflenet_v1": ShuffleNetV1,
    "shufflenet_v2": ShuffleNetV2,
    "fire": Fire,
    "squeezenext": SqueezeNext,
    "separable_conv": SeparableConv,
    "xception": XceptionUnit,
}


def block_of(name: str) -> Block:
    """What the block of that name defines."""
    made_by: Any = BLOCKS[name]
    return read_block(made_by)
