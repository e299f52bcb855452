"""What each layer of one network costs, as rows, as a table, as data for programs."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.table import Table

from spaces import Architecture, Layer, Size, layer_costs


class LayerRow(NamedTuple):
    """One layer of a network."""

    position: int
    """In order of execution, from 0."""
    layer: Layer
    size: Size
    """(height, width) of its output."""
    flops: int
    params: int


def layer_rows(architecture: Architecture) -> list[LayerRow]:
    """The layers of a network in order, the head last.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    stated = zip(architecture.layers, layer_costs(architecture), strict=True)
    return [LayerRow(i, layer, cost.size, cost.flops, cost.params) for i, (layer, cost) in enumerate(stated)]


def layer_table(name: str, architecture: Architecture, rows: list[LayerRow]) -> Table:
    """The layers as a table with totals, whole numbers in full."""
    height, width = architecture.resolution
    title = f"{name}: {architecture.in_channels} x {height} x {width} in, {architecture.num_classes} classes"
    table = Table(title=title, caption="FLOPs are multiply-adds of one image.", show_footer=True, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("block", "total")
    totals = sum(row.flops for row in rows), sum(row.params for row in rows)
    for heading, footer in (("output", ""), ("channels", ""), *zip(("FLOPs", "params"), map(_whole, totals))):
        table.add_column(heading, footer, justify="right", no_wrap=True)
    for row in rows:
        size = "x".join(map(str, row.size))
        counts = (row.layer.out_channels, row.flops, row.params)
        table.add_row(str(row.position), row.layer.block, size, *map(_whole, counts))
    return table


def layers_as_data(name: str, architecture: Architecture, rows: list[LayerRow]) -> dict[str, Any]:
    """The same for programs: plain data that JSON can hold."""
    return {
        "network": name,
        "digest": architecture.digest,
        "in_channels": architecture.in_channels,
        "resolution": list(architecture.resolution),
        "num_classes": architecture.num_classes,
        "flops": sum(row.flops for row in rows),
        "params": sum(row.params for row in rows),
        "layers": [
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
            }
            for row in rows
        ],
    }


def _whole(count: int) -> str:
    return f"{count:,}"
