"""Trains every architecture of the tables' spaces, so that searches can be replayed from them without training.

    python tests/benchmarks/train_tables.py [digits] [cifar10] [--workers 2] [--limit 5]

`tables/<name>.yaml` says what is trained and how; `tables/<name>.csv` gets one row an architecture: its decisions, digest and
costs, and the validation accuracy after each epoch. Rows are appended as they come, and what is there is not trained again, so
the command may be stopped at any time and given again. The rows that are kept took 40 (digits) and 157 (CIFAR-10) minutes of one of
two busy cores; their column `seconds` is wall time and says little of the networks. The environment variable CIFAR10_DIR may name
a folder with CIFAR-10's train.parquet and test.parquet; without it the images come from the hub.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from problems import TABLES

from search.config import CONF
from search.data import Data, load
from search.evaluation.training import Diverged, train
from search.objective.costs import Costs
from search.samplers.pool import enumerate_decisions
from spaces import Candidate, SearchSpace, build


@cache
def described(name: str) -> dict[str, Any]:
    """A table's description, its training completed from conf/train/short.yaml."""
    found = yaml.safe_load((TABLES / f"{name}.yaml").read_text())
    short = yaml.safe_load((CONF / "train" / "short.yaml").read_text())
    found["train"] = {**short, **found["train"]}
    if name == "cifar10" and os.environ.get("CIFAR10_DIR"):
        found["data"]["path"] = os.environ["CIFAR10_DIR"]
    return found


@cache
def images(name: str) -> Data:
    """A table's images, loaded once in each process."""
    return load(described(name)["data"])


def candidates(name: str) -> list[Candidate]:
    """All different candidates of a table's space."""
    table = described(name)
    space = SearchSpace(table["space"], source=name, **table["images"])
    return [*{c.digest: c for c in map(space.candidate, enumerate_decisions(space))}.values()]


def train_one(name: str, candidate: Candidate) -> dict[str, Any]:
    """The row of one candidate; one that diverges is as good as guessing from then on."""
    torch.set_num_threads(1)
    table, architecture = described(name), candidate.architecture
    curve: list[float] = []
    start = time.perf_counter()
    try:
        train(
            build(architecture),
            images(name),
            table["train"],
            resolution=architecture.resolution,
            seed=table["seed"],
            on_epoch=lambda epoch: curve.append(epoch.accuracy) or True,  # type: ignore[func-returns-value]
        )
    except Diverged:
        curve += [1 / architecture.num_classes] * (table["train"]["epochs"] - len(curve))
    accuracies = {f"accuracy_{i + 1}": f"{accuracy:.5f}" for i, accuracy in enumerate(curve)}
    return {
        "digest": candidate.digest,
        **Costs()(architecture),
        **accuracies,
        "seconds": f"{time.perf_counter() - start:.2f}",
        "decisions": json.dumps(candidate.decisions),
    }


def provenance(name: str) -> str:
    """Comment lines that say where the rows come from."""
    table = described(name)
    return "".join(
        f"# {line}\n"
        for line in (
            f"every architecture of {name}.yaml, trained by tests/benchmarks/train_tables.py, one CPU thread each",
            f"images: {json.dumps({key: value for key, value in table['data'].items() if key != 'path'})}",
            f"images' fingerprint: {images(name).fingerprint}",
            f"training: {json.dumps(table['train'])}, seed {table['seed']}",
            f"PyTorch {torch.__version__}, {platform.machine()}, started {time.strftime('%Y-%m-%d', time.gmtime())}",
        )
    )


def known_digests(path: Path) -> set[str]:
    """Of the rows that are there; a row whose writing was interrupted is taken away."""
    if not path.exists():
        return set()
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    rows: list[Mapping[str, str]] = [*csv.DictReader(line for line in whole.splitlines() if not line.startswith("#"))]
    return {row["digest"] for row in rows}


def make_table(name: str, path: Path, workers: int, limit: int | None) -> None:
    """Trains what is missing of a table."""
    everything = candidates(name)
    known = known_digests(path)
    missing = [candidate for candidate in everything if candidate.digest not in known][:limit]
    print(f"{name}: {len(everything)} architectures, {len(known)} trained, {len(missing)} to train", flush=True)
    if not path.exists():
        path.write_text(provenance(name))
    start = time.perf_counter()
    with path.open("a", newline="") as file, ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(train_one, name, candidate) for candidate in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            row = job.result()
            writer = csv.DictWriter(file, row.keys(), lineterminator="\n")
            if not known and done == 1:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            if done % 20 == 0 or done == len(missing):
                left = (time.perf_counter() - start) / done * (len(missing) - done)
                print(f"  {done} of {len(missing)}, {left / 60:.1f} minutes left", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=["digits", "cifar10"])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=int, help="architectures to train of each table, to try it out")
    parser.add_argument("--folder", type=Path, default=TABLES, help="where the CSV files go")
    arguments = parser.parse_args()
    for name in arguments.tables:
        make_table(name, arguments.folder / f"{name}.csv", arguments.workers, arguments.limit)


if __name__ == "__main__":
    main()
