"""What a network moves and holds in memory: bytes read and written, and the most that is alive at once.

What a layer moves is part of its cost (`spaces/costs.py`). What it holds is found by running each distinct layer once on PyTorch's
meta device, where tensors have shapes but no values (some milliseconds), and is remembered.

*Memory access* is that of guideline G1 of Ma et al., ShuffleNet V2 (2018), https://arxiv.org/abs/1807.11164, section 2: every
convolution and linear layer reads its input map and its weights and writes its output map, h w (c1 + c2) + c1 c2 values for a 1x1
convolution. An input is the map before padding; biases, and what layers without weights move, are not counted. Where a network runs
operators instead of layers, every convolution and matrix product counts, those of attention included.

*Activations alive at once* are those of a runtime that frees a map after its last reader and normalises, activates, adds and
multiplies in place where nobody else reads the map that is overwritten. A layer never overwrites its input. Pools, concatenations,
shuffles and paddings make a new map; views and integer tensors take no room; weights and a convolution's workspace are not
activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spaces.architecture import Architecture, Layer
from spaces.blocks import block_of
from spaces.blocks.protocol import Block
from spaces.costs import cost, layer_costs, walk
from spaces.errors import BLOCK_ERRORS, InputError, reason
from spaces.tracing import Recorder, Step, tensors_in

FLOAT32 = 4
"""Bytes of one value."""


class Moment(NamedTuple):
    """What is alive while one operator of a layer runs."""

    inner: int
    """Values of the layer's own maps."""
    inputs: tuple[int, ...]
    """Which of the layer's inputs are still to be read."""


class LayerMemory(NamedTuple):
    """What one layer moves and holds, batch 1."""

    accesses: int
    """Values that its convolutions and linear layers read and write."""
    moments: tuple[Moment, ...]
    """The distinct states of its memory; none greater than another is left out."""
    inputs: tuple[int, ...]
    """Values of each input."""

    @property
    def peak(self) -> int:
        """The most values alive at once, nothing else waiting."""
        return max(moment.inner + sum(self.inputs[i] for i in moment.inputs) for moment in self.moments)


def memory_access(architecture: Architecture, bytes_per_value: int = FLOAT32) -> int:
    """Bytes that convolutions and linear layers read and write for one image.

    Raises:
        InputError: a layer cannot be built.
    """
    return bytes_per_value * cost(architecture).accesses


def activation_bytes(architecture: Architecture, bytes_per_value: int = FLOAT32) -> int:
    """The most bytes of activations alive at once for one image, the image itself included.

    Raises:
        InputError: a layer cannot be built.
    """
    return bytes_per_value * max(held_values(architecture))


def held_values(architecture: Architecture) -> list[int]:
    """For each layer the most values alive while it runs, those that wait for later layers included.

    Raises:
        InputError: a layer cannot be built.
    """
    sizes = [architecture.resolution, *(layer.size for layer in layer_costs(architecture))]
    channels = [architecture.in_channels, *(layer.out_channels for layer in architecture.layers)]
    values = [count * height * width for count, (height, width) in zip(channels, sizes)]
    reads = [[position + 1 + i for i in layer.inputs] for position, layer in enumerate(architecture.layers)]
    last_reader = {source: position for position, sources in enumerate(reads) for source in sources}
    held = []
    for position, memory in enumerate(layer_memory(architecture)):
        waiting = {source for source in range(position + 1) if last_reader.get(source, -1) > position}
        peak = 0
        for moment in memory.moments:
            alive = waiting | {reads[position][i] for i in moment.inputs}
            peak = max(peak, moment.inner + sum(values[source] for source in alive))
        held.append(peak)
    return held


def layer_memory(architecture: Architecture) -> list[LayerMemory]:
    """What each layer moves and holds, in order.

    Raises:
        InputError: a layer cannot be built.
    """
    memories = []
    for layer, size, _ in walk(architecture):
        try:
            memories.append(_trace(block_of(layer.block), layer, size))
        except BLOCK_ERRORS as error:
            raise InputError(f"{layer}: {reason(error)}") from error
    return memories


@lru_cache(maxsize=2**16)
def _trace(block: Block, layer: Layer, size: Any) -> LayerMemory:
    """Runs the layer once without values."""
    channels: Any = layer.in_channels
    shapes = [(channels, size)] if len(layer.inputs) == 1 else zip(channels, size, strict=True)
    with torch.device("meta"):
        module = block.build(layer, size).eval()
        return traced(module, [torch.empty(1, count, *sides) for count, sides in shapes])


def traced(module: nn.Module, images: Sequence[Tensor]) -> LayerMemory:
    """What a module on the meta device moves and holds when it runs on these images."""
    recorder = Recorder(images, module)
    with torch.device("meta"), torch.no_grad(), recorder:
        output = module(*images)
    inputs, outputs = range(len(images)), [recorder.map_of(tensor) for tensor in tensors_in(output)]
    values = tuple(image.numel() for image in images)
    accesses = sum(step.accesses for step in recorder.steps)
    found = moments(recorder.steps, recorder.values, inputs, outputs)
    greatest = sorted(m for m in found if not any(_dominates(other, m) for other in found))
    return LayerMemory(accesses, tuple(greatest), values)


def moments(steps: Sequence[Step], values: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]) -> set[Moment]:
    """The states of memory from step to step.

    Args:
        steps: what runs.
        values: how many each map has.
        inputs: the maps that are there before; they are never written over.
        outputs: the maps that are still needed afterwards.
    """
    last_read = {number: position for position, step in enumerate(steps) for number in step.reads}
    last_read |= dict.fromkeys(outputs, len(steps))
    room = dict.fromkeys(inputs, 0)
    inner, found = 0, set()
    for position, step in enumerate(steps):
        if step.makes not in room:
            room[step.makes] = values[step.makes]
            inner += values[step.makes]
            free = [n for n in step.reads if last_read[n] == position and room[n] == room[step.makes]]
            if step.in_place and free:
                inner -= room[free[0]]  # it is written over
                room[free[0]] = 0
        found.add(Moment(inner, tuple(i for i, n in enumerate(inputs) if last_read.get(n, -1) >= position)))
        inner -= sum(room[n] for n in step.reads if last_read[n] == position)
    return found or {Moment(0, (0,))}  # it passes its input on


def _dominates(one: Moment, other: Moment) -> bool:
    return one != other and one.inner >= other.inner and set(one.inputs) >= set(other.inputs)
