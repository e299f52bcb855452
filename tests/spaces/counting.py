"""What an architecture costs by counting, to hold the closed forms against."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import spaces
from spaces import Cost
from tests.spaces.blocks.contract import count, count_accesses, make


@cache
def count_layer(layer: spaces.Layer, size: Any) -> Cost:
    """PyTorch's count of one layer on the meta device; networks repeat theirs, so each is built once."""
    with torch.device("meta"):
        block = make(layer.block, layer.in_channels, layer.out_channels, layer.stride, size, **layer.keywords)
    return count(block, layer.in_channels, size)


def count_layers(architecture: spaces.Architecture) -> list[Cost]:
    """PyTorch's count of every layer, each reading what those before it are counted to give."""
    sizes, counts = [architecture.resolution], []
    for position, layer in enumerate(architecture.layers):
        read = tuple(sizes[position + 1 + i] for i in layer.inputs)
        counts.append(count_layer(layer, read if len(read) > 1 else read[0]))
        sizes.append(counts[-1].size)
    return counts


def run_network(architecture: spaces.Architecture) -> tuple[Cost, Tensor]:
    """Builds and runs the network on one random image, several times faster than under PyTorch's counter.

    Returns:
        its cost, every weight of a convolution or linear layer taken once for each pixel it makes; its output.
    """
    network = spaces.build(architecture).eval()
    flops, accesses = [], count_accesses(network)

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        flops.append(module.weight.numel() * output[0, 0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    with torch.no_grad():
        output = network(torch.randn(1, architecture.in_channels, *architecture.resolution))
    params = sum(p.numel() for p in network.parameters())
    size = (output.shape[2], output.shape[3]) if output.dim() == 4 else (1, 1)
    return Cost(sum(flops), params, size, sum(accesses)), output
