"""A module as an ONNX model, in a small part of the time that PyTorch's exporter takes for it.

The module is run once; every operator that PyTorch's dispatcher sees on the way becomes the ONNX node, or the few, that the
exporter makes of it. So a runtime runs the same graph, which the tests hold against the exporter's. An operator that is not in the
table here is left to the exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

OPSET = 17
"""Version of ONNX's operators that models are written in."""


class UntraceableError(Exception):
    """An operator that is not translated here."""


def trace(module: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    """The module as an ONNX model of inputs of these shapes.

    Args:
        module: in evaluation mode, of the inputs' type.
        inputs: what it is run on.

    Raises:
        UntraceableError: it holds an operator that is not translated here.
    """
    graph = _Graph(inputs)
    # as under PyTorch's own tracer, modules take the way that is written for exporters
    with mock.patch.object(torch.jit, "is_tracing", return_value=True), torch.no_grad(), graph:
        output = module(*inputs)
    if not isinstance(output, Tensor):
        raise UntraceableError(f"it returns {type(output).__name__}")
    return graph.model(output)


class _Graph(TorchDispatchMode):
    """Notes what runs as ONNX nodes."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        from onnx import helper, numpy_helper

        self._helper, self._from_array = helper, numpy_helper.from_array
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs = list(inputs)
        self._names: dict[int, str] = {}
        """Of every tensor that depends on the inputs, by its id."""
        self._overwritten: set[int] = set()
        self._alive: list[Tensor] = []
        """Every tensor that has a name: an id is its own while it lives."""
        self._stored: dict[int, str] = {}
        self.joined: dict[tuple[str, int], list[str]] = {}
        """What was concatenated along which axis: of several in a row, one is left."""
        for position, tensor in enumerate(inputs):
            self.name(tensor, f"input{position}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(id(tensor) in self._names for tensor in _tensors(args)):
            name = func.overloadpacket.__name__
            if name in _IN_PLACE:
                self._overwrite(output)
                name = name.removesuffix("_")
            if name not in _OPERATORS:
                raise UntraceableError(f"it runs {func}")
            try:
                _OPERATORS[name](self, output, *args, **(kwargs or {}))
            except TypeError as error:
                raise UntraceableError(f"it runs {func} with arguments that are not translated") from error
        return output

    def read(self, value: Tensor) -> str:
        """The name of a tensor; one that depends on no input is a constant.

        Raises:
            UntraceableError: something else has written over it.
        """
        if id(value) in self._overwritten:
            raise UntraceableError("it reads what was written over")
        return self._names.get(id(value)) or self._stored.get(id(value)) or self.constant(value)

    def integers(self, values: Sequence[int]) -> str:
        """The name of a list of integers."""
        return self.constant(torch.tensor(values, dtype=torch.int64))

    def number(self, value: float) -> str:
        """The name of a number of the inputs' type."""
        return self.constant(torch.tensor(value, dtype=self._inputs[0].dtype))

    def constant(self, value: Tensor) -> str:
        """The name of a tensor that is the same whatever the inputs are."""
        name = f"constant{len(self._constants)}"
        self._constants.append(self._from_array(value.detach().contiguous().numpy(), name))
        self._stored[id(value)] = name
        self._alive.append(value)
        return name

    def name(self, tensor: Tensor, name: str) -> None:
        """Gives a tensor the name of what holds its values."""
        self._names[id(tensor)] = name
        self._alive.append(tensor)

    def add(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Appends a node; returns the names of its outputs."""
        names = [f"{kind}{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(self._helper.make_node(kind, inputs, names, **attributes))
        return names

    def model(self, output: Tensor) -> bytes:
        """The file's content."""
        make = self._helper
        kinds = {torch.float32: 1, torch.float16: 10}  # ONNX's own numbers of them
        named = [(f"input{position}", tensor) for position, tensor in enumerate(self._inputs)]
        inputs, outputs = (
            [make.make_tensor_value_info(name, kinds[t.dtype], list(t.shape)) for name, t in ends]
            for ends in (named, [(self.read(output), output)])
        )
        graph = make.make_graph(self._needed(self.read(output)), "graph", inputs, outputs, self._constants)
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], ir_version=8)
        return bytes(model.SerializeToString())

    def _needed(self, output: str) -> list[Any]:
        """The nodes that the output depends on."""
        needed, nodes = {output}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        return nodes[::-1]

    def _overwrite(self, tensor: Tensor) -> None:
        """Notes that other views of a tensor's memory no longer hold what their names say."""
        storage = tensor.untyped_storage()._cdata
        for other in self._alive:
            if other is not tensor and id(other) in self._names and other.untyped_storage()._cdata == storage:
                self._overwritten.add(id(other))


def _tensors(data: Any) -> Iterator[Tensor]:
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _tensors(item)


Operator = Callable[..., None]


def _elementwise(kind: str) -> Operator:
    """One node that reads one tensor."""

    def emit(graph: _Graph, output: Tensor, x: Tensor) -> None:
        graph.name(output, *graph.add(kind, [graph.read(x)]))

    return emit


def _arithmetic(kind: str) -> Operator:
    """One node that reads two tensors, or one and a number."""

    def emit(graph: _Graph, output: Tensor, a: Any, b: Any, alpha: float = 1) -> None:
        if alpha != 1:
            raise UntraceableError("it scales what it adds")
        if any(isinstance(t, Tensor) and t.dtype != output.dtype for t in (a, b)):
            raise UntraceableError("it mixes types of numbers")
        a, b = (graph.read(t) if isinstance(t, Tensor) else graph.number(t) for t in (a, b))
        graph.name(output, *graph.add(kind, [a, b]))

    return emit


def _same(graph: _Graph, output: Tensor, x: Tensor, *_: Any, **__: Any) -> None:
    graph.name(output, graph.read(x))


def _whole_slice(graph: _Graph, output: Tensor, x: Tensor) -> None:
    """All of a dimension, as in x[:, :channels]: the exporter writes it out, and it takes the time of a copy."""
    _slice(graph, output, x, 1, 0, x.shape[1])


def _convolution(
    graph: _Graph,
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _: Sequence[int],
    groups: int,
    *_scripted: bool,
) -> None:
    if transposed or weight.dim() != 4:
        raise UntraceableError("it runs another convolution than in two dimensions")
    inputs = [graph.read(t) for t in (x, weight, bias) if t is not None]
    attributes: dict[str, Any] = {"group": groups, "kernel_shape": list(weight.shape[2:]), "pads": [*padding, *padding]}
    graph.name(output, *graph.add("Conv", inputs, strides=list(stride), dilations=list(dilation), **attributes))


def _normalisation(graph: _Graph, output: Any, x: Tensor, *rest: Any) -> None:
    *parameters, training, _, eps = rest if len(rest) == 7 else (*rest[:4], False, *rest[4:])
    if training or any(p is None for p in parameters):
        raise UntraceableError("it normalises by the batch")
    graph.name(output[0], *graph.add("BatchNormalization", [graph.read(t) for t in (x, *parameters)], epsilon=eps))


def _clip(graph: _Graph, output: Tensor, x: Tensor, low: float = -1, high: float = 1) -> None:
    graph.name(output, *graph.add("Clip", [graph.read(x), graph.number(low), graph.number(high)]))


def _swish(graph: _Graph, output: Tensor, x: Tensor) -> None:
    gate = graph.add("Sigmoid", [graph.read(x)])
    graph.name(output, *graph.add("Mul", [graph.read(x), *gate]))


def _hard_sigmoid(graph: _Graph, output: Tensor, x: Tensor) -> None:
    graph.name(output, *graph.add("HardSigmoid", [graph.read(x)], alpha=1 / 6))


def _prelu(graph: _Graph, output: Tensor, x: Tensor, slope: Tensor) -> None:
    graph.name(output, *graph.add("PRelu", [graph.read(x), graph.read(slope)]))


def _concatenation(graph: _Graph, output: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> None:
    axis = dim % output.dim()
    parts = [part for t in tensors for part in graph.joined.get((graph.read(t), axis), [graph.read(t)])]
    [name] = graph.add("Concat", parts, axis=axis)
    graph.joined[name, axis] = parts
    graph.name(output, name)


def _stack(graph: _Graph, output: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> None:
    axis = graph.integers([dim % output.dim()])
    parts = [graph.add("Unsqueeze", [graph.read(t), axis])[0] for t in tensors]
    graph.name(output, *graph.add("Concat", parts, axis=dim % output.dim()))


def _reshape(graph: _Graph, output: Tensor, x: Tensor, *_: Any) -> None:
    if output.dim() == 2 and output.shape[0] == x.shape[0]:
        graph.name(output, *graph.add("Flatten", [graph.read(x)], axis=1))
    else:
        graph.name(output, *graph.add("Reshape", [graph.read(x), graph.integers(output.shape)]))


def _transpose(graph: _Graph, output: Tensor, x: Tensor, first: int, second: int) -> None:
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    _permute(graph, output, x, order)


def _permute(graph: _Graph, output: Tensor, x: Tensor, order: Sequence[int]) -> None:
    graph.name(output, *graph.add("Transpose", [graph.read(x)], perm=[i % x.dim() for i in order]))


def _gather(graph: _Graph, output: Tensor, x: Tensor, dim: int, index: Tensor) -> None:
    graph.name(output, *graph.add("Gather", [graph.read(x), graph.read(index)], axis=dim % x.dim()))


def _slice(
    graph: _Graph, output: Tensor, x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> None:
    last = min(x.shape[dim] if end is None else end, x.shape[dim])
    ends = [graph.integers([number]) for number in (start or 0, last, dim % x.dim(), step)]
    graph.name(output, *graph.add("Slice", [graph.read(x), *ends]))


def _split(graph: _Graph, outputs: Sequence[Tensor], x: Tensor, _: Any, dim: int = 0) -> None:
    dim %= x.dim()
    sizes = graph.integers([part.shape[dim] for part in outputs])
    for part, name in zip(outputs, graph.add("Split", [graph.read(x), sizes], len(outputs), axis=dim), strict=True):
        graph.name(part, name)


def _unbind(graph: _Graph, outputs: Sequence[Tensor], x: Tensor, dim: int = 0) -> None:
    dim %= x.dim()
    sizes, axis = graph.integers([1] * len(outputs)), graph.integers([dim])
    for part, name in zip(outputs, graph.add("Split", [graph.read(x), sizes], len(outputs), axis=dim), strict=True):
        graph.name(part, *graph.add("Squeeze", [name, axis]))


def _pad(mode: str) -> Operator:
    def emit(graph: _Graph, output: Tensor, x: Tensor, pad: Sequence[int], value: float = 0) -> None:
        missing = x.dim() - len(pad) // 2  # PyTorch names the last dimensions first
        sides = [[0] * missing + list(pad[i::2])[::-1] for i in (0, 1)]
        inputs = [graph.read(x), graph.integers([*sides[0], *sides[1]])]
        graph.name(
            output, *graph.add("Pad", [*inputs, *([graph.number(value)] if mode == "constant" else [])], mode=mode)
        )

    return emit


def _mean(graph: _Graph, output: Tensor, x: Tensor, dims: Sequence[int], keepdim: bool = False) -> None:
    if list(dims) == [-1, -2] and keepdim and x.dim() == 4:  # what an adaptive pool to one pixel is
        graph.name(output, *graph.add("GlobalAveragePool", [graph.read(x)]))
    else:
        axes = [dim % x.dim() for dim in dims]
        graph.name(output, *graph.add("ReduceMean", [graph.read(x)], axes=axes, keepdims=int(keepdim)))


def _greatest(graph: _Graph, output: Tensor, x: Tensor, dims: Sequence[int] = (), keepdim: bool = False) -> None:
    axes = [dim % x.dim() for dim in dims]
    graph.name(output, *graph.add("ReduceMax", [graph.read(x)], axes=axes, keepdims=int(keepdim)))


def _greatest_pixel(graph: _Graph, output: Any, x: Tensor, size: Sequence[int]) -> None:
    if list(size) != [1, 1]:
        raise UntraceableError("it pools to several pixels")
    sides = list(x.shape[2:])
    graph.name(output[0], *graph.add("MaxPool", [graph.read(x)], kernel_shape=sides, strides=sides))


def _select(graph: _Graph, output: Tensor, x: Tensor, dim: int, index: int) -> None:
    position = graph.constant(torch.tensor(index % x.shape[dim]))
    graph.name(output, *graph.add("Gather", [graph.read(x), position], axis=dim % x.dim()))


def _unsqueeze(graph: _Graph, output: Tensor, x: Tensor, dim: int) -> None:
    graph.name(output, *graph.add("Unsqueeze", [graph.read(x), graph.integers([dim % output.dim()])]))


def _product(graph: _Graph, output: Tensor, x: Tensor, weight: Tensor) -> None:
    graph.name(output, *graph.add("MatMul", [graph.read(x), graph.read(weight)]))


def _linear(graph: _Graph, output: Tensor, bias: Tensor, x: Tensor, weight: Tensor) -> None:
    inputs = [graph.read(x), graph.read(weight.t().contiguous()), graph.read(bias)]
    graph.name(output, *graph.add("Gemm", inputs, transB=1))


def _max_pool(
    graph: _Graph,
    output: Any,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> None:
    pairs = [list(p) * 2 if len(p) == 1 else list(p) for p in (kernel, stride or kernel, padding, dilation)]
    attributes: dict[str, Any] = {
        "strides": pairs[1],
        "pads": pairs[2] * 2,
        "dilations": pairs[3],
        "ceil_mode": int(ceil),
    }
    graph.name(output[0], *graph.add("MaxPool", [graph.read(x)], kernel_shape=pairs[0], **attributes))


def _average_pool(
    graph: _Graph,
    output: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    padding_counts: bool = True,
    divisor: int | None = None,
) -> None:
    if divisor is not None:
        raise UntraceableError("it averages with a divisor of its own")
    kernel, stride, padding = (list(p) * 2 if len(p) == 1 else list(p) for p in (kernel, stride or kernel, padding))
    read, pads = graph.read(x), [*padding, *padding]
    if padding_counts and any(padding):
        sides = [0, 0, *padding]
        [read] = graph.add("Pad", [read, graph.integers([*sides, *sides]), graph.number(0)], mode="constant")
        pads = [0] * 4
    attributes: dict[str, Any] = {"strides": stride, "pads": pads, "ceil_mode": int(ceil)}
    graph.name(output, *graph.add("AveragePool", [read], kernel_shape=kernel, **attributes))


_ACTIVATIONS: dict[str, Operator] = {
    "relu": _elementwise("Relu"),
    "hardtanh": _clip,
    "hardswish": _elementwise("HardSwish"),
    "sigmoid": _elementwise("Sigmoid"),
    "silu": _swish,
    "hardsigmoid": _hard_sigmoid,
}

_OPERATORS: dict[str, Operator] = {
    **_ACTIVATIONS,
    "_prelu_kernel": _prelu,
    "convolution": _convolution,
    "_convolution": _convolution,  # as scripted code calls it
    "native_batch_norm": _normalisation,
    "_native_batch_norm_legit_no_training": _normalisation,
    "add": _arithmetic("Add"),
    "mul": _arithmetic("Mul"),
    "div": _arithmetic("Div"),
    "maximum": _arithmetic("Max"),
    "cat": _concatenation,
    "stack": _stack,
    "view": _reshape,
    "_unsafe_view": _reshape,
    "clone": _same,
    "alias": _whole_slice,
    "detach": _same,
    "transpose": _transpose,
    "permute": _permute,
    "index_select": _gather,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "constant_pad_nd": _pad("constant"),
    "replication_pad2d": _pad("edge"),
    "mean": _mean,
    "amax": _greatest,
    "adaptive_max_pool2d": _greatest_pixel,
    "select": _select,
    "unsqueeze": _unsqueeze,
    "mm": _product,
    "addmm": _linear,
    "avg_pool2d": _average_pool,
    "max_pool2d_with_indices": _max_pool,
}
"""What is translated, by its name in PyTorch's dispatcher."""

_IN_PLACE = frozenset(f"{name}_" for name in (*_ACTIVATIONS, "add", "mul"))
"""Those of them that also write over what they read."""
