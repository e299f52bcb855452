"""Any `nn.Module` of Python, layer by layer: what it costs and how fast it runs on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn

from search.latency.call_times import time_calls
from search.latency.calls import CONTAINERS, Part, Trace, made_whole, run_once
from search.latency.device import Device
from search.reporting.layers import LayerRow, Profile
from spaces.errors import InputError
from spaces.memory import FLOAT32
from spaces.tracing import tensors_in


def profile_module(
    module: nn.Module,
    resolution: int | tuple[int, int],
    *,
    in_channels: int = 3,
    device: str | None = None,
    threads: int = 1,
    batch: int = 1,
    dtype: str = "float32",
    budget_s: float = 0.5,
) -> Profile:
    """The profile of a network of your own; its layers are its children, containers opened.

    Totals are those of the whole network. A layer that is called again has a row for each call, its parameters in the first. What
    the network's own forward computes between its layers has a row of its own, and so have layers that did not run.

    Args:
        module: takes one batch of images, (N, in_channels, height, width), and nothing else. A copy of it runs, in evaluation mode,
            so that it is left as it is; lazy parameters get their shapes in the copy only.
        resolution: of the image, a side in pixels or (height, width).
        in_channels: of the image.
        device: runtime to time it on, "onnxruntime", "torch" or "cuda"; None: latency is not measured.
        threads: of the runtime.
        batch: images a forward pass.
        dtype: of weights and activations while it is timed, "float32" or "float16".
        budget_s: seconds that one round of timing a layer may take.

    Returns:
        Its rows are in the order in which the layers run; `.table()` prints with rich, `.write_page(path)` writes a page.

    Raises:
        InputError: it does not run on such images, it cannot be copied; the device is not there, or
            cannot run it.
    """
    sides = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"resolution={resolution!r}: must be a side in pixels or (height, width)")
    image = (1, in_channels, sides[0], sides[1])
    module = made_whole(module, image)
    trace = run_once(module, image)
    rows = _rows(trace)
    latency = None
    if device is not None:
        latency = time_calls(module, image, trace, len(rows), Device(device, threads, batch, dtype), budget_s)
    name = type(module).__name__
    title = f"{name}: {in_channels} x {sides[0]} x {sides[1]} in"
    details = {"in_channels": in_channels, "resolution": sides}
    return Profile(name, title, rows, FLOAT32 * trace.peak, latency, details, _notes(trace, rows))


def _rows(trace: Trace) -> list[LayerRow]:
    """The calls of layers in order, the own operations of the network and its containers, and what did not run."""
    named = dict(trace.module.named_parameters())
    names, left = {id(weight): name for name, weight in named.items()}, dict(named)
    rows: list[LayerRow] = []
    for part in trace.parts:
        inside = part.module.parameters(recurse=part.is_call)
        own = {names[id(weight)] for weight in inside} & left.keys()
        if not part.is_call:
            own &= trace.read
        if part.name == "" and not part.is_call:  # of layers that it uses without calling them, too
            own |= left.keys() & trace.read
        params, unused = (sum(left.pop(name).numel() for name in some) for some in (own & trace.read, own - trace.read))
        if part.is_call or part.flops or part.accesses or params or part.uncounted:
            rows.append(_row(len(rows), part, params + unused, unused))
    idle: Counter[str] = Counter()
    reached = [part.name for part in trace.parts if part.is_call]
    for name, weight in left.items():
        idle[_idle_layer(trace.module, name, reached)] += weight.numel()
    for name, params in idle.items():
        rows.append(LayerRow(len(rows), f"{name} (not run)", 0, (), 0, params, 0, 0, {"unused_params": params}))
    return rows


def _row(position: int, part: Part, params: int, unused: int) -> LayerRow:
    name = f"{part.name} {type(part.module).__name__}".strip()
    details: dict[str, Any] = {}
    if not part.is_call:
        name += " (own operations)"
    if unused:
        name += f" ({unused:,} parameters not used)"
        details["unused_params"] = unused
    if part.uncounted:
        details["uncounted"] = dict(part.uncounted)
    counts = (part.flops, params, FLOAT32 * part.accesses, FLOAT32 * part.peak)
    return LayerRow(position, name, *_extent(part), *counts, details)


def _extent(part: Part) -> tuple[int, tuple[int, ...]]:
    """(channels, sides) of the first tensor that a layer gives; (0, ()) if it gives none."""
    output = next(tensors_in(part.output), None)
    if output is None or not part.is_call:
        return 0, ()
    if output.dim() < 3:
        return (output.shape[-1] if output.dim() else 1), (1, 1)
    if output.dim() == 3 and not isinstance(part.module, nn.Conv1d | nn.ConvTranspose1d | nn.BatchNorm1d):
        return output.shape[2], (output.shape[1], 1)  # tokens, or steps of a sequence
    return output.shape[1], tuple(output.shape[2:])


def _idle_layer(module: nn.Module, parameter: str, reached: Sequence[str]) -> str:
    """The outermost layer around a parameter of which nothing ran, and its class; the parameter itself if it has none."""
    path = parameter.split(".")
    for length in range(1, len(path)):
        name = ".".join(path[:length])
        layer = module.get_submodule(name)
        if not isinstance(layer, CONTAINERS) and not any(f"{other}.".startswith(f"{name}.") for other in reached):
            return f"{name} {type(layer).__name__}"
    return f"{parameter} Parameter"


def _notes(trace: Trace, rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """What the figures leave out, a sentence each."""
    notes = []
    uncounted = sum((part.uncounted for part in trace.parts), Counter[str]())
    if uncounted:
        names = ", ".join(f"{name} ({count} calls)" if count > 1 else name for name, count in uncounted.items())
        notes.append(f"FLOPs and bytes moved leave out what PyTorch's counter has no formula for: {names}.")
    if unused := sum(row.details.get("unused_params", 0) for row in rows):
        notes.append(f"{unused:,} of the parameters were not used in this run; their rows are marked.")
    calls = Counter(part.name for part in trace.parts if part.is_call)
    if max(calls.values(), default=0) > 1:
        notes.append("A layer that is called several times has its parameters in the row of its first call.")
    if trace.needs_values:
        notes.append(f"Counted on one random image, since the network cannot run without values: {trace.needs_values}.")
    return tuple(notes)
