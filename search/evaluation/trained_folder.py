"""The folder of a network trained in full: its weights, and a record of what was trained on what, and how well.

results.json holds the record; model_card.md is made from it, for people. Weights are safetensors: data, never code.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from search.data import Data
from search.evaluation.settings import TrainSettings
from search.system.files import replace_file
from spaces import Architecture, InputError, build, decode

RECORD = "results.json"
CARD = "model_card.md"


@dataclass(frozen=True)
class Training:
    """One seed's training, and its network on the test images."""

    seed: int
    accuracy: float
    """Share of the test images classified rightly, 0..1."""
    accuracy_top5: float | None
    """Share whose class is among the five best guesses; None where classes are few."""
    train_accuracy: float
    """Share of the training images, as the last epoch met them."""
    train_loss: float
    seconds: float
    weights: str
    """Name of their file."""


@dataclass(frozen=True)
class TrainingRecord:
    """What results.json says."""

    network: str
    """Its name, or that of its file."""
    digest: str
    architecture: dict[str, Any]
    data: dict[str, Any]
    """Settings of the data set."""
    images: dict[str, Any]
    """What came of them: see `describe_images`."""
    train: dict[str, Any]
    """Settings of every training."""
    imports: list[str]
    costs: dict[str, float]
    machine: dict[str, str]
    """On what, and with which versions, it was trained."""
    command: str
    """What was typed."""
    trainings: list[Training] = field(default_factory=list)
    """In the order of the seeds."""
    latency: dict[str, Any] | None = None
    """Measured end to end: `median_ms`, `iqr_ms`, `steady`, `device`."""
    export: dict[str, Any] | None = None
    """What became of the exported file."""

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same training: all but where the images lie and what is measured on the network."""
        settings = {
            k: v for k, v in self.data.items() if k not in ("path", "cache_dir", "in_memory_mb", "decode_workers")
        }
        train = {**asdict(TrainSettings()), **self.train}  # a key that was added since had its default
        return {"network": self.digest, "data": settings, "images": self.images["fingerprint"], "train": train}

    def accuracy(self, key: str = "accuracy") -> tuple[float, float | None]:
        """Mean and sample standard deviation over the seeds, on the test images; no deviation of a single one."""
        values = [getattr(training, key) for training in self.trainings]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def take(folder: Path) -> FileLock:
    """Takes the folder for this process until it ends, however it ends.

    Raises:
        InputError: another process has it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is working in {folder}; wait for it, or choose another by folder=PATH"
        ) from error
    return lock


def describe_images(data: Data) -> dict[str, Any]:
    """What a model card says of its images, and what its user must do to others.

    Args:
        data: with the splits that were trained on and tested on.
    """
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "in_channels": data.in_channels,
        "resolution": list(data.resolution),
        "depth": data.depth and list(data.depth),
        "backdrop": data.backdrop,
        "mean": list(data.mean),
        "std": list(data.std),
        "augment": data.augment,
        "fingerprint": data.fingerprint,
        "sizes": data.sizes,
    }


def read_record(folder: Path) -> TrainingRecord | None:
    """The record in a folder; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    path = folder / RECORD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return TrainingRecord(**{**raw, "trainings": [Training(**one) for one in raw["trainings"]]})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{path} is not the record of a training ({error}); choose another folder by folder=PATH"
        ) from error


def write_record(folder: Path, record: TrainingRecord, card: str) -> None:
    """Writes results.json and the model card.

    Raises:
        OSError: the folder cannot be written.
    """
    replace_file(folder / RECORD, json.dumps(asdict(record), indent=2) + "\n")
    replace_file(folder / CARD, card)


def write_weights(path: Path, network: nn.Module, notes: Mapping[str, str]) -> None:
    """Writes a network's parameters and statistics, float32 as they were trained.

    Raises:
        OSError: the file cannot be written.
    """
    # clones: a format that maps memory takes neither views nor the channels-last order of training
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    replace_file(path, save(tensors, metadata=dict(notes)))


def load_network(folder: Path, record: TrainingRecord, training: Training) -> tuple[Architecture, nn.Module]:
    """A trained network as it was at the end of its training, on the CPU, in evaluation mode.

    Raises:
        InputError: its weights are missing, damaged or of another network, or it no longer builds.
    """
    path = folder / training.weights
    try:
        architecture = decode(record.architecture, f"{folder / RECORD}: architecture")
        network = build(architecture)
    except InputError as error:
        way_on = "use the version of the code that it was trained with"
        if record.imports:
            way_on = f"imports=[{','.join(record.imports)}] brings its own blocks, or {way_on}"
        raise InputError(f"{error}; {way_on} (smallnets {record.machine['smallnets']})") from error
    try:
        network.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: the weights cannot be read ({error}); run search.train again") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the weights do not fit the network ({reason})") from error
    return architecture, network.eval()
