"""The measurements of one device: a CSV file that grows from study to study and is never left half written."""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import json
import math
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from search.latency.device import IDENTITY
from search.latency.measuring import Measurement
from search.system.files import locked_folder, replace_file
from spaces import BLOCKS, Architecture, Layer, Size, decode
from spaces.architecture import Options, freeze, thaw
from spaces.costs import walk
from spaces.errors import InputError

COLUMNS = (*IDENTITY, "kind", "description", "median_ms", "iqr_ms", "repeats")
"""The columns of the file. `kind` is block or network, `description` what was measured, as JSON."""

LOCK_S = 60.0
"""How long to wait for another process that writes a table in the same folder; each takes a moment."""

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
    code: str = ""
    """What a user's block was written like (`code_of`)."""

    @classmethod
    def of(cls, layer: Layer, size: Any) -> BlockKey:
        """The key of a layer that reads maps of `size`, as in `spaces.costs.Step`."""
        code = code_of(layer.block)
        return cls(layer.block, layer.in_channels, layer.out_channels, layer.stride, layer.options, size, code)

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
        described = self._asdict() | {"options": {name: thaw(value) for name, value in self.options}}
        if not self.code:
            del described["code"]
        return json.dumps(described)

    @classmethod
    def from_json(cls, text: str) -> BlockKey:
        """The key that a line stands for."""
        data = json.loads(text)
        options = tuple(sorted((name, freeze(value)) for name, value in data["options"].items()))
        plain = {name: freeze(data[name]) for name in ("block", "in_channels", "out_channels", "stride", "size")}
        return cls(**plain, options=options, code=str(data.get("code", "")))

    @property
    def is_known(self) -> bool:
        """Whether there is a block of this name here, and still the one that was measured."""
        return self.block in BLOCKS and code_of(self.block) == self.code


def code_of(name: str) -> str:
    """A few digits that stand for how a user's block is written; empty for a block of this project.

    A name says what a built-in block is. A user may edit a block, or give its name to another, and a latency measured before would
    be taken for that of the new one. So its module's text counts, whatever else of it has changed.
    """
    block: Any = BLOCKS[name]
    return "" if block.__module__.startswith("spaces.") else _digits(block)


@lru_cache(maxsize=256)
def _digits(block: Any) -> str:
    try:
        text = inspect.getsource(sys.modules[block.__module__])
    except (OSError, TypeError, KeyError):  # typed at a prompt
        functions = [value for value in vars(block).values() if inspect.isfunction(value)]
        text = "".join(f"{f.__name__} {f.__code__.co_code.hex()} {f.__code__.co_consts}" for f in functions)
    return hashlib.sha256(f"{block.__qualname__}\n{text}".encode()).hexdigest()[:12]


def block_keys(architecture: Architecture) -> list[BlockKey]:
    """The blocks of a network with the inputs they read, in order.

    Raises:
        InputError: a stride or a kernel leaves a side below one pixel.
    """
    return [BlockKey.of(layer, size) for layer, size, _ in walk(architecture)]


class Table:
    """What has been measured on one device.

    Args:
        path: of the CSV file; it need not exist where an identity is given. None: it is in memory alone.
        identity: of the device; None takes it from the file.
        setting: that names the file, for errors.

    Raises:
        InputError: the file cannot be read, is no such table, or holds measurements of another device.
    """

    def __init__(
        self, path: Path | None, identity: Mapping[str, str] | None = None, setting: str = "device.table"
    ) -> None:
        self.path, self._setting = path, setting
        self.blocks: dict[BlockKey, Measurement] = {}
        self.networks: dict[str, tuple[Architecture, Measurement]] = {}
        """By digest."""
        self.identity = dict(identity or {})
        self._others: list[list[str]] = []
        """Rows of blocks that are not known here, such as a user's before it was changed: kept, and not used."""
        self._version: tuple[int, int] | None = None
        """Of the file as it was read or written last."""
        if path is not None and path.exists():
            self._version = _version(path)
            try:
                self.read(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{self._setting}: cannot read {path}: {error}") from error
        elif identity is None and path is not None:
            raise InputError(f"{self._setting}: there is no file {path}")

    def part(self, keys: Collection[BlockKey], digests: Collection[str]) -> Table:
        """What was measured of these blocks and networks, in memory."""
        part = Table(None, self.identity)
        part.blocks = {key: self.blocks[key] for key in keys if key in self.blocks}
        part.networks = {digest: self.networks[digest] for digest in digests if digest in self.networks}
        return part

    def save(self) -> None:
        """Replaces the file whole; what another process has entered since it was read stays.

        Raises:
            InputError: it cannot be written; the old file is then as it was.
        """
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked_folder(self.path.resolve().parent, LOCK_S):
                self._take_in_others()
                replace_file(self.path, self.to_csv())
                self._version = _version(self.path)
        except TimeoutError as error:
            raise InputError(
                f"{self._setting}: cannot write {self.path}: {error}; end that process, or choose another by device.table=PATH"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self._setting}: cannot write {self.path}: {error.strerror}; what it held before is unharmed"
            ) from error

    def _take_in_others(self) -> None:
        """Enters what the file holds and this table does not, where it was written since."""
        assert self.path is not None
        if self.path.exists() and _version(self.path) != self._version:
            now = Table(self.path, self.identity)
            self.blocks = now.blocks | self.blocks
            self.networks = now.networks | self.networks
            self._others = now._others

    def to_csv(self) -> str:
        """The text of the file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        identity = [self.identity[name] for name in IDENTITY]
        rows = [("block", key.to_json(), measured) for key, measured in self.blocks.items()]
        rows += [("network", describe_network(a), measured) for a, measured in self.networks.values()]
        for kind, description, measured in rows:
            writer.writerow([*identity, kind, description, *measured.cells()])
        writer.writerows(self._others)
        return text.getvalue()

    def read(self, text: str, source: str) -> None:
        """Takes in the text of a file.

        Raises:
            InputError: it is damaged or of another device, in words that name the source.
        """
        csv.field_size_limit(1 << 24)
        rows = csv.reader(io.StringIO(text))
        try:
            if tuple(next(rows, ())) != COLUMNS:
                raise InputError(f"{self._setting}: {source} is no table of latencies: it has not their columns")
            for row in rows:
                self._read_row(row, source, rows.line_num)
        except csv.Error as error:
            raise InputError(f"{self._setting}: {source}, line {rows.line_num} is damaged ({error})") from error

    def _read_row(self, row: list[str], source: str, line: int) -> None:
        where = f"{self._setting}: {source}, line {line}"
        try:
            if len(row) != len(COLUMNS):
                raise ValueError(f"it has {len(row)} of {len(COLUMNS)} columns")
            cells = dict(zip(COLUMNS, row))
            measured = Measurement(float(cells["median_ms"]), float(cells["iqr_ms"]), int(cells["repeats"]))
            if not (0 < measured.median_ms < math.inf and 0 <= measured.iqr_ms < math.inf):
                raise ValueError("a latency is above zero and finite")
            if not self._enter(cells["kind"], cells["description"], measured):
                self._others.append(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where} is damaged ({error}); delete the line, or the file") from error
        identity = {name: cells[name] for name in IDENTITY}
        self.identity = self.identity or identity
        if identity != self.identity:
            other = next(name for name in IDENTITY if identity[name] != self.identity[name])
            raise InputError(
                f"{where} is of another device: {other} is '{identity[other]}' instead of '{self.identity[other]}'"
            )

    def _enter(self, kind: str, description: str, measured: Measurement) -> bool:
        """Takes in one measurement; False where its blocks are not known here."""
        if kind == "block":
            key = BlockKey.from_json(description)
            if key.is_known:
                self.blocks[key] = measured
            return key.is_known
        if kind != "network":
            raise ValueError(f"no kind of measurement is called '{kind}'")
        data = json.loads(description)
        code = data.pop("code", {})
        names = {layer["block"] for layer in data["layers"]} - {None}
        if any(name not in BLOCKS or code_of(name) != code.get(name, "") for name in names):
            return False
        architecture = decode(data, "network")
        self.networks[architecture.digest] = architecture, measured
        return True


def _version(path: Path) -> tuple[int, int]:
    """What changes whenever a file is replaced."""
    found = path.stat()
    return found.st_mtime_ns, found.st_ino


def describe_network(architecture: Architecture) -> str:
    """One line for the table: the network, and how the users' blocks in it are written."""
    codes = {layer.block: code_of(layer.block) for layer in architecture.layers}
    own = {name: code for name, code in codes.items() if code}
    return json.dumps(architecture.to_dict() | ({"code": own} if own else {}))
