"""How fast the layers of a network of any class are, each called with arguments like those that the network gives it.

A call is timed by itself if random tensors of the same shapes make it do the same work. Otherwise its latency is not known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from search.latency.calls import Part, Trace, copy_to, run_once
from search.latency.device import Device, describe, in_words
from search.latency.measuring import Latency, Measurement, Run, measure
from search.latency.runtimes import DTYPES, Runtime, Shape, UnsupportedError
from spaces.errors import InputError
from spaces.tracing import tensors_in


def time_calls(
    module: nn.Module, image: Shape, trace: Trace, num_rows: int, device: Device, budget_s: float
) -> Latency:
    """Times a network, and each call by itself where that is possible.

    Args:
        module: the network.
        image: the shape of what it was run on.
        trace: what ran.
        num_rows: rows of its profile; those after the calls have no latency of their own.
        device: what it is timed on.
        budget_s: seconds that one round of timing a layer may take.

    Raises:
        InputError: the device is not there, or cannot run the network.
    """
    runtime = device.open()
    batch = (device.batch, *image[1:])
    counted = [part.name for part in trace.parts if part.is_call]
    trace = trace if device.batch == image[0] else run_once(module, batch)
    calls = [part for part in trace.parts if part.is_call]
    if [part.name for part in calls] != counted:
        raise InputError(
            f"batch={device.batch}: the network calls other layers than for one image; profile it with batch=1"
        )
    whole = _Call(_loadable(module, device), (torch.empty(batch, device="meta"),), {})
    try:
        runs: dict[str, Run] = {"": runtime.load(whole, [batch])}
    except UnsupportedError as error:
        way_on = "" if device.runtime == "torch" else "; device='torch' runs what PyTorch runs"
        raise InputError(f"device='{device.runtime}': {error}{way_on}") from error
    keys = [_load(part, module, trace, device, runtime, runs) for part in calls]
    measured = dict(zip(runs, measure(list(runs.values()), budget_s), strict=True))
    layers: list[Measurement | None] = [measured[key] if key else None for key in keys]
    layers += [None] * (num_rows - len(layers))
    return Latency(in_words(describe(device, runtime)), layers, measured[""])


def _loadable(layer: nn.Module, device: Device) -> nn.Module:
    return copy_to(layer, "cuda" if device.runtime == "cuda" else "cpu", DTYPES[device.dtype])


def _load(part: Part, module: nn.Module, trace: Trace, device: Device, runtime: Runtime, runs: dict[str, Run]) -> str:
    """Adds a call to what is timed, equal ones once; returns its key there, empty if it cannot be run by itself."""
    layer = module.get_submodule(part.name) if part.name else module  # a scripted one would refuse
    call = _Call(layer, part.args, part.kwargs)
    key = f"{part.name} {call.shapes} {call._leaves} {call._is_tensor}"
    if key in runs:
        return key
    if device.runtime == "onnxruntime" and next(tensors_in(part.output), None) is None:
        return ""  # a graph needs an output
    if part.in_autocast or not call.repeatable or (trace.needs_values and not _runs_without_values(layer, part)):
        return ""
    call.layer = _loadable(layer, device)
    try:
        runs[key] = runtime.load(call, call.shapes)  # type: ignore[arg-type]
    except UnsupportedError:  # by itself, though the network runs
        return ""
    return key


def _runs_without_values(layer: nn.Module, part: Part) -> bool:
    """Whether a layer does the same work for any values of its inputs."""
    args, kwargs = tree_map(
        lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, (part.args, part.kwargs)
    )
    try:
        with torch.no_grad():
            copy_to(layer, "meta")(*args, **kwargs)
    except Exception:  # a stranger's layer may raise anything
        return False
    return True


class _Call(nn.Module):
    """A layer with the arguments of one call of it, as a module that takes the tensors among them."""

    def __init__(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        super().__init__()
        self.layer = layer
        leaves, self._structure = tree_flatten((args, kwargs))
        tensors = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}
        self.shapes = [tuple(tensor.shape) for tensor in tensors.values()]
        places = list(tensors)
        self._leaves = [places.index(id(leaf)) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]
        known = (int, float, str, type(None), torch.dtype)
        self.repeatable = bool(tensors) and all(tensor.is_floating_point() for tensor in tensors.values())
        self.repeatable &= all(isinstance(leaf, (Tensor, *known)) for leaf in leaves)
        """Whether random tensors of these shapes make it do the same work."""

    def forward(self, *tensors: Tensor) -> Any:
        leaves = [tensors[leaf] if is_tensor else leaf for leaf, is_tensor in zip(self._leaves, self._is_tensor)]
        args, kwargs = tree_unflatten(leaves, self._structure)
        given = tuple(tensors_in(self.layer(*args, **kwargs)))
        return given[0] if len(given) == 1 else given
