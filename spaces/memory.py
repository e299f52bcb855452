"""What a network moves and holds in memory: bytes read and written, and the most that is alive at once.

What a layer moves is part of its cost (`spaces/costs.py`). What it holds is found by running each distinct layer once on PyTorch's
meta device, where tensors have shapes but no values (some milliseconds), and is remembered.

*Memory access* is that of guideline G1 of Ma et al., ShuffleNet V2 (2018), https://arxiv.org/abs/1807.11164, section 2: every
convolution and linear layer reads its input map and its weights and writes its output map, h w (c1 + c2) + c1 c2 values for a 1x1
convolution. An input is the map before padding; biases, and what layers without weights move, are not counted.

*Activations alive at once* are those of a runtime that frees a map after its last reader and normalises, activates, adds and
multiplies in place where nobody else reads the map that is overwritten. A layer never overwrites its input. Pools, concatenations,
shuffles and paddings make a new map; views and integer tensors take no room; weights and a convolution's workspace are not
activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spaces.architecture import Architecture, Layer
from spaces.blocks import block_of
from spaces.blocks.protocol import Block
from spaces.costs import cost, count_accesses, layer_costs, walk
from spaces.errors import BLOCK_ERRORS, InputError

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
            raise InputError(f"{layer}: {error}") from error
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
    accesses = count_accesses(module)
    recorder = _Recorder(images, weights=[*module.parameters(), *module.buffers()])
    with torch.device("meta"), torch.no_grad(), recorder:
        output = module(*images)
    values = tuple(image.numel() for image in images)
    return LayerMemory(sum(accesses), tuple(_moments(recorder, recorder.map_of(output), len(images))), values)


class _Step(NamedTuple):
    """One operator: the maps it reads, the map it makes or changes, and whether it may write over what it reads."""

    reads: tuple[int, ...]
    makes: int
    in_place: bool


class _Recorder(TorchDispatchMode):
    """Notes every operator, with maps numbered: the inputs first."""

    def __init__(self, images: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        super().__init__()
        self._weights = {self._key(weight) for weight in weights}
        self.steps: list[_Step] = []
        self.values: list[int] = []
        self._maps: dict[int, int] = {}
        self._alive: list[Any] = []  # keeps storages, so that their addresses stay unique
        for image in images:
            self._number(image)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; to be left out of it by PyTorch's decorator would take seconds to import."""
        return False

    def map_of(self, tensor: Tensor) -> int:
        """The number of the map that a tensor is, or is a view of; one not met, such as of positions or truths, is new."""
        if self._key(tensor) not in self._maps:
            self._number(tensor)
        return self._maps[self._key(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = _shaped_like_run(func, args, kwargs or {})
        reads = tuple({self._maps[key] for key in map(self._key, _tensors((args, kwargs))) if key in self._maps})
        # a normalisation gives its statistics too, a maximum its positions: the map comes first
        made = next(_tensors(output), None)
        if made is not None and made.is_floating_point() and self._key(made) not in self._weights:
            if self._key(made) not in self._maps:
                self._number(made)
            name = func.overloadpacket._qualified_op_name.partition("::")[2]
            self.steps.append(_Step(reads, self._maps[self._key(made)], name in _IN_PLACE))
        return output

    def _key(self, tensor: Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def _number(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        self._maps[storage._cdata] = len(self.values)
        self.values.append(tensor.numel())


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
    x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *_: Any
) -> Tensor:
    """An empty map of a convolution's shape."""
    assert not transposed
    reach = [side + 2 * p - d * (k - 1) - 1 for side, p, d, k in zip(x.shape[2:], padding, dilation, weight.shape[2:])]
    return x.new_empty(x.shape[0], weight.shape[0], *(length // step + 1 for length, step in zip(reach, stride)))


def _tensors(data: Any) -> Iterator[Tensor]:
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _tensors(item)
    elif isinstance(data, dict):
        yield from _tensors(tuple(data.values()))


def _moments(recorder: _Recorder, output: int, num_inputs: int) -> list[Moment]:
    """The states of memory from step to step, the dominated ones left out."""
    last_read = {number: position for position, step in enumerate(recorder.steps) for number in step.reads}
    last_read[output] = len(recorder.steps)
    room = dict.fromkeys(range(num_inputs), 0)
    moments = set()
    for position, step in enumerate(recorder.steps):
        if step.makes not in room:
            room[step.makes] = recorder.values[step.makes]
            free = [n for n in step.reads if last_read[n] == position and room[n] == room[step.makes]]
            if step.in_place and free:
                room[free[0]] = 0  # it is written over
        inner = sum(room[n] for n in room if last_read.get(n, position) >= position)
        moments.add(Moment(inner, tuple(i for i in range(num_inputs) if last_read.get(i, -1) >= position)))
    if not moments:  # it passes its input on
        return [Moment(0, (0,))]
    return sorted(m for m in moments if not any(_dominates(other, m) for other in moments))


def _dominates(one: Moment, other: Moment) -> bool:
    return one != other and one.inner >= other.inner and set(one.inputs) >= set(other.inputs)
