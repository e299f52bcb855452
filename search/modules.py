"""Any `nn.Module` of Python, layer by layer: what it costs and how fast it runs on a device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search.latency.device import Device, describe, in_words
from search.latency.measuring import Measurement, measure
from search.latency.runtimes import Shape
from search.reporting.layers import Latency, LayerRow, Profile
from spaces.errors import InputError
from spaces.memory import FLOAT32, traced


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

    Args:
        module: takes one image, (N, in_channels, height, width). It is left as it is.
        resolution: of the image, a side in pixels or (height, width).
        in_channels: of the image.
        device: runtime to time it on, "onnxruntime", "torch" or "cuda"; None: latency is not measured.
        threads: of the runtime.
        batch: images a forward pass.
        dtype: of weights and activations, "float32" or "float16".
        budget_s: seconds that one round of timing a layer may take.

    Returns:
        Its rows are in the order in which the layers run; `.table()` prints with rich, `.write_page(path)` writes a page.

    Raises:
        InputError: it does not run on such images, a layer takes something other than tensors, or the device is not there.
    """
    sides = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"resolution={resolution!r}: must be a side in pixels or (height, width)")
    image = (1, in_channels, sides[0], sides[1])
    empty = copy.deepcopy(module).to("meta").eval()
    calls = _calls(empty, image)
    rows = [_row(i, name, part, shapes, made) for i, (name, part, shapes, made) in enumerate(calls)]
    held = FLOAT32 * traced(empty, [torch.empty(image, device="meta")]).peak
    title = f"{type(module).__name__}: {in_channels} x {sides[0]} x {sides[1]} in"
    latency = None
    if device is not None:
        parts = [(module.get_submodule(name), shapes) for name, _, shapes, _ in calls]
        latency = _time(module, image, parts, Device(device, threads, batch, dtype), budget_s)
    return Profile(type(module).__name__, title, rows, held, latency, {"in_channels": in_channels, "resolution": sides})


Call = tuple[str, nn.Module, list[tuple[int, ...]], tuple[int, ...]]
"""A layer's path, itself, the shapes it read and the one it made."""


def _calls(module: nn.Module, image: Shape) -> list[Call]:
    """The layers in the order in which they run."""
    calls: list[Call] = []

    def note(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or not all(isinstance(value, Tensor) for value in inputs):
                raise InputError(f"layer '{name}' takes or gives something other than tensors; profile its parts")
            calls.append((name, part, [tuple(value.shape) for value in inputs], tuple(output.shape)))

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in _layers(module)]
    try:
        with torch.no_grad():
            module(torch.empty(image, device="meta"))
    except InputError:
        raise
    except Exception as error:  # a stranger's network may raise anything
        raise InputError(f"the network does not run on images of {image[1:]}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Children by path, containers opened; the module itself where it has none."""
    children = list(module.named_children())
    if not children and not prefix:
        yield "", module
    for name, child in children:
        if isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _row(position: int, name: str, part: nn.Module, shapes: list[tuple[int, ...]], made: tuple[int, ...]) -> LayerRow:
    counter = FlopCounterMode(display=False)
    images = [torch.empty(shape, device="meta") for shape in shapes]
    with counter, torch.no_grad():
        part(*images)
    size = (made[2], made[3]) if len(made) == 4 else (1, 1)
    params = sum(parameter.numel() for parameter in part.parameters())
    memory = traced(part, images)
    counts = (counter.get_total_flops() // 2, params, FLOAT32 * memory.accesses, FLOAT32 * memory.peak)
    return LayerRow(position, f"{name} {type(part).__name__}".strip(), made[1], size, *counts, {})


def _time(
    module: nn.Module,
    image: Shape,
    parts: list[tuple[nn.Module, list[tuple[int, ...]]]],
    device: Device,
    budget_s: float,
) -> Latency:
    runtime = device.open()

    def load(part: nn.Module, shapes: list[tuple[int, ...]]) -> Any:
        return runtime.load(copy.deepcopy(part), [(device.batch, *shape[1:]) for shape in shapes])  # type: ignore[misc]

    measured: list[Measurement] = measure([load(*part) for part in parts] + [load(module, [image])], budget_s)
    return Latency(in_words(describe(device, runtime)), measured[:-1], measured[-1])
