"""Evaluations that samplers need to 90, 95 and 99 % of the true front's hypervolume, and the time of one proposal.

    python tests/benchmarks/sampler.py chain tables/digits.csv [--seeds 10] [--trials 300] [--samplers cost_aware,nsga2]
    python tests/benchmarks/sampler.py --times 100,1000,10000

Nothing is trained: `chain` is made up, a table is replayed (see problems.py). Rivals get the encoding that suits them best: all
numbers as ordered options for Optuna's GP, groups of conditional decisions for multivariate TPE. The oracle is the fewest
evaluations possible if the truth were known. Every search is printed as it ends; the medians come last, ">n" where more than half
of the seeds did not get there in n trials.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from problems import Array, Problem, chain, table

from search.samplers import make_sampler
from search.study import Outcome

SHARES = (0.90, 0.95, 0.99)
SAMPLERS: dict[str, dict[str, Any]] = {
    "cost_aware": {},
    "random": {},
    "tpe": {"multivariate": True, "group": True},
    "nsga2": {"population_size": 20},
    "gp": {"warn_independent_sampling": False},
    "regularized_evolution": {"population_size": 16, "sample_size": 4},
    "reinforce": {},
}


def sampler(name: str, seed: int) -> BaseSampler:
    """A sampler with the settings that suit it."""
    return make_sampler({"name": name, **SAMPLERS[name]}, seed)


def needed(shares: Array, goal: float) -> float:
    """Evaluations until a share of the hypervolume is reached; inf where it is not."""
    reached = np.flatnonzero(shares >= goal)
    return float(reached[0]) + 1 if len(reached) else np.inf


def compare(problem: Problem, names: Sequence[str], seeds: int, trials: int) -> None:
    """Prints every search and the medians."""
    oracle = problem.oracle(problem.study(sampler("random", 0), 1), SHARES)
    size = f"{problem.space.size:.3g}" if np.isfinite(problem.space.size) else "infinitely many"
    print(f"\n{problem.name}: {size} architectures, {len(problem.space.decisions)} decisions, {trials} trials at most")
    rows = {}
    for name in names:
        counts: list[list[float]] = []
        for seed in range(seeds):
            start = time.process_time()
            shares = problem.search(sampler(name, seed), trials)
            counts.append([needed(shares, goal) for goal in SHARES])
            said = " ".join(f"{count:5.0f}" for count in counts[-1])
            print(
                f"  {name:22} seed {seed}: {said}  ends at {shares[-1]:.4f}, {time.process_time() - start:.0f} s",
                flush=True,
            )
        rows[name] = np.array(counts)
    print(
        f"\n{'median of ' + str(seeds) + ' seeds':24}"
        + "".join(f"{goal:>9.0%}" for goal in SHARES)
        + "    worst seed at 99%"
    )
    print(f"{'oracle':24}" + "".join(f"{count:>9}" for count in oracle))
    for name, counts in rows.items():
        medians = [f">{trials}" if np.isinf(m) else f"{m:g}" for m in np.median(counts, axis=0)]
        worst = counts[:, 2].max()
        print(
            f"{name:24}"
            + "".join(f"{m:>9}" for m in medians)
            + f"    {'>' + str(trials) if np.isinf(worst) else worst:>10}"
        )


def times(problem: Problem, names: Sequence[str], sizes: Sequence[int]) -> None:
    """Prints seconds of the first proposal after some trials (caches cold, costs too) and of the next ones."""
    print(f"\nseconds of one proposal on {problem.name}, processor time, first / median of the next three")
    print(f"{'':24}" + "".join(f"{size:>18,}" for size in sizes))
    rng = np.random.default_rng(0)
    trials: list[FrozenTrial] = []
    filler = problem.study(sampler("random", 0), max(sizes) + 10)
    while len(trials) < max(sizes) and (proposal := filler.ask()) is not None:
        curve = problem.curve(problem.space.candidate(proposal.candidate.decisions))
        accuracy = float(np.clip(curve[-1] + rng.normal(0, 0.005), 0, 1))
        filler.tell(proposal.number, Outcome("complete", accuracy, epochs=len(curve), curve=curve))
        trials.append(filler.optuna_study.get_trials(deepcopy=False)[proposal.number])
    for name in names:
        cells = []
        for size in sizes:
            study = problem.study(sampler(name, 1), size + 10)
            study.optuna_study.add_trials(trials[:size])
            spent = []
            for _ in range(4):
                start = time.process_time()
                study.ask()
                spent.append(time.process_time() - start)
            cells.append(f"{spent[0]:.2f} / {np.median(spent[1:]):.2f}")
        print(f"{name:24}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", default=[], help="chain, or the CSV file of a table")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--times", default="", help="numbers of trials, such as 100,1000,10000")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    names = arguments.samplers.split(",")
    for given in arguments.problems:
        compare(chain() if given == "chain" else table(Path(given)), names, arguments.seeds, arguments.trials)
    if arguments.times:
        timed = [name for name in names if name in ("cost_aware", "tpe", "gp", "nsga2")]
        times(chain(), timed, [int(size) for size in arguments.times.split(",")])


if __name__ == "__main__":
    main()
