"""NASNet cells: a small graph of steps, each the sum of two operations on two earlier states.

Source: Zoph et al., Learning transferable architectures for scalable image recognition (2018),
https://arxiv.org/abs/1707.07012, section 3 and figure 4; where the paper is silent, the authors' code.

A cell is data: `steps` lists, for each step, its two [operation, state] pairs. The states are `h`, what the layer before
made, `p`, what the one before that made, and `a`, `b`, `c`, ..., the results of the steps in their order. So the first step
of the best normal cell, "sep 5x5 of h plus sep 3x3 of p", is written [[sep5, h], [sep3, p]]. Operations are

    identity      the state itself; a 1x1 convolution where stride or channels change
    sepK          twice: depthwise KxK and 1x1 convolution
    convK, dilK   a KxK convolution; with dilation 2
    facK          a 1xK, then a Kx1 convolution
    avgK, maxK    a KxK pool, K odd

Convolutions are activation, convolution, batch normalisation. Operations on h and p take the cell's stride.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.ops import activate, conv_norm_act
from spaces.operation import Map, Operations
from spaces.sizes import Pair, Size, strided

EPS = 1e-3
"""Of every batch normalisation, as in the authors' code."""

INPUTS = ("h", "p")

RESULTS = [letter for letter in ascii_lowercase if letter not in INPUTS]
"""Names of the steps' results, in order."""


class Operation(NamedTuple):
    """One of a step's two operations."""

    kind: str
    kernel_size: int
    state: str
    """What it reads."""


class Wiring(NamedTuple):
    """A cell's graph."""

    steps: tuple[tuple[Operation, Operation], ...]
    concat: tuple[str, ...]
    """States that make the output."""

    def reads(self, state: str) -> bool:
        """Whether anything uses the state; an input that nothing reads gets no weights."""
        return state in self.concat or any(state in (left.state, right.state) for left, right in self.steps)


class PreConv(NamedTuple):
    """Activation, convolution, batch normalisation; the first and the last may be missing."""

    in_channels: int
    out_channels: int
    kernel_size: Pair = 1
    stride: Pair = 1
    groups: int = 1
    dilation: int = 1
    active: bool = True
    norm: bool = True


class Pool(NamedTuple):
    """A pool that leaves its padding out of the mean."""

    kind: str
    kernel_size: int
    stride: int


class Plan(NamedTuple):
    """All that a cell consists of, for its module and for its cost alike."""

    wiring: Wiring
    inputs: dict[str, PreConv]
    """How h and p become F channels; a stride means a factorized reduction."""
    steps: list[list[list[PreConv | Pool]]]
    """Step, operation, layers."""
    outputs: dict[str, PreConv]
    """How a concatenated h or p gets the size and channels of the steps' results, where it differs from them."""


class NASNetCell(nn.Module):
    """A cell: h and p are brought to F channels, the steps make new states from them, some states are concatenated.

    F is the output's channels divided by the number of concatenated states: 6F channels in NASNet-A's normal cell, 4F in
    its reduction cell. h and p go through activation, 1x1 convolution and batch normalisation; a p of a larger size (the
    layer before has reduced) through a factorized reduction instead. With a single input (the network's first cell) p is
    h as it came. A concatenated h or p that differs from the steps' results in size or channels is brought to theirs in
    the same way, without activation. Every operation pads so that the output is ceil(side / stride).

    Args:
        in_channels: of h and p, or of the only input.
        steps: as described at the top of this file.
        concat: states that make the output; None takes every step's result that no other step reads.
        activation: before every convolution.
        size: (height, width) of h and of p, or of the only input.
    """

    needs_size = True

    def __init__(
        self,
        in_channels: int | tuple[int, ...],
        out_channels: int,
        stride: int = 1,
        *,
        steps: Sequence[Any],
        concat: Sequence[str] | None = None,
        activation: str | None = "relu",
        size: Size | tuple[Size, ...],
    ) -> None:
        super().__init__()
        plan = _plan(in_channels, out_channels, stride, size, _read(steps, concat))
        self.wiring = plan.wiring
        self.inputs = nn.ModuleDict({name: _adjust(conv, activation) for name, conv in plan.inputs.items()})
        self.steps = nn.ModuleList(
            Step(*(nn.Sequential(*(_module(layer, activation) for layer in layers)) for layers in step))
            for step in plan.steps
        )
        self.outputs = nn.ModuleDict({name: _adjust(conv, activation) for name, conv in plan.outputs.items()})

    def forward(self, h: Tensor, p: Tensor | None = None) -> Tensor:
        """h: (N, C, H, W), p: (N, C', H', W') inputs. Returns (N, O, H / stride, W / stride)."""
        states = {"h": h, "p": h if p is None else p}
        states |= {name: adjust(states[name]) for name, adjust in self.inputs.items()}
        for result, step, (left, right) in zip(RESULTS, self.steps, self.wiring.steps):
            states[result] = step(states[left.state], states[right.state])
        states |= {name: adjust(states[name]) for name, adjust in self.outputs.items()}
        return torch.cat([states[name] for name in self.wiring.concat], dim=1)

    @staticmethod
    def operations(
        in_channels: int | tuple[int, ...],
        out_channels: int,
        stride: int,
        size: Size | tuple[Size, ...],
        *,
        steps: Sequence[Any],
        concat: Sequence[str] | None,
        activation: str | None,
    ) -> Operations:
        """The adjustment of both inputs and the layers of all operations."""
        plan = _plan(in_channels, out_channels, stride, size, _read(steps, concat))
        ops = Operations(in_channels, size)
        states: dict[str, Map] = {"h": ops.inputs[0], "p": ops.inputs[-1]}
        for name, conv in plan.inputs.items():
            states[name] = _adjusted(ops, f"inputs.{name}", states[name], conv, activation)
        for i, (result, step, reads) in enumerate(zip(RESULTS, plan.steps, plan.wiring.steps)):
            sides = []
            for side, layers, read in zip(("left", "right"), step, reads):
                x = states[read.state]
                for j, layer in enumerate(layers):
                    x = _listed(ops, f"steps.{i}.{side}.{j}", x, layer, activation)
                sides.append(x)
            left, right = sides
            states[result] = ops.elementwise("add", left, right)
        for name, conv in plan.outputs.items():
            states[name] = _adjusted(ops, f"outputs.{name}", states[name], conv, activation)
        ops.concat(*[states[name] for name in plan.wiring.concat])
        return ops

    @staticmethod
    def channel_multiples(*, steps: Sequence[Any], concat: Sequence[str] | None) -> tuple[int, int]:
        """The concatenated states divide the output among them."""
        return 1, len(_read(steps, concat).concat)


class Step(nn.Module):
    """The sum of two operations, each on its own input."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y: (N, C, H, W) states. Returns (N, F, H', W')."""
        return self.left(x) + self.right(y)


class FactorizedReduction(nn.Module):
    """Reduces the size by 1x1 convolutions that between them see pixels of two diagonals instead of one.

    The second half of the outputs reads the map shifted by one pixel (appendix A.3 of the paper, authors' code).
    """

    def __init__(self, conv: PreConv, activation: str | None = "relu") -> None:
        super().__init__()
        second = conv.out_channels // 2
        self.activation = activate(activation if conv.active else None, conv.in_channels, inplace=False)
        self.straight = nn.Conv2d(conv.in_channels, conv.out_channels - second, 1, conv.stride, bias=False)  # type: ignore[arg-type]
        self.shifted = nn.Conv2d(conv.in_channels, second, 1, conv.stride, bias=False) if second else None  # type: ignore[arg-type]
        self.norm = nn.BatchNorm2d(conv.out_channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) input. Returns (N, F, H / stride, W / stride)."""
        x = self.activation(x)
        paths = [self.straight(x)]
        if self.shifted is not None:
            paths.append(self.shifted(F.pad(x, (-1, 1, -1, 1))))
        return self.norm(torch.cat(paths, dim=1))


def _plan(
    in_channels: int | tuple[int, ...], out_channels: int, stride: int, size: Size | tuple[Size, ...], wiring: Wiring
) -> Plan:
    """What a cell consists of.

    Raises:
        ValueError: the concatenated states do not divide the output's channels, or p does not shrink to h's size.
    """
    states = len(wiring.concat)
    if out_channels % states:
        raise ValueError(f"{out_channels} output channels are not a multiple of the {states} concatenated states")
    filters = out_channels // states
    channels = dict.fromkeys((*INPUTS, *RESULTS), filters)
    inputs = {}
    if isinstance(in_channels, int):
        inputs["h"] = PreConv(in_channels, filters)
        channels["p"] = in_channels
    else:
        if len(in_channels) != 2:
            raise ValueError(f"a cell reads one or two inputs, not {len(in_channels)}")
        h_size, p_size = _by_input(size)
        inputs["h"] = PreConv(in_channels[0], filters)
        inputs["p"] = PreConv(in_channels[1], filters, stride=_shrink(p_size, h_size))
    steps = [
        [_layers(o, channels[o.state], filters, stride if o.state in INPUTS else 1) for o in step]
        for step in wiring.steps
    ]
    outputs = {
        name: PreConv(channels[name], filters, stride=stride, active=False)
        for name in wiring.concat
        if name in INPUTS and (stride != 1 or channels[name] != filters)
    }
    return Plan(wiring, {name: conv for name, conv in inputs.items() if wiring.reads(name)}, steps, outputs)


def _by_input(size: Any) -> tuple[Size, Size]:
    """Sizes of h and p."""
    return (size, size) if isinstance(size[0], int) else tuple(size)


def _shrink(p_size: Size, h_size: Size) -> int:
    """The stride that brings p to h's size."""
    stride = max(-(-p // h) for p, h in zip(p_size, h_size))
    if tuple(-(-p // stride) for p in p_size) != tuple(h_size):
        raise ValueError(f"no stride brings the older input, {p_size[0]}x{p_size[1]}, to {h_size[0]}x{h_size[1]}")
    return stride


def _layers(operation: Operation, channels: int, filters: int, stride: int) -> list[PreConv | Pool]:
    """Layers of an operation on a state of `channels`; it makes `filters`."""
    kind, k, _ = operation
    if kind == "identity":
        return [] if stride == 1 and channels == filters else [PreConv(channels, filters, 1, stride)]
    if kind == "sep":
        return [
            PreConv(channels, channels, k, stride, groups=channels, norm=False),
            PreConv(channels, filters, active=False),
            PreConv(filters, filters, k, groups=filters, norm=False),
            PreConv(filters, filters, active=False),
        ]
    if kind == "fac":
        return [PreConv(channels, filters, (1, k), (1, stride)), PreConv(filters, filters, (k, 1), (stride, 1))]
    if kind in ("conv", "dil"):
        return [PreConv(channels, filters, k, stride, dilation=2 if kind == "dil" else 1)]
    pool = Pool(kind, k, stride)
    return [pool] if channels == filters else [pool, PreConv(channels, filters, active=False)]


def _module(layer: PreConv | Pool, activation: str | None) -> nn.Module:
    if isinstance(layer, PreConv):
        return _pre_conv(layer, activation)
    padding = layer.kernel_size // 2
    if layer.kind == "max":
        return nn.MaxPool2d(layer.kernel_size, layer.stride, padding)
    return nn.AvgPool2d(layer.kernel_size, layer.stride, padding, count_include_pad=False)


def _adjust(conv: PreConv, activation: str | None) -> nn.Module:
    return _pre_conv(conv, activation) if conv.stride == 1 else FactorizedReduction(conv, activation)


def _adjusted(ops: Operations, path: str, x: Map, conv: PreConv, activation: str | None) -> Map:
    """What `_adjust` at `path` computes."""
    if conv.stride == 1:
        return _listed(ops, path, x, conv, activation)
    x = ops.activation(path + ".activation", x, activation if conv.active else None)
    second = conv.out_channels // 2
    paths: list[Map] = [ops.convolution(path + ".straight", x, conv.out_channels - second, 1, conv.stride)]
    if second:
        paths.append(ops.convolution(path + ".shifted", x, second, 1, conv.stride))
    return ops.norm(path + ".norm", ops.concat(*paths))


def _pre_conv(conv: PreConv, activation: str | None) -> nn.Module:
    convolution = conv_norm_act(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        groups=conv.groups,
        dilation=conv.dilation,
        norm=conv.norm,
        eps=EPS,
        bias=False,
        activation=None,
    )
    if not conv.active:
        return convolution
    # others read the state too: never in place
    return nn.Sequential(activate(activation, conv.in_channels, inplace=False), convolution)


def _listed(ops: Operations, path: str, x: Map, layer: PreConv | Pool, activation: str | None) -> Map:
    """What `_module` at `path` computes."""
    if isinstance(layer, Pool):
        return ops.pool(layer.kind, x, strided(x.out_size, layer.stride))
    if layer.active:
        x, path = ops.activation(path + ".0", x, activation), path + ".1"
    return ops.conv_norm_act(
        path,
        x,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        groups=layer.groups,
        dilation=layer.dilation,
        norm=layer.norm,
        bias=False,
        activation=None,
    )


def _read(steps: Sequence[Any], concat: Sequence[str] | None) -> Wiring:
    """The graph of a description.

    Raises:
        ValueError: an unknown operation or state, or a result nobody uses.
    """
    if not isinstance(steps, list | tuple) or not 1 <= len(steps) <= len(RESULTS):
        raise ValueError(f"a cell has 1 to {len(RESULTS)} steps, as [[[sep5, h], [sep3, p]]]; got {steps!r}")
    known = list(INPUTS)
    read = []
    for result, step in zip(RESULTS, steps):
        if not isinstance(step, list | tuple) or len(step) != 2:
            raise ValueError(f"step {result} adds two operations, as [[sep5, h], [sep3, p]]; got {step!r}")
        read.append((_read_operation(step[0], known, result), _read_operation(step[1], known, result)))
        known.append(result)
    used = {operation.state for step in read for operation in step}
    loose = tuple(result for result in known[len(INPUTS) :] if result not in used)
    if concat is None:
        return Wiring(tuple(read), loose)
    for state in concat:
        if state not in known:
            raise ValueError(f"concat names no state: {state!r}; valid: {', '.join(known)}")
    lost = [state for state in loose if state not in concat]
    if lost:
        raise ValueError(f"nothing uses the results of {', '.join(lost)}: add them to concat, or leave concat out")
    return Wiring(tuple(read), tuple(concat))


def _read_operation(pair: Any, known: Sequence[str], result: str) -> Operation:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"step {result} lists [operation, state] pairs, as [sep5, h]; got {pair!r}")
    name, state = pair
    if state not in known:
        raise ValueError(f"step {result} reads no earlier state: {state!r}; valid: {', '.join(known)}")
    match = re.fullmatch(r"(identity)|(sep|conv|dil|fac|avg|max)([1-9]\d*)", str(name))
    if match is None:
        kinds = "identity, sepK, convK, dilK, facK, avgK, maxK with a kernel size K"
        raise ValueError(f"step {result} has an unknown operation {name!r}; valid: {kinds}")
    if match[1]:
        return Operation("identity", 1, state)
    kind, kernel_size = match[2], int(match[3])
    if kind in ("avg", "max") and kernel_size % 2 == 0:
        raise ValueError(f"step {result}: a pool is centred on its pixel, so its side is odd; got {name}")
    return Operation(kind, kernel_size, state)
