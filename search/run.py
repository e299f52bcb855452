"""`python -m search.run space=shuffle_agg`: searches, and says what it found."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from search.backends.local import LocalBackend
from search.config import RunConfig, import_user_modules, run_command
from search.data import Data, load
from search.driver import explore
from search.objective import Objective
from search.overrides import hide_password
from search.report import write_report
from search.reporting.files import replace_file
from search.reporting.progress import Progress
from search.reporting.summary import summary
from search.samplers import make_sampler
from search.storage import lock, num_trials, open_storage, prepare_folder
from search.study import Study
from search.training import check_settings
from spaces import SearchSpace

EXAMPLES = [
    "python -m search.run space=shuffle_agg",
    "python -m search.run space=mobilenet_v2 data=cifar10 trials=100 workers=4",
    "python -m search.run 'space.width_multiplier={choice: [0.5, 1.0]}' 'train.lr={float: [1e-3, 1e-1], log: true}'",
    "python -m search.run -m space=shuffle_agg,mobilenet_v2 seed=0,1,2",
]


def run(config: RunConfig) -> int:
    """Runs or resumes one study; returns the exit status."""
    console = Console()
    import_user_modules(config.imports)
    objective = Objective.from_config(config.objective)
    folder = Path(config.results_dir) / config.study
    prepare_folder(folder)
    with lock(folder):
        data = load(config.data)
        space = make_space(config, data)
        storage = open_storage(folder, config.storage)
        # a resumed sampler goes on instead of drawing the same candidates again
        sampler = make_sampler(config.sampler, config.seed + num_trials(storage, config.study))
        described = describe(config, data)
        study = Study(space, objective, sampler, storage, name=config.study, trials=config.trials, config=described)
        replace_file(folder / "config.yaml", yaml.safe_dump(described, sort_keys=False))
        interrupted = not _explore(config, study, data, console)
        trials, info = write_report(study.optuna_study, folder)
        console.print(summary(trials, info, folder, _next_command(config, interrupted)))
        if study.stopped_early is not None:
            console.print(f"The search ended before {config.trials} trials: {study.stopped_early}.")
        return 130 if interrupted else 0


def make_space(config: RunConfig, data: Data) -> SearchSpace:
    """The space over the data's images, every option of it tried out.

    Raises:
        InputError: something in the space or in the training's settings is not right.
    """
    source = f"space={config.choices['space']}"
    space = SearchSpace(
        config.space,
        config.train,
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        resolution=data.resolution,
        source=source,
    )
    space.check()
    for candidate in space.coverage():
        check_settings(candidate.hyperparameters)
    return space


def describe(config: RunConfig, data: Data) -> dict[str, Any]:
    """The config as the study keeps it: resolved, with what identifies the images."""
    described = asdict(config)
    described["imports"] = list(config.imports)
    described["storage"] = None if config.storage is None else hide_password(config.storage)
    described["data"] = {**config.data, "fingerprint": data.fingerprint}
    return described


def _explore(config: RunConfig, study: Study, data: Data, console: Console) -> bool:
    """Runs the search to its end; False where it was interrupted."""
    backend = LocalBackend(config.workers, data, config.imports, config.backend["accelerator"])
    try:
        with Progress(console) as progress:
            explore(study, backend, seed=config.seed, retries=config.backend["retries"], watch=progress.update)
    except KeyboardInterrupt:
        return False
    return True


def _next_command(config: RunConfig, interrupted: bool) -> str:
    if interrupted:
        return f"the same command again; it goes on where it was stopped ({shlex.join(_command())})"
    return shlex.join([*(a for a in _command() if not a.startswith("trials=")), f"trials={2 * config.trials}"])


def _command() -> list[str]:
    return ["python", "-m", "search.run", *sys.argv[1:]]


def main() -> int:
    """The command."""
    return run_command(
        run,
        RunConfig.from_mapping,
        description="Searches for small, fast convolutional networks and writes the front to results/<study>/.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
