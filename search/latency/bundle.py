"""One file that measures on another device: its code and the models, to be run there with Python, NumPy and ONNX Runtime."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.latency.device import Device
from search.latency.profiler import block_in_context, network_with_shapes
from search.latency.runtimes import DTYPES, Shape, UnsupportedError, export
from search.latency.table import COLUMNS, BlockKey, describe_network
from search.system.files import replace_file
from spaces import Architecture
from spaces.errors import InputError

_CODE = ("measuring.py", "sessions.py", "standalone.py")
"""Modules that need no more than NumPy and ONNX Runtime."""
_MAIN = "import sys\nfrom search.latency.standalone import main\nsys.exit(main())\n"


def write_bundle(
    path: Path,
    device: Device,
    keys: Sequence[BlockKey],
    architectures: Sequence[Architecture],
    watch: Callable[[int], None] = lambda done: None,
) -> int:
    """Writes the file; `python FILE` on a device then measures these blocks and networks there.

    Args:
        path: of the file.
        device: its batch and type of numbers.
        keys: blocks.
        architectures: whole networks.
        watch: told after each how many are exported.

    Returns:
        Its size in bytes.

    Raises:
        InputError: it cannot be written; a runtime other than ONNX Runtime is asked for.
        UnsupportedError: a block that cannot be exported.
    """
    if device.runtime != "onnxruntime":
        raise InputError(f"bundle: it runs on ONNX Runtime; device={device.runtime} is measured on the machine itself")
    # networks first: a table that was interrupted is calibrated, and its blocks stand for all
    models = [("network", describe_network(a), network_with_shapes(a, device.batch)) for a in architectures]
    models += [("block", key.to_json(), block_in_context(key, device.batch)) for key in keys]
    manifest: dict[str, Any] = {"columns": COLUMNS, "batch": device.batch, "dtype": device.dtype, "models": []}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _MAIN)
        for package in ("search", "search/latency"):
            archive.writestr(f"{package}/__init__.py", "")
        for name in _CODE:
            archive.write(Path(__file__).parent / name, f"search/latency/{name}")
        for number, (kind, description, (module, shapes)) in enumerate(models):
            entry = {"kind": kind, "description": description, "file": f"models/{number:04d}.onnx"}
            archive.writestr(entry["file"], _exported(module, shapes, device, description))
            manifest["models"].append(entry)
            watch(number + 1)
        archive.writestr("manifest.json", json.dumps(manifest))
    try:
        replace_file(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"bundle: cannot write {path}: {error.strerror}") from error
    return buffer.tell()


def _exported(module: nn.Module, shapes: Sequence[Shape], device: Device, description: str) -> bytes:
    """The model, its weights all alike within a layer: what is timed is the same, and the file is a hundredth as large."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                weight.fill_(1 / weight[0].numel())
    try:
        return export(module, shapes, DTYPES[device.dtype])
    except Exception as error:
        raise UnsupportedError(f"{description} cannot be exported: {' '.join(str(error).split())[:200]}") from error
