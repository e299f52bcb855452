"""Which operators run in a module: the maps that each reads and makes, and the values that it moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spaces.blocks.ops import SymmetricPad2d

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
