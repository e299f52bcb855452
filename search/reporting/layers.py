"""What each layer of one network costs, as rows, as a table, as data for programs."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.table import Table

from search.latency.measuring import Measurement
from spaces import Architecture, Layer, Size, layer_costs
from spaces.memory import FLOAT32, held_values, layer_accesses


class LayerRow(NamedTuple):
    """One layer of a network, batch 1, float32."""

    position: int
    """In order of execution, from 0."""
    layer: Layer
    size: Size
    """(height, width) of its output."""
    flops: int
    params: int
    memory_access: int
    """Bytes that its convolutions and linear layers read and write."""
    activation_bytes: int
    """The most that is alive while it runs, maps that wait for later layers included."""


class Latency(NamedTuple):
    """How fast a network is on a device."""

    device: str
    blocks: list[Measurement]
    """Of each layer, timed by itself between two cheap layers, which its latency includes."""
    network: Measurement
    """End to end."""
    predicted_ms: float
    """What the device's table said before the network itself was measured."""
    predicted_error: float
    """Standard deviation of the prediction, as a share of it."""
    num_networks: int
    """Other networks in the table, by which the sum of blocks is calibrated."""


def layer_rows(architecture: Architecture) -> list[LayerRow]:
    """The layers of a network in order, the head last.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    layers, costs = architecture.layers, layer_costs(architecture)
    accesses = [FLOAT32 * values for values in layer_accesses(architecture)]
    held = [FLOAT32 * values for values in held_values(architecture)]
    return [
        LayerRow(position, layer, cost.size, cost.flops, cost.params, moved, alive)
        for position, (layer, cost, moved, alive) in enumerate(zip(layers, costs, accesses, held, strict=True))
    ]


def layer_table(name: str, architecture: Architecture, rows: list[LayerRow], latency: Latency | None = None) -> Table:
    """The layers as a table with totals: counts in full, bytes in millions."""
    height, width = architecture.resolution
    title = f"{name}: {architecture.in_channels} x {height} x {width} in, {architecture.num_classes} classes"
    notes = (
        "FLOPs: multiply-adds of one image. Bytes in float32.\n"
        "Moved: what convolutions and linear layers read and write. Alive: the most activations at once."
    )
    table = Table(title=title, caption=notes, show_footer=True, header_style="bold", caption_justify="left")
    headings = ["output", "channels", "FLOPs", "params", "moved (MB)", "alive (MB)"]
    totals = ["", "", _whole(sum(row.flops for row in rows)), _whole(sum(row.params for row in rows))]
    totals += [_mega(sum(row.memory_access for row in rows)), _mega(max(row.activation_bytes for row in rows))]
    if latency is not None:
        headings.append("latency (ms)")
        totals.append(_milliseconds(latency.network))
        table.caption = f"{notes}\n{_describe(latency)}"
    table.add_column("#", justify="right")
    table.add_column("block", "network")
    for heading, footer in zip(headings, totals, strict=True):
        table.add_column(heading, footer, justify="right", no_wrap=True)
    for row in rows:
        cells = ["x".join(map(str, row.size)), *map(_whole, (row.layer.out_channels, row.flops, row.params))]
        cells += [_mega(row.memory_access), _mega(row.activation_bytes)]
        if latency is not None:
            cells.append(_milliseconds(latency.blocks[row.position]))
        table.add_row(str(row.position), row.layer.block, *cells)
    return table


def layers_as_data(
    name: str, architecture: Architecture, rows: list[LayerRow], latency: Latency | None = None
) -> dict[str, Any]:
    """The same for programs: plain data that JSON can hold."""
    layers: list[dict[str, Any]] = [
        {
            "position": row.position,
            "block": row.layer.block,
            "in_channels": row.layer.in_channels,
            "out_channels": row.layer.out_channels,
            "stride": row.layer.stride,
            "inputs": row.layer.inputs,
            "options": row.layer.keywords,
            "size": row.size,
            "flops": row.flops,
            "params": row.params,
            "memory_access": row.memory_access,
            "activation_bytes": row.activation_bytes,
        }
        for row in rows
    ]
    data = {
        "network": name,
        "digest": architecture.digest,
        "in_channels": architecture.in_channels,
        "resolution": list(architecture.resolution),
        "num_classes": architecture.num_classes,
        "flops": sum(row.flops for row in rows),
        "params": sum(row.params for row in rows),
        "memory_access": sum(row.memory_access for row in rows),
        "activation_bytes": max(row.activation_bytes for row in rows),
    }
    if latency is not None:
        data["latency"] = {
            "device": latency.device,
            **latency.network._asdict(),
            "predicted_ms": latency.predicted_ms,
            "predicted_error": latency.predicted_error,
        }
        for layer, measured in zip(layers, latency.blocks, strict=True):
            layer["latency"] = measured._asdict()
    return {**data, "layers": layers}


def _describe(latency: Latency) -> str:
    text = (
        "Latency: median, ± half the spread. Blocks: with the cheap layers they were timed between. Network: end to end.\n"
        f"On {latency.device}.\n"
        f"Predicted from the blocks, {_calibrated(latency.num_networks)}: {latency.predicted_ms:.3g} ms "
        f"± {100 * latency.predicted_error:.0f}%."
    )
    if not (latency.network.steady and all(block.steady for block in latency.blocks)):
        text += "\n!: runs differ by more than a tenth of the median: something else was running on the device."
    return text


def _calibrated(num_networks: int) -> str:
    return f"calibrated by {num_networks} networks" if num_networks else "not calibrated by any network yet"


def _milliseconds(measured: Measurement) -> str:
    return f"{measured.median_ms:.3f} ±{measured.iqr_ms / 2:.3f}{' ' if measured.steady else '!'}"


def _mega(count: int) -> str:
    return f"{count / 1e6:,.2f}"


def _whole(count: int) -> str:
    return f"{count:,}"
