"""The rival of `main_job.py`: a search as one writes it by hand with Optuna and PyTorch alone, in one process.

    python tests/benchmarks/plain_optuna.py DATABASE STUDY TRIALS

It trains the first networks of a finished study again, so that both train the same ones: same images, same split, same epochs, same
batch size, SGD and one-cycle schedule, the accuracy after every epoch. Everything else is a tutorial's: a DataLoader over a
TensorDataset, PyTorch's default threads, `study.optimize`.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import optuna
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from search.data import load
from search.trials.reader import read_trials
from spaces import build, cost, decode


def read_jobs(database: str, study: str, trials: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The architectures that a study has trained, and its config."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done = optuna.load_study(study_name=study, storage=f"sqlite:///{database}")
    originals = [trial for trial in read_trials(done) if trial.is_original]
    return [dict(trial.architecture or {}) for trial in originals][:trials], done.user_attrs["config"]


def read_images(config: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Normalised images (N, C, H, W) and labels (N,) of both splits, in memory."""
    data = load({key: value for key, value in config["data"].items() if key != "fingerprint"})
    splits = {}
    for split in ("train", "validation"):
        images, labels = zip(*data.batches(split, 1000), strict=True)
        splits[split] = torch.cat(images), torch.cat(labels)
    return splits


def train(network: nn.Module, splits: dict[str, tuple[Tensor, Tensor]], settings: dict[str, Any]) -> float:
    """Trains with a DataLoader and the classic loop; returns the last accuracy."""
    loader = DataLoader(TensorDataset(*splits["train"]), batch_size=settings["batch_size"], shuffle=True)
    validation = DataLoader(TensorDataset(*splits["validation"]), batch_size=1024)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings["lr"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings["lr"],
        epochs=settings["epochs"],
        steps_per_epoch=len(loader),
        pct_start=settings["warmup"],
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
    for _ in range(settings["epochs"]):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            criterion(network(images), labels).backward()
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            right = sum(int((network(images).argmax(1) == labels).sum()) for images, labels in validation)
        accuracy = right / len(splits["validation"][1])
    return accuracy


def main(database: str, name: str, trials: int) -> None:
    """Runs the search and prints the mean accuracy."""
    descriptions, config = read_jobs(database, name, trials)
    splits = read_images(config)

    def objective(trial: optuna.Trial) -> tuple[float, int]:
        architecture = decode(descriptions[trial.number])
        scaled = {
            split: (F.interpolate(images, architecture.resolution, mode="bilinear", antialias=True), labels)
            for split, (images, labels) in splits.items()
        }
        accuracy = train(build(architecture), scaled, config["train"])
        return accuracy, cost(architecture).flops

    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(directions=["maximize", "minimize"], storage=f"sqlite:///{folder}/plain.db")
        study.optimize(objective, n_trials=len(descriptions))
        accuracies = [trial.values[0] for trial in study.trials]
    print(f"{sum(accuracies) / len(accuracies):.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
