"""A network of any class, run once: which layers were called with what, and what their operators cost.

The network runs on PyTorch's meta device, without values, as a copy; what it keeps outside its parameters (plain tensors, constants
of scripted code) is taken along operator by operator. If it cannot run without values, it runs on a random image on the CPU.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from search.latency.runtimes import Shape, attention_written_out
from spaces.errors import InputError, reason
from spaces.memory import LayerMemory, moments
from spaces.tracing import Recorder, Step, tensors_in

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules whose children are the layers."""

_UNCOUNTED = frozenset(
    (
        *("mv", "addmv", "dot", "vdot", "addbmm", "_trilinear", "_cdist_forward", "_pdist_forward", "_embedding_bag"),
        *("_native_multi_head_attention", "_transformer_encoder_layer_fwd", "mkldnn_rnn_layer", "_cudnn_rnn"),
        *("_fft_r2c", "_fft_c2c", "_fft_c2r", "_sparse_addmm", "_int_mm", "_weight_int8pack_mm", "_weight_int4pack_mm"),
        *("_grouped_mm", "_scaled_grouped_mm", "_scaled_dot_product_flash_attention_for_cpu", "linear"),
        "_scaled_dot_product_fused_attention_overrideable",
    )
)
"""PyTorch's operators that multiply and add, and for which its counter has no formula."""


@dataclass
class Part:
    """One call of a layer, or what the network's or a container's own forward computes between its layers."""

    name: str
    """The path of its module."""
    module: nn.Module
    is_call: bool
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    in_autocast: bool = False
    """Whether it was called where PyTorch chooses the operators' types."""
    output: Any = None
    flops: int = 0
    """Multiply-adds."""
    uncounted: Counter[str] = field(default_factory=Counter)
    """Operators whose multiply-adds are missing, and how often they ran."""
    accesses: int = 0
    """Values that convolutions and matrix products read and write."""
    peak: int = 0
    """The most values alive at once while it runs."""


@dataclass(frozen=True)
class Trace:
    """One run of a network."""

    module: nn.Module
    """The copy that ran."""
    parts: list[Part]
    """The calls of layers in order, then the own operations of its containers, and the network's."""
    read: frozenset[str]
    """Names of the parameters that some operator read."""
    peak: int
    """The most values alive at once, those that wait for later layers included."""
    needs_values: str = ""
    """Why it could not run without values; empty if it could."""


def run_once(module: nn.Module, image: Shape) -> Trace:
    """Runs a copy of a network on one batch.

    Args:
        module: takes the image alone; none of its parameters is lazy.
        image: the batch's shape.

    Raises:
        InputError: it does not run on such images.
    """
    try:
        return _run(module, image, "meta")
    except InputError:
        raise
    except Exception as error:  # a stranger's network may raise anything
        needs_values = reason(error).partition("\n")[0].partition(". ")[0].removesuffix(".")
    try:
        return _run(module, image, "cpu", needs_values)
    except Exception as error:
        _, channels, *sides = image
        raise InputError(
            f"in_channels={channels}, resolution={tuple(sides)}: the network does not run on images of {image[1:]}: {reason(error)}"
        ) from error


def copy_to(module: nn.Module, device: str, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy in evaluation mode whose parameters, buffers and other tensors are on a device, shared ones still shared.

    Args:
        module: what is copied.
        device: where to.
        dtype: of its floating tensors; None: as they are.

    Raises:
        InputError: it holds something that Python cannot copy.
    """

    def moved(tensor: Tensor) -> Tensor:
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            lazy: Any = type(tensor)
            return lazy(tensor.requires_grad, device, tensor.dtype)
        there = tensor.detach().to(device, dtype if tensor.is_floating_point() else None, copy=True)
        return nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there

    kept = [tensor for part in module.modules() for tensor in tensors_in(vars(part))]
    memo = {id(tensor): moved(tensor) for tensor in kept}
    try:
        return copy.deepcopy(module, memo).eval()
    except Exception as error:
        raise InputError(
            f"module={type(module).__name__}: it cannot be copied, which is how it is left as it is ({reason(error)}); "
            "keep what copy.deepcopy refuses outside the module"
        ) from error


def made_whole(module: nn.Module, image: Shape) -> nn.Module:
    """The network; if some of its parameters are lazy, a copy in which they have got their shapes.

    Raises:
        InputError: it does not run on such images.
    """
    if not any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return module
    whole = copy_to(module, "cpu")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whole(torch.zeros(image, dtype=_dtype(whole)))
    except Exception as error:
        raise InputError(
            f"the network's lazy parameters get no shapes from images of {image[1:]}: {reason(error)}"
        ) from error
    return whole


def _dtype(module: nn.Module) -> torch.dtype:
    """The type of images that a network takes."""
    dtypes = (tensor.dtype for tensor in (*module.parameters(), *module.buffers()))
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)


def _run(module: nn.Module, image: Shape, device: str, needs_values: str = "") -> Trace:
    module = copy_to(module, device)
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(image, generator=generator).to(device, _dtype(module))
    listener = _Listener(module, batch)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        if device != "meta":  # the counter has no formula for the operators that are faster on a CPU
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(attention_written_out())
        stack.enter_context(listener.hearing_scripts())
        stack.enter_context(listener)
        stack.enter_context(listener.counter)
        output = module(batch)
    read = frozenset(name for name, weight in module.named_parameters() if listener.key(weight) in listener.read)
    outputs = [listener.map_of(tensor) for tensor in tensors_in(output)]
    return Trace(module, listener.parts(), read, listener.peak(listener.steps, [0], outputs), needs_values)


@dataclass
class _Stretch:
    """Operators that ran one after the other for one part."""

    part: Part
    start: int
    """Position of the first."""
    num_maps: int
    """Maps that were there before."""
    end: int = 0


class _Listener(Recorder):
    """Notes for which layer each operator runs: the outermost one that is called and is no container."""

    def __init__(self, module: nn.Module, image: Tensor) -> None:
        super().__init__([image], module)
        self.counter = FlopCounterMode(display=False)
        self.read: set[int] = set()
        self._counted = 0
        self._on_meta = image.device.type == "meta"
        self._parts = {"": Part("", module, is_call=False)}
        self._calls: list[Part] = []
        self._inside = [self._parts[""]]
        self._stretches = [_Stretch(self._parts[""], 0, 1)]
        whole = isinstance(module, torch.jit.ScriptModule) or next(module.children(), None) is None
        self._names = {part: name for name, part in ([("", module)] if whole else _layers(module))}
        for part in self._names:
            if not isinstance(part, torch.jit.ScriptModule):
                part.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True)
                part.register_forward_hook(self._leave, with_kwargs=True, always_call=True)

    @contextmanager
    def hearing_scripts(self) -> Iterator[None]:
        """Hears of calls of scripted modules, which take no hooks."""
        call = nn.Module.__call__

        def heard(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if module not in self._names:
                return call(module, *args, **kwargs)
            self._enter(module, args, kwargs)
            output = None
            try:
                output = call(module, *args, **kwargs)
            finally:
                self._leave(module, args, kwargs, output)
            return output

        with mock.patch.object(torch.jit.ScriptModule, "__call__", heard):
            yield

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        part, name = self._inside[-1], self._names[module]
        if not part.is_call:
            if isinstance(module, CONTAINERS):
                part = self._parts.setdefault(name, Part(name, module, is_call=False))
            else:
                args, kwargs = tree_map(lambda leaf: leaf, (args, kwargs))  # lists may grow afterwards
                part = Part(name, module, is_call=True, args=args, kwargs=kwargs)
                part.in_autocast = any(map(torch.is_autocast_enabled, ("cpu", "cuda")))
                self._calls.append(part)
        self._switch(part)
        self._inside.append(part)

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        part = self._inside.pop()
        part.output = output
        self._switch(self._inside[-1])

    def _switch(self, part: Part) -> None:
        """Ends a stretch of operators and begins the next."""
        stretch = self._stretches[-1]
        if part is stretch.part:
            return
        counted = self.counter.get_total_flops() // 2  # it takes two FLOPs for a multiply-add
        stretch.part.flops += counted - self._counted
        stretch.end, self._counted = len(self.steps), counted
        self._stretches.append(_Stretch(part, len(self.steps), len(self.values)))

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator gives; on the meta device tensors that are elsewhere are taken there, where they meet its own."""
        tensors = list(tensors_in((args, kwargs)))
        self.read.update(map(self.key, tensors))
        space, _, name = func.overloadpacket._qualified_op_name.partition("::")
        unknown = space not in ("aten", "prim", "prims", "profiler") or name in _UNCOUNTED or name.startswith("linalg_")
        if unknown and func.overloadpacket not in flop_registry and name != "linalg_vector_norm":
            self._inside[-1].uncounted[name if space == "aten" else f"{space}::{name}"] += 1
        if self._on_meta and len({tensor.is_meta for tensor in tensors}) == 2:
            args, kwargs = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        return func(*args, **kwargs)

    def parts(self) -> list[Part]:
        """What ran, with its costs."""
        self._switch(Part("", nn.Identity(), is_call=False))  # ends the last stretch
        last_read = {number: position for position, step in enumerate(self.steps) for number in step.reads}
        for stretch in self._stretches[:-1]:
            part, steps = stretch.part, self.steps[stretch.start : stretch.end]
            part.accesses += sum(step.accesses for step in steps)
            read = sorted({number for step in steps for number in step.reads if number < stretch.num_maps})
            made = {step.makes for step in steps} | set(map(self.map_of, tensors_in(part.output)))
            kept = [number for number in made if last_read.get(number, len(self.steps)) >= stretch.end]
            part.peak = max(part.peak, self.peak(steps, read, kept))
        for part in self._calls:  # what passes its input on runs no operator
            part.peak = part.peak or sum(tensor.numel() for tensor in tensors_in((part.args, part.kwargs)))
        network, *containers = self._parts.values()
        return [*self._calls, *containers, network]

    def peak(self, steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int]) -> int:
        """The most values alive at once during these steps."""
        if not steps:
            return sum(self.values[number] for number in inputs)
        return LayerMemory(
            0, tuple(moments(steps, self.values, inputs, outputs)), tuple(self.values[n] for n in inputs)
        ).peak


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules inside by path; scripted ones run their children without hooks, and are not entered."""
    scripted: tuple[str, ...] = ()
    for name, part in module.named_modules():
        if name and not name.startswith(scripted):
            yield name, part
            scripted += (f"{name}.",) * isinstance(part, torch.jit.ScriptModule)
