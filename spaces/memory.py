"""What a network moves and holds in memory: bytes read and written, and the most that is alive at once.

What a layer moves its block states in closed form, as a part of its cost. What it holds, and what a user's block moves that states
nothing, is found by running each distinct layer once on PyTorch's meta device, where tensors have shapes but no values (some
milliseconds), and is remembered.

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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spaces.architecture import Architecture, Layer
from spaces.blocks import BLOCKS
from spaces.blocks.ops import SymmetricPad2d
from spaces.costs import input_sizes, layer_costs, make_block
from spaces.errors import BLOCK_ERRORS, InputError, reason

FLOAT32 = 4
"""Bytes of one value."""

_NORMALISATIONS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
_IN_PLACE = frozenset(
    (
        *_NORMALISATIONS,
        "native_dropout",
        *("relu", "hardtanh", "hardswish", "silu", "sigmoid", "hardsigmoid", "_prelu_kernel", "leaky_relu", "gelu"),
        *("tanh", "elu", "add", "sub", "mul", "div", "maximum", "clamp"),
    )
)
"""Operators of PyTorch that can write over one of their inputs, by their names in its dispatcher."""

_PRODUCTS = {
    **dict.fromkeys(("convolution", "_convolution", "mm", "bmm", "_scaled_mm"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm"), (1, 2)),
    **{f"_scaled_dot_product_{kind}_attention": (0, 1, 2) for kind in ("efficient", "flash", "cudnn")},
}
"""Operators with multiply-adds, and where the maps and weights stand among their arguments; biases are left out."""


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
    return bytes_per_value * sum(layer_accesses(architecture))


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
    sizes = [architecture.resolution, *(cost.size for cost in layer_costs(architecture))]
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


def layer_accesses(architecture: Architecture) -> list[int]:
    """For each layer the values that its convolutions and linear layers read and write.

    Raises:
        InputError: a layer cannot be built.
    """
    blocks: list[Any] = [BLOCKS[layer.block] for layer in architecture.layers]
    priced = zip(blocks, layer_costs(architecture), strict=True)
    # of a block without a price of its own only the layers were seen, not what its forward computes without them
    stated = [cost.accesses if hasattr(block, "cost") else None for block, cost in priced]
    if None in stated:
        found = [memory.accesses for memory in layer_memory(architecture)]
        return [count if known is None else known for known, count in zip(stated, found, strict=True)]
    return [count for count in stated if count is not None]


def layer_memory(architecture: Architecture) -> list[LayerMemory]:
    """What each layer moves and holds, in order.

    Raises:
        InputError: a layer cannot be built.
    """
    sizes = [architecture.resolution]
    memories = []
    for position, (layer, cost) in enumerate(zip(architecture.layers, layer_costs(architecture), strict=True)):
        try:
            block: Any = BLOCKS[layer.block]
            memories.append(_trace(block, layer, input_sizes(layer, position, sizes)))
        except BLOCK_ERRORS as error:
            raise InputError(f"{layer}: {reason(error)}") from error
        sizes.append(cost.size)
    return memories


@lru_cache(maxsize=2**16)
def _trace(block: Any, layer: Layer, size: Any) -> LayerMemory:
    """Runs the layer once without values."""
    channels: Any = layer.in_channels
    shapes = [(channels, size)] if len(layer.inputs) == 1 else zip(channels, size, strict=True)
    with torch.device("meta"):
        module = make_block(block, layer, size).eval()
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


class Step(NamedTuple):
    """One operator: the maps it reads, the map it makes or changes, and whether it may write over what it reads."""

    reads: tuple[int, ...]
    makes: int
    in_place: bool
    accesses: int
    """Values that it reads and writes, if it is a convolution or a matrix product."""


class Recorder(TorchDispatchMode):
    """Notes every operator that runs, with maps numbered: the inputs first.

    Args:
        images: the inputs.
        module: what runs; its weights are no maps.
    """

    def __init__(self, images: Sequence[Tensor], module: nn.Module) -> None:
        super().__init__()
        self._weights = {self.key(weight) for weight in (*module.parameters(), *module.buffers())}
        self.steps: list[Step] = []
        self.values: list[int] = []
        self._maps: dict[int, int] = {}
        self._alive: list[Any] = []  # keeps storages, so that their addresses stay unique
        self._unpadded: list[int] = []
        for image in images:
            self._number(image)
        for part in module.modules():
            if isinstance(part, nn.Sequential) and [type(p) for p in part] == [SymmetricPad2d, nn.Conv2d]:
                part[0].register_forward_pre_hook(lambda _, inputs: self._unpadded.append(inputs[0].numel()))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; to be left out of it by PyTorch's decorator would take seconds to import."""
        return False

    def map_of(self, tensor: Tensor) -> int:
        """The number of the map that a tensor is, or is a view of; one not met, such as of positions or truths, is new."""
        if self.key(tensor) not in self._maps:
            self._number(tensor)
        return self._maps[self.key(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = self.run(func, args, kwargs or {})
        read = {self.key(tensor) for tensor in tensors_in((args, kwargs))}
        reads = tuple({self._maps[key] for key in read if key in self._maps})
        # a normalisation gives its statistics too, a maximum its positions: the map comes first
        made = next(tensors_in(output), None)
        if made is not None and (made.is_floating_point() or made.is_complex()) and self.key(made) not in self._weights:
            if self.key(made) not in self._maps:
                if self.key(made) in read:
                    return output  # a view of a constant
                self._number(made)
            name = func.overloadpacket._qualified_op_name.partition("::")[2]
            accesses = self._accesses(name, args, made)
            self.steps.append(Step(reads, self._maps[self.key(made)], name in _IN_PLACE, accesses))
        return output

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator gives."""
        return _shaped_like_run(func, args, kwargs)

    def _accesses(self, name: str, args: Any, made: Tensor) -> int:
        if name not in _PRODUCTS:
            return 0
        read, *others = (args[i].numel() for i in _PRODUCTS[name])
        if name == "convolution" and self._unpadded:
            read = self._unpadded.pop()
        return read + sum(others) + made.numel()

    @staticmethod
    def key(tensor: Tensor) -> int:
        """What tensors share that are views of one map."""
        return tensor.untyped_storage()._cdata

    def _number(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        self._maps[storage._cdata] = len(self.values)
        self.values.append(tensor.numel() * (2 if tensor.is_complex() else 1))


def _shaped_like_run(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator gives, without values.

    PyTorch works out the shapes of some of the commonest operators in Python, in milliseconds, and imports its compiler for it, in
    seconds; here they are stated.
    """
    name = func.overloadpacket._qualified_op_name.partition("::")[2]
    if name in _NORMALISATIONS:
        return args[0].new_empty(args[0].shape), args[0].new_empty(0), args[0].new_empty(0)
    if name in _IN_PLACE and name != "native_dropout" and isinstance(args[0], Tensor):
        others = [other for other in args[1:] if isinstance(other, Tensor)]
        if all(other.shape == args[0].shape for other in others) or name == "_prelu_kernel":
            return args[0].new_empty(args[0].shape)
    if name.removesuffix("_") in _IN_PLACE and name.endswith("_"):
        return args[0]
    if name == "convolution":
        return _convolved(*args)
    if name in ("cat", "stack"):
        return _joined(name, *args)
    if name == "addmm":
        return args[0].new_empty(args[1].shape[0], args[2].shape[1])
    if name == "mean" and len(args) > 1:
        return args[0].new_empty(_reduced(args[0].shape, *args[1:]))
    return func(*args, **kwargs)


def _reduced(shape: Sequence[int], dims: Sequence[int], keepdim: bool = False) -> list[int]:
    """What is left of a shape when some dimensions are averaged."""
    gone = {dim % len(shape) for dim in dims}
    return [1 if i in gone else side for i, side in enumerate(shape) if keepdim or i not in gone]


def _joined(name: str, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """What `cat` or `stack` makes of tensors."""
    shape = list(tensors[0].shape)
    if name == "cat":
        shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    else:
        shape.insert(dim % (len(shape) + 1), len(tensors))
    return tensors[0].new_empty(shape)


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """An empty map of a convolution's shape."""
    reach = [d * (k - 1) + 1 - 2 * p for p, d, k in zip(padding, dilation, weight.shape[2:])]
    if transposed:
        sides = [(n - 1) * step + r + out for n, step, r, out in zip(x.shape[2:], stride, reach, output_padding)]
        return x.new_empty(x.shape[0], weight.shape[1] * groups, *sides)
    return x.new_empty(
        x.shape[0], weight.shape[0], *((n - r) // step + 1 for n, r, step in zip(x.shape[2:], reach, stride))
    )


def tensors_in(data: Any) -> Iterator[Tensor]:
    """The tensors of an argument or a result, however they are nested."""
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, list | tuple):
        for item in data:
            yield from tensors_in(item)
    elif isinstance(data, Mapping):
        yield from tensors_in(tuple(data.values()))
    elif is_dataclass(data) and not isinstance(data, type):
        yield from tensors_in(tuple(vars(data).values()))


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
