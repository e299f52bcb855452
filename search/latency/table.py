"""The measurements of one device: a CSV file that grows from study to study and is never left half written."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from search.latency.measuring import Measurement
from search.reporting.files import replace_file
from spaces import Architecture, Layer, Size, decode
from spaces.architecture import Options, freeze, thaw
from spaces.costs import input_sizes, layer_costs
from spaces.errors import InputError

IDENTITY = ("device", "runtime", "threads", "batch", "dtype")
"""The columns in which all rows of a table agree."""
COLUMNS = (*IDENTITY, "kind", "description", "median_ms", "iqr_ms", "repeats")
"""The columns of the file. `kind` is block or network, `description` what was measured, as JSON."""

IMAGE_CHANNELS = 4
"""A block that reads no more channels than this reads an image."""


class BlockKey(NamedTuple):
    """A block on an input: all that its latency on a device depends on."""

    block: str
    in_channels: int | tuple[int, ...]
    out_channels: int
    stride: int
    options: Options
    size: Any
    """(height, width) of the input; a tuple of them where it reads several."""

    @classmethod
    def of(cls, layer: Layer, size: Any) -> BlockKey:
        """The key of a layer that reads maps of `size`, as `spaces.costs.input_sizes` gives it."""
        return cls(layer.block, layer.in_channels, layer.out_channels, layer.stride, layer.options, size)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each input."""
        return (self.in_channels,) if isinstance(self.in_channels, int) else self.in_channels

    @property
    def sizes(self) -> tuple[Size, ...]:
        """(height, width) of each input."""
        return (self.size,) if isinstance(self.in_channels, int) else self.size

    @property
    def layer(self) -> Layer:
        """A layer that is this block."""
        inputs = (-1,) if isinstance(self.in_channels, int) else tuple(-1 - i for i in range(len(self.in_channels)))
        return Layer(self.block, self.in_channels, self.out_channels, self.stride, self.options, inputs)

    def to_json(self) -> str:
        """One line that `from_json` reads back."""
        options = {name: thaw(value) for name, value in self.options}
        return json.dumps(self._replace(options=options)._asdict())  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, text: str) -> BlockKey:
        """The key that a line stands for."""
        data = json.loads(text)
        options = tuple(sorted((name, freeze(value)) for name, value in data["options"].items()))
        plain = {name: freeze(data[name]) for name in ("block", "in_channels", "out_channels", "stride", "size")}
        return cls(**plain, options=options)


def block_keys(architecture: Architecture) -> list[BlockKey]:
    """The blocks of a network with the inputs they read, in order.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    sizes = [architecture.resolution]
    keys = []
    for position, layer in enumerate(architecture.layers):
        inputs = layer.inputs
        key = BlockKey.of(layer, sizes[-1] if inputs == (-1,) else input_sizes(layer, position, sizes))
        size = _made.get(key)
        if size is None:
            if len(_made) >= MADE_AT_MOST:
                _made.clear()
            size = _made[key] = layer_costs(architecture)[position].size
        keys.append(key)
        sizes.append(size)
    return keys


_made: dict[BlockKey, Size] = {}
"""(height, width) of what a block makes: thousands of candidates share their blocks, and pricing each again takes longer."""
MADE_AT_MOST = 2**17


class Table:
    """What has been measured on one device.

    Args:
        identity: of the device; None takes it from the file.
        path: of the CSV file; it need not exist where an identity is given.

    Raises:
        InputError: the file cannot be read, is no such table, or holds measurements of another device.
    """

    def __init__(self, path: Path, identity: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.blocks: dict[BlockKey, Measurement] = {}
        self.networks: dict[str, tuple[Architecture, Measurement]] = {}
        """By digest."""
        self.identity = dict(identity or {})
        if path.exists():
            self._read()
        elif identity is None:
            raise InputError(f"device.table: there is no file {path}")

    def save(self) -> None:
        """Replaces the file whole.

        Raises:
            InputError: it cannot be written; the old file is then as it was.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        identity = [self.identity[name] for name in IDENTITY]
        rows = [("block", key.to_json(), measured) for key, measured in self.blocks.items()]
        rows += [("network", json.dumps(a.to_dict()), measured) for a, measured in self.networks.values()]
        for kind, description, measured in rows:
            numbers = f"{measured.median_ms:.6g}", f"{measured.iqr_ms:.3g}", measured.repeats
            writer.writerow([*identity, kind, description, *numbers])
        try:
            replace_file(self.path, text.getvalue())
        except OSError as error:
            raise InputError(
                f"device.table: cannot write {self.path}: {error.strerror}; what it held before is unharmed"
            ) from error

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"device.table: cannot read {self.path}: {error}") from error
        csv.field_size_limit(1 << 24)
        rows = csv.reader(io.StringIO(text))
        if tuple(next(rows, ())) != COLUMNS:
            raise InputError(f"device.table: {self.path} is no table of latencies: it has not their columns")
        for row in rows:
            self._read_row(row, rows.line_num)

    def _read_row(self, row: list[str], line: int) -> None:
        where = f"device.table: {self.path}, line {line}"
        try:
            cells = dict(zip(COLUMNS, row, strict=True))
            measured = Measurement(float(cells["median_ms"]), float(cells["iqr_ms"]), int(cells["repeats"]))
            if not (0 < measured.median_ms < math.inf and 0 <= measured.iqr_ms < math.inf):
                raise ValueError("a latency is above zero and finite")
            if cells["kind"] == "block":
                self.blocks[BlockKey.from_json(cells["description"])] = measured
            elif cells["kind"] == "network":
                architecture = decode(json.loads(cells["description"]), "network")
                self.networks[architecture.digest] = architecture, measured
            else:
                raise ValueError(f"no kind of measurement is called '{cells['kind']}'")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where} is damaged ({error}); delete the line, or the file") from error
        identity = {name: cells[name] for name in IDENTITY}
        self.identity = self.identity or identity
        if identity != self.identity:
            other = next(name for name in IDENTITY if identity[name] != self.identity[name])
            raise InputError(
                f"{where} is of another device: {other} is '{identity[other]}' instead of '{self.identity[other]}'"
            )
