"""The time of one proposal after 100, 1,000 and 10,000 trials, beside Optuna's samplers.

    python tests/benchmarks/ask_time.py [--sizes 100,1000,10000] [--samplers cost_aware,tpe,nsga2,gp]

The first proposal is that of a driver that has just opened its study: nothing is remembered of costs, of layers or of trials (what
PyTorch imports on its first trace is not counted). The next ones are those of a driver that goes on. Processor time of `Study.ask`
on `chain:0` (66 decisions), the trials in memory, every sampler's linear algebra on one thread. A sampler that needs more than
`MAX_S` seconds is not asked after more trials.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import optuna
import torch
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, create_trial
from problems import chain
from rivals import distributions

from search.objective.reward import Objective
from search.samplers import make_sampler
from search.study.study import Outcome, Study
from search.system.threads import one_blas_thread
from spaces import cost, costs, memory

GOALS_S = {100: 0.5, 1_000: 1.0, 10_000: 2.0}
MAX_S = 10.0  # Optuna's Gaussian process takes more than 20 GB after 10,000 trials
NUM_NEXT = 3
SETTINGS = {"tpe": {"multivariate": True}, "gp": {"warn_independent_sampling": False}}


def past_trials(count: int) -> list[FrozenTrial]:
    """Random candidates of the chain with noisy accuracies, as a study stores them."""
    problem, rng, trials = chain(0), np.random.default_rng(0), []
    known = distributions(problem.space, "nested")
    for _ in range(count):
        candidate = problem.space.random(rng)
        curve, total = problem.curve(candidate), cost(candidate.architecture)
        accuracy = float(np.clip(curve[-1] + rng.normal(0, 0.005), 0, 1))
        decided = {
            "digest": candidate.architecture.digest,
            "architecture": candidate.architecture.to_dict(),
            "costs": {"flops": total.flops, "params": total.params},
        }
        result = {"accuracy": accuracy, "curve": list(curve), "epochs": len(curve), "seconds": 1.0}
        trials.append(
            create_trial(
                params=candidate.decisions,
                distributions={name: known[name] for name in candidate.decisions},
                values=[accuracy, total.flops],
                user_attrs={"decided": decided, "result": result},
            )
        )
    return trials


def opened(name: str, size: int, storage: BaseStorage) -> Study:
    """The study in a storage, as by a new process."""
    problem = chain(0)
    sampler = make_sampler({"name": name, **SETTINGS.get(name, {})}, 1)
    study = Study(problem.space, Objective(), sampler, storage, trials=size + 10)
    forget_costs()
    return study


def forget_costs() -> None:
    """Nothing is remembered of any layer."""
    for function in (*vars(costs).values(), *vars(memory).values()):
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def ask_times(name: str, trials: list[FrozenTrial]) -> tuple[float, float]:
    """Processor seconds of the first proposal, and the median of the next ones."""
    storage = InMemoryStorage()
    opened("random", len(trials), storage).optuna_study.add_trials(trials)
    study = opened(name, len(trials), storage)
    spent = []
    for _ in range(1 + NUM_NEXT):
        start = time.process_time()
        with one_blas_thread():
            proposal = study.ask()
        spent.append(time.process_time() - start)
        assert proposal is not None
        study.tell(proposal.number, Outcome("complete", 0.5, epochs=1, curve=(0.5,)))
        if spent[0] > MAX_S:
            break
    return spent[0], float(np.median(spent[1:] or spent))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--samplers", default="cost_aware,tpe,nsga2,gp")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    trials = past_trials(max(sizes))
    opened("random", 1, InMemoryStorage()).ask()
    print("processor seconds of the first proposal / of the next ones, after so many trials")
    print(f"{'':24}" + "".join(f"{size:>18,}" for size in sizes))
    print(f"{'goal of cost_aware':24}" + "".join(f"{GOALS_S.get(size, '-'):>18}" for size in sizes))
    for name in arguments.samplers.split(","):
        cells: list[str] = []
        for size in sizes:
            if cells and (cells[-1] == "-" or float(cells[-1].split(" /")[0]) > MAX_S):
                cells.append("-")
            else:
                first, then = ask_times(name, trials[:size])
                cells.append(f"{first:.2f} / {then:.2f}")
        print(f"{name:24}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
