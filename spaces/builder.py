"""From an architecture to a PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spaces.architecture import Architecture
from spaces.costs import build_block, walk
from spaces.errors import InputError

MAX_PARAMS = 2**30
"""The most parameters that are built, 4.3 GB in float32; the literature's networks reach 192 million. Any number is priced."""


def build(architecture: Architecture) -> nn.Module:
    """A plain module: (N, C, H, W) images in, (N, classes) logits out.

    A chain of layers is an `nn.Sequential`; a network in which some layer reads others than the one before it is a `Graph`.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel, or there are too many parameters to build.
    """
    steps = list(walk(architecture))
    params = sum(cost.params for _, _, cost in steps)
    if params > MAX_PARAMS:
        raise InputError(f"the network has {params:,} parameters; {MAX_PARAMS:,} are the most that can be built")
    blocks = [build_block(layer, size) for layer, size, _ in steps]
    inputs = [layer.inputs for layer in architecture.layers]
    if all(sources == (-1,) for sources in inputs):
        return nn.Sequential(*blocks)
    return Graph(blocks, inputs)


class Graph(nn.Module):
    """Blocks that read any of the maps before them.

    Args:
        blocks: in order of execution.
        inputs: for each block the maps it reads: -1 is the one before it; before the first block there is the image.
    """

    def __init__(self, blocks: Sequence[nn.Module], inputs: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.sources = [[position + 1 + i for i in relative] for position, relative in enumerate(inputs)]
        last_reader = {source: position for position, sources in enumerate(self.sources) for source in sources}
        self.done_after = [[s for s, last in last_reader.items() if last == p] for p in range(len(blocks))]

    def forward(self, image: Tensor) -> Tensor:
        """image: (N, C, H, W). Returns what the last block makes."""
        maps = {0: image}
        for position, block in enumerate(self.blocks):
            maps[position + 1] = block(*(maps[source] for source in self.sources[position]))
            for source in self.done_after[position]:
                del maps[source]  # frees its memory at inference
        return maps[len(self.blocks)]
