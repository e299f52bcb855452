"""One run of the search, from its config to its closing words: wires the parts together and nothing more."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from optuna.storages import InMemoryStorage
from rich.console import Console

from search.backends import check_backend, make_backend, num_cores
from search.backends.base import BackendSettings, choose_device
from search.config import RunConfig, run_command
from search.config.command_lines import report_command
from search.data import Data, load
from search.evaluation.from_scratch import FromScratch
from search.evaluation.job import Evaluator
from search.evaluation.settings import TrainSettings
from search.evaluation.user_function import UserFunction
from search.latency.device import Device, in_words
from search.latency.profiler import Progress as Measured
from search.latency.target import Target, identify
from search.objective.costs import COSTS, Costs
from search.objective.reward import Objective
from search.reporting.console import Terminal, make_console
from search.reporting.measuring import MeasuringBar
from search.reporting.progress import Progress
from search.reporting.trackers import NoTracker, Tracker, check_tracker, open_tracker
from search.samplers import make_sampler
from search.samplers.base import Earlier
from search.samplers.cost_aware import CostAwareSampler
from search.samplers.fidelity import make_fidelity
from search.study.driver import Watcher, explore
from search.study.enqueuing import Enqueued, read_networks
from search.study.founding import try_costs
from search.study.preconditions import check_evaluator, check_rungs
from search.study.progress import Ended, Status
from search.study.study import METRICS, Study
from search.study.warm_start import read_earlier
from search.system.files import Presence, replace_file
from search.system.printable import csv_text
from search.system.secrets import hide_in_url, without_password
from search.system.user_modules import import_user_modules
from search.trials.storage import (
    attributes,
    lock,
    num_trials,
    open_leases,
    open_storage,
    open_study,
    prepare_folder,
    sqlite_path,
    stored_name,
    writing,
)
from spaces import InputError, SearchSpace

LATENCY_TABLE = "latency_table"
"""The study's attribute with the measurements that its candidates' latencies are predicted from."""

EXAMPLES = [
    "python -m search.run space=shuffle_agg",
    "python -m search.run space=mobilenet_v2 data=cifar10 trials=100 workers=4",
    "python -m search.run 'space.width_multiplier={choice: [0.5, 1.0]}' 'train.lr={float: [1e-3, 1e-1], log: true}'",
    "python -m search.run -m space=shuffle_agg,mobilenet_v2 seed=0,1,2",
]

EXHAUSTED = "open more values of the space, or loosen the limits of the objective; more trials= would find nothing new"


class Parts(NamedTuple):
    """What a config asks for, each checked, before anything is written."""

    objective: Objective
    device: Device | None
    backend: BackendSettings
    evaluator: Evaluator
    imports: Sequence[str]
    """Modules that every worker imports first."""
    data: Data
    space: SearchSpace
    enqueued: Sequence[Enqueued]
    earlier: Sequence[Earlier]
    said_of_earlier: Sequence[str]


def run_study(config: RunConfig) -> int:
    """Runs or resumes one study; returns the exit status.

    Raises:
        InputError: something the user gave is not right.
        KeyboardInterrupt: the search was interrupted; what it found by then is written and said.
    """
    console = Terminal()
    parts = check_parts(config)
    folder = Path(config.results_dir) / config.study
    is_new = not folder.exists()
    prepare_folder(folder)
    with lock(folder, config.storage, config.study):
        try:
            target, study, described = open_run(config, parts, folder, console)
        except InputError:
            if is_new:  # what was refused is no study
                shutil.rmtree(folder, ignore_errors=True)
            raise
        replace_file(folder / "config.yaml", yaml.safe_dump(described, sort_keys=False))
        interrupted = timed_out = False
        try:
            timed_out = search(config, parts, study, described, folder, console)
            if target is not None and target.is_here and not timed_out:
                measure_front(study, target, console)
        except KeyboardInterrupt:
            interrupted = True
        if timed_out:
            console.print(f"The search ended at its time limit, timeout_s={config.timeout_s:g}.", highlight=False)
        if study.stopped_early is not None:
            console.print(f"The search ended before {study.trials} trials: {study.stopped_early}.")
        exhausted = study.stopped_early is not None and not interrupted
        command = EXHAUSTED if exhausted else _next_command(study, interrupted or timed_out)
        _report(config, study, folder, console, command)
    if interrupted:
        raise KeyboardInterrupt
    return 0


def in_one_sentence(config: RunConfig, parts: Parts) -> str:
    """The sentence on images, classes, resolution, workers and device that a search begins with."""
    data, sizes = parts.data, parts.data.sizes
    height, width = data.resolution
    images = (
        f"{sizes['train']:,} training and {sizes['validation']:,} validation images of {data.num_classes:,} classes"
    )
    pixels = f"{height}x{width} pixels, {'grey' if data.in_channels == 1 else 'RGB'}"
    is_local = parts.backend.name != "ray"
    workers = config.workers or (num_cores() if is_local else None)
    counted = "as many workers as fit" if workers is None else f"{workers} worker{'' if workers == 1 else 's'}"
    where = choose_device(parts.backend.accelerator) if is_local else "Ray"
    latency = "not measured" if parts.device is None else f"that of {parts.device.runtime}"
    return f"Search: {images}, {pixels}; {counted} on {where}; latency is {latency}."


def say_beginning(config: RunConfig, parts: Parts, console: Console) -> None:
    """Prints what was found about the images, and what the search begins with."""
    for line in (*parts.data.notes, in_one_sentence(config, parts)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def check_parts(config: RunConfig) -> Parts:
    """The parts of a search.

    Raises:
        InputError: something the user gave is not right.
    """
    import_user_modules(config.imports)
    function = None if config.evaluator is None else load_function(config.evaluator)
    check_tracker(config.tracker)
    device = Device.from_config(config.device)
    cost, metrics = "flops" if device is None else "latency_ms", {} if function is None else function.metrics
    objective = Objective.from_config(config.objective, cost, metrics=metrics)
    settings = BackendSettings.from_config(config.backend)
    # these two are made when the study is known; what is wrong with them is said before it exists
    fidelity = make_fidelity(config.fidelity, objective)
    sampler = make_sampler(config.sampler, config.seed)
    if config.warm_start and not isinstance(sampler, CostAwareSampler):
        raise InputError("warm_start: only sampler=cost_aware learns from earlier studies")
    data = load(config.data)
    space = make_space(config, data)
    try_costs(space)
    evaluator, imports = FromScratch(data) if function is None else function, list(config.imports)
    if isinstance(evaluator, UserFunction):
        evaluator = evaluator.beside([decision.name for decision in space.decisions])
        imports.append(str(config.evaluator).partition(":")[0])
    check_evaluator(evaluator, objective, confirm=config.confirm)
    check_rungs(fidelity, evaluator, space)
    check_backend(settings, config.workers, evaluator, imports, bounded=config.timeout_s is not None)
    enqueued = read_networks(
        config.enqueue, in_channels=data.in_channels, num_classes=data.num_classes, resolution=data.resolution
    )
    described = describe(config, data, objective, target=None)  # the device makes no difference to accuracies
    folder = Path(config.results_dir) / config.study
    earlier, said = read_earlier(space, config.warm_start, folder, config.storage, described)
    return Parts(objective, device, settings, evaluator, imports, data, space, enqueued, earlier, said)


def load_function(place: str) -> UserFunction:
    """The user's function that `evaluator` names; its metrics become columns beside those that every table has."""
    from search.reporting.tables import LEARNT_COLUMNS, TRIAL_COLUMNS

    return UserFunction.load(place, {*TRIAL_COLUMNS, *COSTS, *LEARNT_COLUMNS})


def open_run(
    config: RunConfig, parts: Parts, folder: Path, console: Console
) -> tuple[Target | None, Study, dict[str, Any]]:
    """The device that is searched for, the study, made or resumed, and its config as it keeps it."""
    objective, space = parts.objective, parts.space
    storage = open_storage(folder, config.storage)
    name = stored_name(storage, config.storage, config.study)
    leases = open_leases(config.storage, name)
    seed = (config.seed + 1_000_003 * leases.position) % 2**32  # other drivers draw other candidates
    sampler = make_sampler(config.sampler, seed, num_trials(storage, name))
    stored = attributes(storage, name)
    if parts.device is not None:
        if not stored:
            check_limits(objective, space)
            identify(parts.device)  # a device that is not there is told first
        say_beginning(config, parts, console)  # before the device is measured for a minute
    target = None if parts.device is None else open_target(parts.device, space, stored, console)
    described = describe(config, parts.data, objective, target)
    facts: dict[str, Any] = {} if target is None else {LATENCY_TABLE: target.pack()}
    if parts.evaluator.metrics:
        facts[METRICS] = dict(parts.evaluator.metrics)
    study = Study(
        space,
        objective,
        sampler,
        storage,
        name=name,
        trials=config.trials,
        costs=Costs(None if target is None else target.predictor, (objective.cost, *objective.limits)),
        facts=facts,
        config=described,
        leases=leases,
        enqueued=parts.enqueued,
    )
    if parts.device is None:
        say_beginning(config, parts, console)
    study.optuna_study.study_name = config.study  # what it goes by, also where its folder was renamed or copied
    if isinstance(sampler, CostAwareSampler) and parts.earlier:
        sampler.learn_from(parts.earlier)
    for line in parts.said_of_earlier:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if objective.limits:
        console.print(f"{study.reference['feasible_share']:.1%} of random architectures keep within the limits.")
    return target, study, described


def search(
    config: RunConfig, parts: Parts, study: Study, described: Mapping[str, Any], folder: Path, console: Console
) -> bool:
    """Evaluates what the study asks for, with a display and, where one is named, a tracker.

    Returns:
        Whether it ended because its time was over.

    Raises:
        KeyboardInterrupt: it was interrupted; what is finished is recorded.
    """
    with (
        Progress(console) as progress,
        open_tracker(config.tracker, folder, config.study, described, console) as tracker,
    ):
        bounded = config.timeout_s is not None
        return explore(
            study,
            lambda: make_backend(parts.backend, config.workers, parts.evaluator, parts.imports, bounded=bounded),
            seed=config.seed,
            retries=parts.backend.retries,
            watch=follow(study, progress, tracker, Presence(sqlite_path(folder, config.storage))),
            say=progress.note,
            fidelity=make_fidelity(config.fidelity, study.objective),
            confirm=config.confirm,
            timeout_s=config.timeout_s,
        )


def make_space(config: RunConfig, data: Data) -> SearchSpace:
    """The space over the data's images, every option of it tried out.

    Raises:
        InputError: something in the space or in the training's settings is not right.
    """
    source = f"space={config.choices['space']}"
    space = SearchSpace(
        config.space,
        {**asdict(TrainSettings()), **config.train},
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        resolution=data.resolution,
        source=source,
    )
    space.check()
    for candidate in space.coverage():
        TrainSettings.from_mapping(candidate.hyperparameters)
    return space


def follow(study: Study, progress: Progress, tracker: Tracker, database: Presence) -> Watcher:
    """What is told of every trial that ends: the display, and the tracker. The database must still be there."""

    def watch(status: Status, ended: Ended | None) -> None:
        database.check()
        progress.update(status, ended)
        if isinstance(tracker, NoTracker) or ended is None or ended.state == "confirmed":
            return
        trial = study.stored(ended.number)
        named = {
            "accuracy": trial.accuracy,
            "accuracy_top5": trial.accuracy_top5,
            "reward": trial.reward,
            "epochs": trial.epochs,
            "seconds": trial.seconds,
            **trial.costs,
            **trial.metrics,
        }
        known = {name: float(value) for name, value in named.items() if value is not None}
        tracker.trial(ended.number, trial.decisions, known)
        reached = {"best_accuracy": status.best_accuracy, "hypervolume": status.hypervolume}
        tracker.log({name: value for name, value in reached.items() if math.isfinite(value)}, ended.number)

    return watch


def describe(config: RunConfig, data: Data, objective: Objective, target: Target | None) -> dict[str, Any]:
    """The config as the study keeps it: resolved, with what identifies the images and the device."""
    described = asdict(config)
    described["imports"] = list(config.imports)
    described["storage"] = None if config.storage is None else hide_in_url(config.storage)
    described["data"] = {**config.data, "fingerprint": data.fingerprint}
    described["objective"] = {**config.objective, "cost": objective.cost}
    if target is not None:
        described["device"] = {**config.device, "identity": target.identity, "is_here": target.is_here}
    return described


def check_limits(objective: Objective, space: SearchSpace) -> None:
    """Tries the limits on costs that are known without a device, before it is measured for a minute.

    Raises:
        InputError: no architecture found keeps them.
    """
    limits = {name: limit for name, limit in objective.limits.items() if COSTS[name].function is not None}
    exact = replace(objective, cost="flops", target=None, limits=limits)
    if limits:
        Study(space, exact, make_sampler({"name": "random"}, 0), InMemoryStorage(), trials=1)


def open_target(device: Device, space: SearchSpace, stored: Mapping[str, Any], console: Console) -> Target:
    """The device that is searched for: measured now, or as the study that goes on knows it.

    Args:
        device: as configured.
        space: whose blocks and networks are measured.
        stored: what the study keeps, empty where it is new.
        console: says how far the measuring is.

    Raises:
        InputError: the device is not there, or cannot run the space.
    """
    if LATENCY_TABLE in stored:
        target = Target.unpack(device, stored[LATENCY_TABLE])
        if not target.is_here:
            words = (
                f"Latency is predicted for the study's device, {in_words(target.identity)}, as measured when it began"
            )
            console.print(words, highlight=False, soft_wrap=True)
        return target
    if device.table is not None and not Path(device.table).exists():
        console.print(f"There is no {device.table} yet: it is made, for this machine.", highlight=False, soft_wrap=True)
    identified = identify(device)
    where = in_words(identified.identity)
    with MeasuringBar(console, "blocks and networks", where, device.budget_s) as bar:
        target = Target.prepare(device, identified, space, bar.update)
    if not target.is_here:
        words = f"Latency is predicted for another device, {where}, from {device.table}, which holds {target.covers}."
        console.print(words, highlight=False, soft_wrap=True)
    return target


def measure_front(study: Study, target: Target, console: Console) -> None:
    """Times the fronts' networks end to end, the workers gone, and notes it beside what was predicted."""
    from search.reporting.reading import read_study
    from search.reporting.tables import front, known_costs

    trials, info = read_study(study.optuna_study)
    fronts = [front(trials, cost) for cost in known_costs(trials, info.costs)]
    numbers = sorted({int(number) for members in fronts for number in members["number"]})
    wanted = study.not_measured(numbers)
    where = in_words(target.identity)
    with MeasuringBar(console, "networks of the fronts", where) as bar:
        bar.update(Measured(0, len(wanted), 0))
        unsteady = 0
        for done, (architecture, measured) in enumerate(target.measure(wanted), 1):
            unsteady += not measured.steady
            study.measured(architecture.digest, measured, target.identity)
            bar.update(Measured(done, len(wanted), unsteady))


def _report(config: RunConfig, study: Study, folder: Path, console: Console, command: str) -> None:
    # imported here: the first trial need not wait for what draws the last
    from search.report import write_report
    from search.reporting.summary import print_summary

    again = report_command(config.study, config.results_dir, config.storage)
    try:
        with writing(folder):
            trials, info = write_report(study.optuna_study, folder)
        print_summary(console, trials, info, folder, command)
    except OSError as error:
        raise InputError(
            f"results_dir: the tables and the page cannot be written to {folder} ({error.strerror}); the study is whole, and "
            f"{again} writes them"
        ) from error
    except Exception as error:  # whatever it is, hours of training must not end in it
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"the tables and the page cannot be made ({type(error).__name__}: {error}, {frame.filename}:{frame.lineno}); the "
            f"study is whole, and {again} makes them once that is mended"
        ) from error
    if study.stopped_early is None and (waiting := study.num_enqueued):
        console.print(f"{waiting} of the enqueued networks wait for more trials: trials={study.num_done + waiting}")


def compare(configs: Sequence[RunConfig]) -> None:
    """Says what the studies of a sweep came to, in one table, and keeps it in their results folder as sweep.csv."""
    from search.reporting.reading import read_study
    from search.reporting.sweep import sweep_frame, sweep_summary

    studies = [open_study(Path(config.results_dir) / config.study, config.storage, config.study) for config in configs]
    frame = sweep_frame([read_study(study) for study in studies])
    place = Path(configs[0].results_dir) / "sweep.csv"
    replace_file(place, csv_text(frame))
    make_console().print(sweep_summary(frame, str(place)))


def _next_command(study: Study, interrupted: bool) -> str:
    """The command that goes on: the same after an interruption, else one for more trials than the study has."""
    arguments = sys.argv[1:]
    if not interrupted:
        more = 2 * max(study.trials, study.num_done)
        arguments = [*(a for a in arguments if not a.startswith("trials=")), f"trials={more}"]
    command = shlex.join(["python", "-m", "search.run", *map(without_password, arguments)])
    return f"the same command again; it goes on where it was stopped ({command})" if interrupted else command


def command() -> int:
    """The command on the process's arguments; returns its exit status."""
    return run_command(
        run_study,
        RunConfig.from_mapping,
        description="Searches for small, fast convolutional networks and writes the front to results/<study>/.",
        examples=EXAMPLES,
        compare=compare,
    )
