"""`python -m search.export folder=trained/NAME`: a trained network as an ONNX file, verified against PyTorch on the test images."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.config import ExportSettings, run_command
from search.data import Data, load, load_test
from search.evaluation.trained_folder import (
    CARD,
    RECORD,
    Training,
    TrainingRecord,
    load_network,
    read_record,
    take,
    write_record,
)
from search.latency.device import Device, describe, latency_record
from search.latency.measuring import measure
from search.latency.onnx_file import TOLERANCE, OnnxFile, export_network, verify
from search.latency.profiler import NETWORK_BUDGET_S
from search.latency.runtimes import OnnxRuntime
from search.reporting.card import model_card, preprocessing, rounding_in_words
from search.reporting.console import Terminal
from search.system.files import replace_file
from search.system.user_modules import import_user_modules
from search.trials.storage import prepare_folder
from spaces import InputError
from spaces.errors import did_you_mean

EXAMPLES = [
    "python -m search.export folder=trained/pick-digits",
    "python -m search.export folder=trained/pick-digits seed=2 output=phone/model.onnx device.threads=4",
    "python -m search.export folder=trained/pick-digits device=none",
]


def export_trained(settings: ExportSettings) -> None:
    """Exports, verifies and measures a trained network.

    Raises:
        InputError: nothing trained in the folder, images that are not those it was trained on, an operator that ONNX lacks, or a
            file that does not do what the network does.
    """
    console = Terminal()
    folder = Path(settings.folder)
    path = Path(settings.output or folder / "model.onnx")
    device = read_device(settings.device)
    chosen_training(folder, settings.seed)  # where there is none, no folder is made
    prepare_folder(path.parent, "output")
    with take(folder):
        record, training = chosen_training(folder, settings.seed)
        # those that the folder names are not imported unasked: it may be a stranger's
        import_user_modules(settings.imports)
        architecture, network = load_network(folder, record, training)
        data = read_images(record)
        console.print(f"Exporting {training.weights} of {folder.name} ...", highlight=False, markup=False)
        file = OnnxFile(export_network(architecture, network, metadata(record, training)))
        checked = verify(file, network, data, architecture.resolution)
        entry = {
            "file": path.name if path.parent == folder else str(path),
            "weights": training.weights,
            "opset": file.opset,
            "bytes": len(file.content),
            **checked,
            "accuracy_then": training.accuracy,
            "latency": None if device is None else time_file(file, device, record),
            "command": shlex.join(["python", "-m", "search.export", *sys.argv[1:]]),
        }
        replace_file(path, file.content)
        record = replace(record, export=entry)
        write_record(folder, record, model_card(record))
    for line in (*closing_words(entry, record.machine["hardware"]), f"Written to {path}; {CARD} says how to use it."):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def closing_words(entry: Mapping[str, Any], hardware: str) -> Iterator[str]:
    """What became of an export, line by line."""
    ours, theirs, then = (100 * entry[key] for key in ("accuracy", "accuracy_torch", "accuracy_then"))
    images = f"{entry['images']:,} test images"
    of_size = "" if entry["difference"] <= TOLERANCE else f", {entry['relative']:.2g} of the outputs' size,"
    yield f"Equal to PyTorch within {entry['difference']:.2g}{of_size} on {images}."
    if entry["rounding"] is not None:
        yield f"{rounding_in_words(entry['rounding'])}."
    yield f"Accuracy of the file {ours:.2f}%, PyTorch's {theirs:.2f}%."
    if entry["ties"]:
        yield f"They guess differently on {entry['ties']} images, whose best two outputs are equal within that."
    if then != theirs:
        yield f"At the end of its training, on {hardware}, it was {then:.2f}%."
    latency = entry["latency"]
    if latency is not None:
        care = "" if latency["steady"] else " (something else was running, take it with care)"
        yield f"{latency['median_ms']:.3g} ms ± {latency['iqr_ms'] / 2:.1g} on {latency['device']}{care}."


def chosen_training(folder: Path, seed: Any) -> tuple[TrainingRecord, Training]:
    """The record of a folder, and the training whose weights are exported.

    Raises:
        InputError: nothing was trained there, or not with that seed.
    """
    record = read_record(folder)
    if record is None or not record.trainings:
        if any(folder.glob("*.checkpoint")):
            raise InputError(
                f"folder: no training has ended yet in {folder}; the search.train command that began it goes on"
            )
        near = sorted(path.parent.name for path in folder.parent.glob(f"*/{RECORD}"))
        way_on = did_you_mean(folder.name, near) if near else "; search.train architecture=PATH trains a network"
        raise InputError(f"folder: nothing was trained in {folder}{way_on}")
    by_seed = {training.seed: training for training in record.trainings}
    if seed is None:
        return record, record.trainings[0]
    if isinstance(seed, bool) or seed not in by_seed:
        raise InputError(f"seed={seed}: trained were {', '.join(map(str, by_seed))}")
    return record, by_seed[seed]


def read_device(config: Mapping[str, Any]) -> Device | None:
    """The device that the file is measured on.

    Raises:
        InputError: another than ONNX Runtime in float32, which is what the file is.
    """
    device = Device.from_config(config)
    if device is not None and device.runtime != "onnxruntime":
        raise InputError(
            f"device={device.runtime}: the file is measured with ONNX Runtime: device=onnxruntime, or none"
        )
    if device is not None and device.dtype != "float32":
        raise InputError(f"device.dtype={device.dtype}: the file holds the weights as they were trained, float32")
    return device


def read_images(record: TrainingRecord) -> Data:
    """The images that the network was trained and tested on.

    Raises:
        InputError: they have changed since.
    """
    data = load(record.data)
    if data.fingerprint != record.images["fingerprint"]:
        raise InputError(
            f"the images of {record.images['name']} are not those the network was trained on (fingerprint {data.fingerprint}, "
            f"then {record.images['fingerprint']}): bring them back, or train it anew"
        )
    return load_test(record.data, data)


def metadata(record: TrainingRecord, training: Training) -> dict[str, str]:
    """What the file says of itself; texts, as ONNX has it."""
    images = record.images
    return {
        "network": record.network,
        "digest": record.digest,
        "seed": str(training.seed),
        "class_names": json.dumps(images["class_names"]),
        "resolution": json.dumps(record.architecture["resolution"]),
        "channels": "grey" if images["in_channels"] == 1 else "RGB",
        "mean": json.dumps(images["mean"]),
        "std": json.dumps(images["std"]),
        "preprocessing": " ".join(preprocessing(images, record.architecture["resolution"])),
        "data": f"{images['name']} {images['fingerprint']}",
    }


def time_file(file: OnnxFile, device: Device, record: TrainingRecord) -> dict[str, Any]:
    """The latency of the file itself on this machine."""
    runtime = OnnxRuntime(device.threads, device.dtype)
    shape = (device.batch, record.architecture["in_channels"], *record.architecture["resolution"])
    [measured] = measure([runtime.load_file(file.content, [shape])], NETWORK_BUDGET_S)
    return latency_record(measured, describe(device, runtime))


def main() -> int:
    """The command."""
    return run_command(
        export_trained,
        ExportSettings.from_mapping,
        config_name="export",
        description="Writes a trained network as an ONNX file, and proves that it does what the network does.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
