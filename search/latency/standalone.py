"""Measures on a device of its own: what `python bundle.pyz` runs there, with NumPy and ONNX Runtime alone.

The bundle is one file: this code and the models, exported where the search runs. It leaves one table of latencies, which is copied
back. What the table has already is not measured again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import sys
import zipfile
from pathlib import Path

from search.latency import sessions
from search.latency.measuring import measure

BUDGET_S = 0.5
"""Seconds that one round of timing may take."""
TOGETHER = 12
"""How many are timed in turn, so that their rounds lie apart; the table is written after each dozen."""


def main(archive: str = sys.argv[0]) -> int:
    """The command; returns its exit status."""
    path = Path(archive).resolve()
    parser = argparse.ArgumentParser(description="Measures how fast networks and their blocks run on this device.")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run (default 1)")
    parser.add_argument("--table", type=Path, default=Path(f"{path.stem}.csv"), help="where measurements go")
    arguments = parser.parse_args()
    if arguments.threads < 1:
        parser.error("--threads must be at least 1")
    if not os.access(arguments.table.absolute().parent, os.W_OK):
        parser.error(f"--table: cannot write to the folder {arguments.table.absolute().parent}")
    try:
        measure_all(path, arguments.table, arguments.threads)
    except KeyboardInterrupt:
        print("\nThe same command goes on here.")
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure_all(archive: Path, path: Path, threads: int) -> None:
    """Measures what the table lacks of an archive's models, and says how far it is.

    Raises:
        ImportError: ONNX Runtime or NumPy is not installed.
        OSError: the archive cannot be read, or the table cannot be written; what it held before is then unharmed.
        ValueError: the table is none, or of another device.
    """
    with zipfile.ZipFile(archive) as files:
        manifest = json.loads(files.read("manifest.json"))
        identity = [
            sessions.machine(),
            f"onnxruntime {sessions.version()}",
            str(threads),
            str(manifest["batch"]),
            manifest["dtype"],
        ]
        rows = _read(path, manifest["columns"], identity)
        done = {(row[len(identity)], row[len(identity) + 1]) for row in rows}
        wanted = [model for model in manifest["models"] if (model["kind"], model["description"]) not in done]
        print(f"{identity[0]}, {identity[1]}, {threads} thread{'s' * (threads > 1)}: {len(wanted)} models to measure")
        unsteady = skipped = 0
        for first in range(0, len(wanted), TOGETHER):
            batch, runs = [], []
            for model in wanted[first : first + TOGETHER]:
                try:
                    runs.append(sessions.open_model(files.read(model["file"]), threads))
                    batch.append(model)
                except Exception as error:  # the runtime's own errors have no common class
                    skipped += 1
                    print(f"left out, this runtime cannot run it: {model['description'][:120]}: {error}"[:300])
            measured = measure(runs, BUDGET_S)
            rows += [[*identity, m["kind"], m["description"], *one.cells()] for m, one in zip(batch, measured)]
            unsteady += sum(not one.steady for one in measured)
            _write(path, manifest["columns"], rows)
            print(f"\r{min(first + TOGETHER, len(wanted))} of {len(wanted)}", end="", flush=True)
    print(f"\nThe table is {path}: {len(rows)} measurements. Copy it back, and ", end="")
    if any(model["kind"] == "block" for model in manifest["models"]):
        print(f"search with {shlex.quote(f'device.table={path.name}')}")
    else:
        print(f"enter it: python -m search.report study=NAME {shlex.quote(f'measured={path.name}')}")
    if unsteady:
        print(f"{unsteady} differ from run to run by more than a tenth: something else was running.")
    if skipped:
        print(f"{skipped} could not be run here.")


def _read(path: Path, columns: list[str], identity: list[str]) -> list[list[str]]:
    if not path.exists():
        return []
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if header != columns or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"{path} is no table of latencies, or it is damaged; move it away, or give --table=PATH")
    for row in rows:
        if row[: len(identity)] != identity:
            raise ValueError(f"{path} holds measurements of another device or with other settings; give --table=PATH")
    return rows


def _write(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Replaces the file whole: whoever reads or interrupts finds the old table or the new one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text.getvalue(), encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
