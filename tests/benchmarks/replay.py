"""How many evaluations samplers need to 90, 95 and 99 % of the true front's hypervolume in (log multiply-adds, accuracy).

    python tests/benchmarks/replay.py [digits cifar10 chain:101] [--methods cost_aware,nsga2] [--seeds 10] [--minutes 14]

Nothing is trained: `digits` and `cifar10` are replayed from tables of really trained networks, `chain:N` is instance N of a
made-up problem of some 10^13 networks, each with a learning rate (see problems.py; rivals.py says how each method is set up).
Every search is a row of `replay.csv`. What is there is not run again, so the command can be stopped, given in pieces and run by
several processes; it prints all that is there each time, and `--minutes 0` only prints.

An evaluation is a whole training. Where `fidelity=halving` stops trainings (the methods that end in `_halving`), the epochs they
took count as the part of a training that they are, and what was stopped dominates nothing. A candidate that a method proposes
again costs it nothing. A search ends where it reaches 99 %. The oracle is the fewest evaluations possible if the truth were
known. Every network of a table was trained once, so its front holds luck: "knows all others" is who predicts each network from the
accuracies of all others of the table and chooses as the sampler does, about the best that a model of some of them can do (see
limits.py). Medians are over seeds; ">n" says that half of the seeds or more did not get there in n evaluations. "x ours" compares
the medians of the seeds that both have.

The sampler was tuned on `digits@2`, `digits@3` (the table of digits, as if trainings ended after 2 or 3 of their epochs), `chain:0`
and `chain:1`, never on what is reported; but what a network reaches in 2 or 3 epochs goes along with what it reaches in the end.
How halving stops was decided in view of the tables too: by ranks alone, several seeds never got to 99 %.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from limits import Limits
from problems import TABLES, Problem, problem
from rivals import METHODS

from search.objective.pareto import Front
from search.objective.reward import Objective
from search.samplers.fidelity import Curve, Fidelity, Full, Halving
from spaces import cost

SHARES = (0.90, 0.95, 0.99)
RESULTS = Path(__file__).parent / "replay.csv"
MAX_REPEATS = 500
"""Proposals in a row that were all known, after which a search ends."""


@dataclass(frozen=True)
class Search:
    """What came of one search."""

    problem: str
    method: str
    seed: int
    to_90: float
    """Evaluations; inf where it did not get there."""
    to_95: float
    to_99: float
    evaluations: float
    """When it ended."""
    share: float
    """Of the hypervolume, at the end."""
    ask_s: float
    """Processor seconds of one proposal, on average."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What was searched, how, and from which seed."""
        return self.problem, self.method, self.seed

    @property
    def needed(self) -> tuple[float, float, float]:
        """Evaluations to each of `SHARES`."""
        return self.to_90, self.to_95, self.to_99


named = cache(problem)


def search(where: Problem, name: str, seed: int, most: int) -> Search:
    """Runs one search to 99 % or its method's end."""
    method, most = METHODS[name].make(where, seed), min(most, METHODS[name].most)
    fidelity = Halving(Objective(target=where.cost_range)) if METHODS[name].halving else Full()
    front, shares, spent, curves = Front(where.reference), [0.0], [0.0], list[Curve]()
    seen: set[str] = set()
    repeats, seconds, asked = 0, 0.0, 0
    while len(seen) < most and repeats < MAX_REPEATS and shares[-1] < SHARES[-1]:
        start = time.process_time()
        candidate = method.ask()
        seconds, asked = seconds + time.process_time() - start, asked + 1
        if candidate is None:
            break
        flops, whole = cost(candidate.architecture).flops, where.curve(candidate)
        curve = train(whole, flops, fidelity, curves)
        method.tell(curve, flops, stopped=len(curve) < len(whole))
        repeats += 1
        if candidate.digest not in seen:
            repeats = 0
            seen.add(candidate.digest)
            curves.append(Curve(flops, curve, len(whole)))
            if len(curve) == len(whole):
                front.add(*where.points(np.array([[flops, curve[-1]]]))[0])
            shares.append(front.hypervolume / where.hypervolume)
            spent.append(spent[-1] + len(curve) / len(whole))
    needed = [next((round(s, 2) for s, share in zip(spent, shares) if share >= goal), np.inf) for goal in SHARES]
    return Search(where.name, name, seed, *needed, round(spent[-1], 2), round(shares[-1], 5), round(seconds / asked, 4))


def train(curve: tuple[float, ...], flops: float, fidelity: Fidelity, others: Sequence[Curve]) -> tuple[float, ...]:
    """As much of a recorded training as is run."""
    for epoch in fidelity.rungs(len(curve)):
        if not fidelity.goes_on(Curve(flops, curve[:epoch], len(curve)), others):
            return curve[:epoch]
    return curve


def read(path: Path) -> dict[tuple[str, str, int], Search]:
    """The searches that were run."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)] for field in fields(Search)}
        rows = [Search(**{key: kind(row[key]) for key, kind in kinds.items()}) for row in csv.DictReader(file)]
    return {row.key: row for row in rows}


def write(path: Path, row: Search) -> None:
    """Appends a search in one piece, so that several processes may."""
    header = "" if path.exists() else ",".join(asdict(row)) + "\n"
    cells = (f'"{value}"' if isinstance(value, str) else str(value) for value in asdict(row).values())
    with path.open("a") as file:
        file.write(header + ",".join(cells) + "\n")


def median(values: Sequence[float], most: float) -> str:
    """As text; where the middle was not reached, how far it was looked."""
    middle = float(np.median(values))
    return f"{middle:g}" if np.isfinite(middle) else f">{most}"


Done = dict[tuple[str, str, int], Search]


def runs(done: Done, name: str, method: str, seeds: int) -> dict[int, Search]:
    """A method's searches of a problem by seed."""
    return {seed: done[name, method, seed] for seed in range(seeds) if (name, method, seed) in done}


def needed(searches: Sequence[Search], share: int = -1) -> float:
    """The median of what they needed to one of `SHARES`; inf where half of them or more did not get there."""
    return float(np.median([search.needed[share] for search in searches])) if searches else np.nan


def times(rival: dict[int, Search], ours: dict[int, Search], share: int = -1) -> tuple[float, bool]:
    """How many times our evaluations a rival needs on the seeds that both have, and whether that is only a lower bound.

    NaN where there are no such seeds, or ours did not get there either.
    """
    common = rival.keys() & ours.keys()
    theirs, own = (needed([searches[seed] for seed in common], share) for searches in (rival, ours))
    if not np.isfinite(own):
        return np.nan, False
    most = max(rival[seed].evaluations for seed in common)
    return min(theirs, most) / own, bool(np.isinf(theirs))


def report(name: str, methods: Sequence[str], seeds: int, done: Done) -> None:
    """Prints a problem's table, what limits it, and how the goals fare."""
    where = named(name)
    size = f"{where.space.size:.3g}" if np.isfinite(where.space.size) else "infinitely many"
    print(f"\n{name}: {size} candidates, {len(where.space.decisions)} decisions, {len(where.front)} on the true front")
    print(
        f"{'evaluations to':28}{'seeds':>6}{'90%':>8}{'95%':>8}{'99%':>8}{'range at 99%':>16}{'x ours':>8}{'ask s':>8}"
    )
    print(f"{'oracle':34}" + "".join(f"{count:>8}" for count in where.oracle(SHARES)))
    limits = Limits(where) if where.candidates else None
    if limits is not None:
        print(f"{'knows all others':34}" + "".join(f"{count:>8}" for count in limits.informed(SHARES)))
    ours = runs(done, name, "cost_aware", seeds)
    for method in methods:
        searches = runs(done, name, method, seeds)
        if not searches:
            continue
        rows = [*searches.values()]
        most = round(max(row.evaluations for row in rows))
        columns = list(zip(*(row.needed for row in rows), strict=True))
        best, worst = min(columns[2]), max(columns[2])
        spread = f"{best:g}" if np.isfinite(best) else f">{most}"
        spread += f" - {worst:g}" if np.isfinite(worst) else f" - >{most}"
        ratio, is_bound = times(searches, ours)
        ratio_cell = "" if np.isnan(ratio) else f"{'>' * is_bound}{ratio:.1f}"
        cells = "".join(f"{median(column, most):>8}" for column in columns)
        print(f"{method:28}{len(rows):>6}{cells}{spread:>16}{ratio_cell:>8}{np.median([r.ask_s for r in rows]):>8.2f}")
    if limits is not None:
        std, share = limits.unforeseen
        print(
            f"luck: an accuracy predicted from all others is off by {std:.4f} (standard deviation), {share:.0%} explained;"
        )
        said = ", ".join(f"{news:.2f}" for news in limits.news)
        print(f"what of it shows after epoch 1, 2, ... goes along with what of it shows at the end: {said}")
    for line in goals(name, seeds, done):
        print(line)


OPTUNAS = ("tpe", "tpe_multivariate", "tpe_nested", "nsga2", "nsga3", "gp_categories", "gp_integers")


def goals(name: str, seeds: int, done: Done) -> list[str]:
    """Each goal with its figure, as far as it was measured."""
    ours = runs(done, name, "cost_aware", seeds)
    if not ours:
        return []
    lines = []
    rivals = {method: runs(done, name, method, seeds) for method in OPTUNAS}
    measured = {method: searches for method, searches in rivals.items() if searches.keys() & ours.keys()}

    def verdict(text: str, method: str, goal: float) -> None:
        ratio, is_bound = times(measured[method], ours)
        met = "met" if ratio >= goal else "open" if is_bound else "missed"
        reached = f"{'>' * is_bound}{ratio:.1f} times"
        if np.isnan(ratio):
            ratio, is_bound = times(measured[method], ours, 1)
            met, reached = "missed", f"most of ours did not get there; to 95% {'>' * is_bound}{ratio:.1f} times"
        lines.append(f"goal: {text} at least {goal:g} times our evaluations to 99%: {reached} ({method}), {met}")

    if measured:
        nearest = min(measured, key=lambda method: [needed([*measured[method].values()], share) for share in (2, 1)])
        verdict("Optuna's best sampler takes", nearest, 3 if named(name).candidates else 4)
    if not named(name).candidates:
        for method in ("tpe_multivariate", "nsga2"):
            if method in measured:
                verdict("TPE takes" if "tpe" in method else "NSGA-II takes", method, 12)
    random = needed([*runs(done, name, "random", seeds).values()])
    worst = max(search.to_99 for search in ours.values())
    if np.isfinite(random):
        met = "met" if worst <= random and np.isfinite(worst) else "missed"
        lines.append(f"goal: no seed slower than random's median of {random:g}: the slowest takes {worst:g}, {met}")
    halved = runs(done, name, "cost_aware_halving", seeds)
    common = halved.keys() & ours.keys()
    if common:
        ratio = needed([ours[seed] for seed in common]) / needed([halved[seed] for seed in common])
        missing = sum(np.isinf(halved[seed].to_99) for seed in common)
        lines.append(
            f"goal: halving takes 3 times fewer epochs: {ratio:.2f} times, {missing} of {len(common)} seeds never get there, "
            + ("met" if ratio >= 3 and not missing else "missed")
        )
    return lines


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", help="all tables that are trained, and chain:101")
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--most", type=int, default=10**6, help="evaluations of a search, where its method has no lower limit"
    )
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which no further search is begun")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    methods = arguments.methods.split(",")
    problems = arguments.problems or [*sorted(path.stem for path in TABLES.glob("*.csv")), "chain:101"]
    tables = sorted(path.stem for path in TABLES.glob("*.csv"))
    for name in problems:
        if not re.fullmatch(rf"({'|'.join(tables)})(@[1-9])?|chain:\d+", name):
            parser.error(
                f"no problem is named '{name}'; there are {', '.join(tables)}, each also as NAME@EPOCHS, and chain:N"
            )
    for name in methods:
        if name not in METHODS:
            parser.error(f"no method is named '{name}'; there are {', '.join(METHODS)}")
    end = time.monotonic() + 60 * arguments.minutes
    for seed in range(arguments.seeds):
        for name in problems:
            for method in methods:
                if (name, method, seed) not in read(arguments.results) and time.monotonic() < end:
                    row = search(named(name), method, seed, arguments.most)
                    write(arguments.results, row)
    for name in problems:
        report(name, methods, arguments.seeds, read(arguments.results))


if __name__ == "__main__":
    main()
