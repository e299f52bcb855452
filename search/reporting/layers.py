"""What each layer of one network costs: gathered as rows, shown as a table, as data for programs, and as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.table import Table

from search.latency.measuring import Latency, Measurement
from search.system.files import replace_file
from spaces import Architecture, layer_costs
from spaces.memory import FLOAT32, held_values


class LayerRow(NamedTuple):
    """One layer of a network, batch 1, float32."""

    position: int
    """In order of execution, from 0."""
    name: str
    """Its block, or the path of its module."""
    channels: int
    """Channels of its output, 0 if it gives no tensor."""
    size: tuple[int, ...]
    """(height, width) of its output; (tokens, 1) of a sequence, no side if it gives no tensor."""
    flops: int
    params: int
    """Number of weights; a weight that several layers share is counted in the first of them."""
    memory_access: int
    """Bytes that its convolutions and linear layers read and write; in a module, all convolutions and matrix products."""
    activation_bytes: int
    """The most that is alive while it runs."""
    details: dict[str, Any]
    """What else is known of it."""


@dataclass(frozen=True)
class Profile:
    """A network layer by layer."""

    name: str
    title: str
    """The network and its input in words."""
    rows: list[LayerRow]
    activation_bytes: int
    """The most that is alive at any time, maps that wait for later layers included."""
    latency: Latency | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """What else is known of the network."""
    notes: tuple[str, ...] = ()
    """What its figures leave out, a sentence each."""

    @classmethod
    def of(cls, name: str, architecture: Architecture, latency: Latency | None = None) -> Profile:
        """The profile of an architecture, the head its last layer.

        Raises:
            InputError: a stride or a kernel leaves a side below one pixel.
        """
        layers, costs = architecture.layers, layer_costs(architecture)
        moved = [FLOAT32 * cost.accesses for cost in costs]
        held = [FLOAT32 * values for values in held_values(architecture)]
        rows = []
        for position, (layer, cost) in enumerate(zip(layers, costs, strict=True)):
            details: dict[str, Any] = {"in_channels": layer.in_channels, "stride": layer.stride, "inputs": layer.inputs}
            counts = (cost.size, cost.flops, cost.params, moved[position], held[position])
            details["options"] = layer.keywords
            rows.append(LayerRow(position, layer.block, layer.out_channels, *counts, details))
        height, width = architecture.resolution
        title = f"{name}: {architecture.in_channels} x {height} x {width} in, {architecture.num_classes} classes"
        known = {
            "digest": architecture.digest,
            "in_channels": architecture.in_channels,
            "resolution": list(architecture.resolution),
            "num_classes": architecture.num_classes,
        }
        return cls(name, title, rows, max(held), latency, known)

    @property
    def totals(self) -> dict[str, int]:
        """The network's counts by name."""
        return {
            "flops": sum(row.flops for row in self.rows),
            "params": sum(row.params for row in self.rows),
            "memory_access": sum(row.memory_access for row in self.rows),
            "activation_bytes": self.activation_bytes,
        }

    def table(self) -> Table:
        """The layers with totals: counts in full, bytes in thousands or millions."""
        totals, latency = self.totals, self.latency
        unit, scale = ("MB", 1e6) if max(totals["memory_access"], totals["activation_bytes"]) >= 1e6 else ("kB", 1e3)
        notes = (
            "FLOPs: multiply-adds of one image. Bytes in float32.\n"
            "Moved: what convolutions and matrix products read and write. Alive: the most activations at once."
        )
        notes = "\n".join((notes, *self.notes))
        table = Table(title=self.title, show_footer=True, header_style="bold", caption_justify="left")
        table.caption = notes if latency is None else f"{notes}\n{describe_latency(latency)}"
        headings = ["output", "channels", "FLOPs", "params", f"moved ({unit})", f"alive ({unit})"]
        footers = ["", "", _whole(totals["flops"]), _whole(totals["params"])]
        footers += [f"{totals[name] / scale:,.2f}" for name in ("memory_access", "activation_bytes")]
        if latency is not None:
            headings += ["predicted (ms)", "measured (ms)"]
            footers += [_predicted(latency), _milliseconds(latency.network)]
        table.add_column("#", justify="right")
        table.add_column("block", "network")
        for heading, footer in zip(headings, footers, strict=True):
            table.add_column(heading, footer, justify="right", no_wrap=True)
        for row in self.rows:
            cells = ["x".join(map(str, row.size)) or "-", *map(_whole, (row.channels, row.flops, row.params))]
            cells += [f"{count / scale:,.2f}" for count in (row.memory_access, row.activation_bytes)]
            if latency is not None:
                cells.append("-" if latency.predicted is None else f"{latency.predicted[row.position]:.3f}")
                cells.append(_milliseconds(latency.layers[row.position]))
            table.add_row(str(row.position), row.name, *cells)
        return table

    def to_dict(self) -> dict[str, Any]:
        """The same for programs: plain data that JSON can hold."""
        latency = self.latency
        layers = []
        for row in self.rows:
            layer = row._asdict()
            layer |= {"block": layer.pop("name"), "out_channels": layer.pop("channels"), **layer.pop("details")}
            if latency is not None:
                measured = latency.layers[row.position]
                layer["latency"] = None if measured is None else measured._asdict()
                layer["predicted_ms"] = None if latency.predicted is None else latency.predicted[row.position]
            layers.append(layer)
        data = {"network": self.name, **self.details, **self.totals}
        if self.notes:
            data["notes"] = list(self.notes)
        if latency is not None:
            data["latency"] = {"device": latency.device, **latency.network._asdict()}
            if latency.predicted is not None:
                known = {"predicted_ms": latency.predicted_ms, "predicted_error": latency.predicted_error}
                data["latency"] |= known
        return {**data, "layers": layers}

    def __str__(self) -> str:
        """The table as text that nothing is cut from."""
        table, text = self.table(), StringIO()
        console = Console(file=text, width=1000)
        console.print(table, width=console.measure(table).maximum)
        return text.getvalue()

    def write_page(self, path: str | Path) -> None:
        """Writes a page of the profile: one HTML file that asks the network for nothing.

        Raises:
            OSError: the file cannot be written.
        """
        replace_file(Path(path), _page(self))


def describe_latency(latency: Latency) -> str:
    """What the latencies mean, how good the prediction was, and whether something disturbed."""
    text = (
        "Measured: median, ± half the spread; a layer by itself, with the cheap layers around it; the network end to end.\n"
        f"On {latency.device}."
    )
    if latency.predicted is not None:
        text += (
            "\nPredicted: what each layer adds to the network, by the device's table, "
            f"{_calibrated(latency.num_networks)}; in all ± {100 * latency.predicted_error:.0f}%."
        )
    if None in latency.layers:
        text += "\nUnknown: it cannot be run by itself on random inputs, or it did not run; the network's latency includes it."
    if not all(measured.steady for measured in (latency.network, *latency.layers) if measured is not None):
        text += "\n!: runs differ by more than a tenth of the median: something else was running on the device."
    return text


def _calibrated(num_networks: int) -> str:
    return f"calibrated by {num_networks} networks" if num_networks else "not calibrated by any network yet"


def _predicted(latency: Latency) -> str:
    return "-" if latency.predicted is None else f"{latency.predicted_ms:.3f}"


def _milliseconds(measured: Measurement | None) -> str:
    if measured is None:
        return "unknown"
    return f"{measured.median_ms:.3f} ±{measured.iqr_ms / 2:.3f}{' ' if measured.steady else '!'}"


def _whole(count: int) -> str:
    return f"{count:,}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 0; background: #f4f6f9; color: #1b2430; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: 1160px; margin: 0 auto; padding: 28px 20px 48px; }}
h1 {{ margin: 0 0 4px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }}
p {{ margin: 0 0 10px; color: #5b6675; }}
section {{ background: #fff; border: 1px solid #e6e9ee; border-radius: 12px; padding: 14px 16px; margin: 0 0 18px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 6px 10px; border-bottom: 1px solid #e6e9ee; text-align: right; white-space: nowrap; }}
th {{ color: #5b6675; font-size: 13px; font-weight: 500; }}
th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
tfoot td {{ font-weight: 600; border-bottom: 0; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{notes}</p>
<section><div id="chart" style="height: {height}px"></div></section>
<section class="wide">{table}</section>
</main>
<script>{plotly}</script>
<script type="application/json" id="data">{data}</script>
<script>
const figure = JSON.parse(document.getElementById("data").textContent);
Plotly.newPlot("chart", figure.data, figure.layout, {{responsive: true, displayModeBar: false}});
</script>
</body>
</html>
"""


def _page(profile: Profile) -> str:
    figure = json.dumps(json.loads(draw_layers(profile).to_json()), separators=(",", ":"))
    notes = "FLOPs are multiply-adds of one image; bytes are those of float32."
    if profile.latency is not None:
        notes = f"{notes} {describe_latency(profile.latency)}"
    notes = "\n".join((notes, *profile.notes))
    return _PAGE.format(
        title=escape(profile.title),
        notes=escape(notes).replace("\n", "<br>"),
        height=150 + 24 * len(profile.rows),
        table=_html_table(profile.table()),
        plotly=get_plotlyjs(),
        data=figure.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    )


def draw_layers(profile: Profile) -> go.Figure:
    """Horizontal bars, a layer each, of one quantity at a time; buttons change it."""
    names = [f"{row.position} {escape(row.name)}" for row in profile.rows]
    shown: list[tuple[str, list[tuple[str, list[float]]]]] = []
    latency = profile.latency
    if latency is not None:
        bars = [("measured", [float("nan") if layer is None else layer.median_ms for layer in latency.layers])]
        if latency.predicted is not None:
            bars.append(("predicted", latency.predicted))
        shown.append(("Latency (ms)", bars))
    shown += [
        ("FLOPs", [("FLOPs", [float(row.flops) for row in profile.rows])]),
        ("Parameters", [("parameters", [float(row.params) for row in profile.rows])]),
        ("Bytes moved", [("bytes moved", [float(row.memory_access) for row in profile.rows])]),
        ("Bytes alive", [("bytes alive", [float(row.activation_bytes) for row in profile.rows])]),
    ]
    figure = go.Figure()
    owners = []
    for position, (title, bars) in enumerate(shown):
        for (name, values), colour in zip(bars, ("#0b62c4", "#b45f06")):
            figure.add_bar(
                x=values,
                y=names,
                name=name,
                orientation="h",
                marker_color=colour,
                visible=not position,
                hoverinfo="x+y+name",
            )
            owners.append(title)
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [{"visible": [owner == title for owner in owners]}, {"xaxis.title.text": title}],
        }
        for title, _ in shown
    ]
    figure.update_layout(
        template="plotly_white",
        margin={"l": 4, "r": 12, "t": 56, "b": 76},
        xaxis={"title": {"text": shown[0][0]}, "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "automargin": True},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container"},
        updatemenus=[
            {
                "buttons": buttons,
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "direction": "down",
                "pad": {"b": 8},
            }
        ],
    )
    return figure


def _html_table(table: Table) -> str:
    """The printed table as HTML."""
    head = "".join(f"<th>{escape(str(column.header))}</th>" for column in table.columns)
    foot = "".join(f"<td>{escape(str(column.footer))}</td>" for column in table.columns)
    rows = zip(*(column.cells for column in table.columns))
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody><tfoot><tr>{foot}</tr></tfoot></table>"
