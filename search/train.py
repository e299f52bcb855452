"""`python -m search.train architecture=PATH data=digits`: trains one network in full, measures it, and writes its model card."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from search.backends.base import ACCELERATORS, choose_device
from search.config import FullTrainingSettings, run_command
from search.config.command_lines import export_command, setting
from search.data import Data, join_training, load, load_test
from search.evaluation.settings import TrainSettings
from search.evaluation.trained_folder import (
    CARD,
    Training,
    TrainingRecord,
    describe_images,
    read_record,
    take,
    write_record,
    write_weights,
)
from search.evaluation.training import Diverged, Epoch, OutOfMemory, evaluate, train
from search.latency.device import Device, latency_record
from search.latency.profiler import Profiler
from search.latency.runtimes import UnsupportedError
from search.latency.sessions import cpu_model
from search.profile import chosen_network
from search.report import network_origin
from search.reporting.card import model_card, plus_minus
from search.reporting.console import Terminal
from search.reporting.trackers import Tracker, check_tracker, flat, open_tracker
from search.system.files import replace_file
from search.system.user_modules import import_user_modules
from search.trials.storage import prepare_folder
from spaces import Architecture, InputError, build, cost
from spaces.errors import did_you_mean
from spaces.memory import activation_bytes
from spaces.reference import read_yaml

NETWORK = "network.yaml"
"""The trained network, beside its weights."""

EXAMPLES = [
    "python -m search.train architecture=results/shuffle_agg-digits/pick.yaml data=digits train=long",
    "python -m search.train architecture=found.yaml data=cifar10 data.path=/data/cifar10 train.epochs=200 'seeds=[0, 1, 2, 3, 4]'",
    "python -m search.train network=mobilenet_v2 network.width_multiplier=0.5 network.resolution=32 data=cifar10",
    "python -m search.train architecture=found.yaml data=folder data.path=photos tracker=tensorboard folder=trained/photos",
]


def train_in_full(settings: FullTrainingSettings) -> None:
    """Trains what the settings ask for, seed by seed; goes on where it was stopped.

    Raises:
        InputError: something the user gave is not right, or a training that fails.
    """
    console = Terminal()
    import_user_modules(settings.imports)
    training = asdict(TrainSettings.from_mapping(settings.train))
    torch_device = read_accelerator(settings.accelerator)
    check_tracker(settings.tracker)
    device = Device.from_config(settings.device)
    if device is not None:
        device.open()  # said now rather than after the training, if it is not there
    data = load(settings.data)
    name, architecture = read_network(settings, data)
    if architecture.resolution != data.resolution:
        ours, theirs = ("x".join(map(str, size)) for size in (architecture.resolution, data.resolution))
        console.print(f"The network takes {ours} pixels: the images of {theirs} are scaled.", highlight=False)
    data = join_training(load_test(settings.data, data))
    for line in data.notes:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    folder = Path(settings.folder or f"trained/{name}-{settings.choices['data']}").absolute()
    prepare_folder(folder, "folder")
    with take(folder):
        wanted = TrainingRecord(
            network=network_origin(settings.architecture) or name,
            digest=architecture.digest,
            architecture=architecture.to_dict(),
            data=settings.data,
            images=describe_images(data),
            train=training,
            imports=list(settings.imports),
            costs=describe_costs(architecture),
            machine=describe_machine(torch_device),
            command=command_again(folder, sys.argv[1:]),
        )
        record = take_up(folder, wanted)
        replace_file(folder / NETWORK, yaml.safe_dump(record.architecture, sort_keys=False))
        with open_tracker(settings.tracker, folder, folder.name, record.identity, console) as tracker:
            trainer = SeedTrainer(folder, architecture, data, torch_device, tracker, console)
            record = trainer.train(record, settings.seeds)
        if device is not None:
            record = replace(record, latency=measure(device, architecture, console))
        write_record(folder, record, model_card(record))
    say(console, folder, record)


def command_again(folder: Path, arguments: Sequence[str]) -> str:
    """The command that was given, its network taken from the folder: the file that was named may hold another by then."""
    kept = [argument for argument in arguments if not argument.startswith(("architecture=", "folder="))]
    if len(kept) < len(arguments):
        network, where = (str(shown_path(path)) for path in (folder / NETWORK, folder))
        named = any(argument.startswith("architecture=") for argument in arguments)
        kept = [*([setting("architecture", network)] if named else []), *kept, setting("folder", where)]
    return shlex.join(["python", "-m", "search.train", *kept])


def read_accelerator(name: Any) -> str:
    """The torch device to train on.

    Raises:
        InputError: there is no such accelerator.
    """
    if name not in ACCELERATORS:
        raise InputError(f"accelerator: there is no accelerator '{name}'{did_you_mean(name, ACCELERATORS)}")
    return choose_device(name, "accelerator")


def read_network(settings: FullTrainingSettings, data: Data) -> tuple[str, Architecture]:
    """The network to train, with its name; one of the literature is given the channels and classes of the data.

    What a description leaves to the data, such as its resolution, is the data's.

    Raises:
        InputError: none or two are given, it cannot be built, or it is made for other images.
    """
    if settings.network is None and settings.architecture is None:
        raise InputError(
            "architecture must be given: architecture=PATH, as results/<study>/pick.yaml, or network=NAME, as network=mobilenet_v2"
        )
    description = settings.network
    if description is not None:
        description = {**description, "in_channels": data.in_channels, "num_classes": data.num_classes}
    image = {"in_channels": data.in_channels, "num_classes": data.num_classes, "resolution": data.resolution}
    name, architecture = chosen_network(settings.architecture, description, settings.choices.get("network"), image)
    for what, its, given in (
        ("channels", architecture.in_channels, data.in_channels),
        ("classes", architecture.num_classes, data.num_classes),
    ):
        if its != given:
            raise InputError(
                f"architecture: {name} is made for {its} {what}, and data={settings.choices['data']} has {given}"
            )
    if architecture.layers[-1].keywords.get("pool", "avg") is None:
        raise InputError(
            f"architecture: {name} gives every place of an image a class (head.pool is null); these images have one each"
        )
    build(architecture)
    return name, architecture


def describe_costs(architecture: Architecture) -> dict[str, float]:
    """What the network costs, exactly."""
    total = cost(architecture)
    return {"flops": total.flops, "params": total.params, "activation_bytes": activation_bytes(architecture)}


def describe_machine(torch_device: str) -> dict[str, str]:
    """On what a network is trained."""
    hardware = (
        torch.cuda.get_device_name()
        if torch_device == "cuda"
        else f"{cpu_model()}, PyTorch threads: {torch.get_num_threads()}"
    )
    try:
        ours = version("smallnets")
    except PackageNotFoundError:  # run from its sources
        ours = "from sources"
    return {"hardware": hardware, "python": platform.python_version(), "torch": torch.__version__, "smallnets": ours}


def take_up(folder: Path, wanted: TrainingRecord) -> TrainingRecord:
    """The record that the folder holds of this training, else the new one.

    Raises:
        InputError: the folder holds another training.
    """
    known = read_record(folder)
    if known is None:
        begun = any(folder.glob("*.checkpoint")) and (folder / NETWORK).exists()
        if begun and read_yaml(folder / NETWORK) != wanted.architecture:
            raise InputError(
                f"{folder} holds the beginning of another network's training; choose a folder for this one by folder=PATH"
            )
        return wanted
    before, now = flat(known.identity), flat(wanted.identity)
    changes = [
        f"{key}: {before.get(key)} -> {now.get(key)}" for key in {**before, **now} if before.get(key) != now.get(key)
    ]
    if changes:
        raise InputError(
            f"{folder} holds another training ({'; '.join(changes)}); choose a folder for this one by folder=PATH"
        )
    return replace(known, command=wanted.command)


class SeedTrainer:
    """Trains one network under several seeds, each kept as soon as it is done.

    Args:
        folder: where weights, record and card go.
        architecture: the network.
        data: with the splits "train" and "test".
        device: the torch device.
        tracker: told of every epoch.
        console: shows how far it is.
    """

    def __init__(
        self, folder: Path, architecture: Architecture, data: Data, device: str, tracker: Tracker, console: Console
    ) -> None:
        self.folder = folder
        self.architecture = architecture
        self.data = data
        self.device = device
        self.tracker = tracker
        self.console = console

    def train(self, record: TrainingRecord, seeds: Sequence[int]) -> TrainingRecord:
        """The record with the trainings that it lacked.

        Raises:
            InputError: a training that fails, and what may help.
        """
        missing = [seed for seed in seeds if seed not in {training.seed for training in record.trainings}]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with ProgressBar(*columns, console=self.console, transient=True) as bar:
            for seed in missing:
                task = bar.add_task(f"seed {seed}", total=record.train["epochs"])
                try:
                    training = self._train_seed(record, seed, partial(self._show, bar, task, seed))
                except Diverged as error:
                    raise InputError(f"seed {seed}: {error}; a lower train.lr may help") from error
                except OutOfMemory as error:
                    raise InputError(
                        f"seed {seed}: out of memory ({error}); a lower train.batch_size may help"
                    ) from error
                bar.remove_task(task)
                everyone = sorted([*record.trainings, training], key=lambda one: one.seed)
                record = replace(record, trainings=everyone)
                write_record(self.folder, record, model_card(record))
                self._checkpoint(seed).unlink(missing_ok=True)
                words = f"Seed {seed}: {100 * training.accuracy:.2f}% of the test images, {training.seconds:.0f} s"
                self.console.print(words, highlight=False)
        return record

    def _train_seed(self, record: TrainingRecord, seed: int, show: Callable[[Epoch], None]) -> Training:
        """Trains one seed, or goes on with it; measures it on the test images; writes its weights."""
        network, epochs, resolution = build(self.architecture), [], self.architecture.resolution

        def on_epoch(epoch: Epoch) -> bool:
            epochs.append(epoch)
            show(epoch)
            measures = {"train/loss": epoch.loss, "train/accuracy": epoch.accuracy}
            self.tracker.log({f"seed-{seed}/{name}": value for name, value in measures.items()}, epoch.epoch)
            return True

        result = train(
            network,
            self.data,
            record.train,
            resolution=resolution,
            seed=seed,
            device=self.device,
            on_epoch=on_epoch,
            checkpoint=self._checkpoint(seed),
        )
        accuracy, top5 = evaluate(network, self.data, "test", resolution=resolution, device=self.device, exact=True)
        results = {"test/accuracy": accuracy, "test/accuracy_top5": top5}
        known = {f"seed-{seed}/{name}": value for name, value in results.items() if value is not None}
        self.tracker.log(known, result.epochs)
        weights = f"seed-{seed}.safetensors"
        write_weights(self.folder / weights, network, {"digest": self.architecture.digest, "seed": str(seed)})
        last = epochs[-1]
        return Training(seed, accuracy, top5, last.accuracy, last.loss, round(result.seconds, 2), weights)

    def _checkpoint(self, seed: int) -> Path:
        """Where a seed's training stands while it is under way."""
        return self.folder / f"seed-{seed}.checkpoint"

    def _show(self, bar: ProgressBar, task: TaskID, seed: int, epoch: Epoch) -> None:
        """A bar on a terminal, ten lines a training elsewhere."""
        words = f"seed {seed}: loss {epoch.loss:.3f}, {100 * epoch.accuracy:.2f}% of the training images"
        bar.update(task, completed=epoch.epoch, description=words)
        total = bar.tasks[bar.task_ids.index(task)].total or 1
        if not self.console.is_terminal and 10 * epoch.epoch // total > 10 * (epoch.epoch - 1) // total:
            self.console.print(f"{words}, epoch {epoch.epoch}/{total:.0f}", highlight=False)


def measure(device: Device, architecture: Architecture, console: Console) -> dict[str, Any] | None:
    """The network's latency on this machine; None where the device cannot run it, which is said."""
    try:
        profiler = Profiler(device)
        [measured] = profiler.measure_networks([architecture])
        profiler.table.save()
    except UnsupportedError as error:
        console.print(f"Latency is not known: {error}.", highlight=False, markup=False)
        return None
    return latency_record(measured, profiler.table.identity)


def say(console: Console, folder: Path, record: TrainingRecord) -> None:
    """The closing words."""
    seeds = f"{len(record.trainings)} trainings" if len(record.trainings) > 1 else "one training"
    text = f"{record.network}: {plus_minus(*record.accuracy())} of {record.images['sizes']['test']} test images"
    if record.trainings[0].accuracy_top5 is not None:
        text += f", top-5 {plus_minus(*record.accuracy('accuracy_top5'))}"
    console.print(f"{text} ({seeds}).", highlight=False)
    console.print(f"Weights and {CARD} are in {folder}", highlight=False, markup=False, soft_wrap=True)
    command = export_command(str(shown_path(folder)), record.imports)
    console.print(f"To export it: {command}", highlight=False, markup=False, soft_wrap=True)


def shown_path(path: Path) -> Path:
    """The path from the current directory where it lies there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def main() -> int:
    """The command."""
    return run_command(
        train_in_full,
        FullTrainingSettings.from_mapping,
        config_name="train",
        description="Trains one network in full, several times, measures it on the test images and writes its model card.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
