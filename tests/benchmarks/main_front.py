"""The front of the default main job, searched by the project's sampler and by NSGA-II with equally many real trainings.

    python tests/benchmarks/main_front.py [--samplers cost_aware,nsga2] [--seeds 5] [--trials 40] [--folder FOLDER] [OVERRIDES]

The default main job but for its cost, which is multiply-adds here: they are the same in every search, measured latencies are not.
Every search is the command `search.run device=none` in a study of its own, `<folder>/<sampler>-<seed>`; what is finished there is
only read, so the command can be stopped and given again. Prints the hypervolume of each front in (log multiply-adds, accuracy) as a
share of the rectangle up to the reference, which is the same for all, and who won from each seed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import optuna

from search.objective.pareto import hypervolume
from search.objective.reward import front_points, reference_point
from search.trials.reader import read_trials
from search.trials.trial import State

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, sampler: str, seed: int, trials: int, overrides: list[str]) -> None:
    """Runs one search, or what is left of it."""
    name = f"{sampler}-{seed}"
    arguments = [
        "device=none",
        f"sampler={sampler}",
        f"seed={seed}",
        f"trials={trials}",
        f"study={name}",
        f"results_dir={folder}",
    ]
    command = [sys.executable, "-m", "search.run", *arguments, *overrides]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def share(folder: Path, sampler: str, seed: int) -> float:
    """The hypervolume of a study's front, between 0 and 1."""
    name = f"{sampler}-{seed}"
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / name / 'study.db'}")
    low, high = study.user_attrs["reference"]["cost_range"]["flops"]
    reference = reference_point(high, study.user_attrs["reference"]["chance"])
    done = [trial for trial in read_trials(study) if trial.state is State.COMPLETE]
    points = front_points([trial.accuracy or 0.0 for trial in done], [trial.costs["flops"] for trial in done], low)
    whole = (reference[0] - np.log(low)) * (1 + reference[1])
    return hypervolume(points, reference) / float(whole)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="cost_aware,nsga2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "main_front")
    arguments, overrides = parser.parse_known_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = arguments.samplers.split(",")
    print(f"hypervolume after {arguments.trials} trials\n{'seed':>6}" + "".join(f"{name:>14}" for name in samplers))
    rows = []
    for seed in range(arguments.seeds):
        for name in samplers:
            run(arguments.folder, name, seed, arguments.trials, overrides)
        rows.append([share(arguments.folder, name, seed) for name in samplers])
        print(f"{seed:>6}" + "".join(f"{value:>14.4f}" for value in rows[-1]), flush=True)
    print(f"{'median':>6}" + "".join(f"{value:>14.4f}" for value in np.median(rows, axis=0)))
    print(f"{'best':>6}" + "".join(f"{sum(row[i] == max(row) for row in rows):>14}" for i in range(len(samplers))))


if __name__ == "__main__":
    main()
