"""How well latency is predicted on this machine:

    python -m tests.benchmarks.latency [seconds for each table] [SPACE-SIDE ...]

For each space a table is built from nothing. Networks that neither the table nor the fit has seen are measured end to end before
that and again after it, so that the repeatability of the measurement stands beside the error of the prediction, which is against
the lesser of both: disturbances only add. Predicting from multiply-adds alone is what it is compared with. Figures mean something
on an idle machine only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search.latency.device import Device
from search.latency.predictor import Predictor
from search.latency.profiler import TOGETHER, Profiler, sample
from search.latency.runtimes import Shape, export, export_by_torch
from search.latency.table import Table
from spaces import Architecture, SearchSpace, build, cost, load_space

SPACES = [(name, side) for name in ("shuffle_agg", "mobilenet_v2", "shufflenet_v2") for side in (32, 96)]
SPACES.append(("shuffle_agg", 8))  # the default search's
NUM_NETWORKS = 60
NUM_CANDIDATES = 10_000


def main() -> None:
    """Prints the figures of every space."""
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    chosen = [words.rsplit("-", 1) for words in sys.argv[2:]] or SPACES
    for name, side in chosen:
        space = load_space(name, in_channels=1 if int(side) == 8 else 3, num_classes=10, resolution=int(side))
        with tempfile.TemporaryDirectory() as folder:
            report(f"{name}, {side} px", space, Path(folder), budget_s)


def report(title: str, space: SearchSpace, folder: Path, budget_s: float) -> None:
    """Prints the figures of one space."""
    print(f"{title}, onnxruntime, 1 thread")
    wanted = sample(space)
    rng = np.random.default_rng(7)
    candidates = [space.random(rng).architecture for _ in range(NUM_CANDIDATES)]
    seen = {network.digest for network in wanted.networks}
    unseen = [i for i, a in enumerate(candidates) if a.digest not in seen][:NUM_NETWORKS]
    networks = [candidates[i] for i in unseen]
    others = Profiler(Device("onnxruntime", table=str(folder / "unseen.csv")))
    first = _measure(others, networks)
    profiler = Profiler(Device("onnxruntime", table=str(folder / "table.csv")))
    start = time.perf_counter()
    end = profiler.extend(wanted, budget_s)
    print(f"  table: {end.done} of {end.total} in {time.perf_counter() - start:.1f} s, {end.unsteady} disturbed")
    second = _measure(others, networks)
    table = Table(profiler.table.path)
    start = time.perf_counter()
    predictor = Predictor(table)
    print(f"  fit: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    predicted, stated = predictor.predict(candidates)
    print(f"  predicting {NUM_CANDIDATES} candidates: {time.perf_counter() - start:.2f} s")
    _print_export(candidates[:10])
    measured = np.minimum(first, second)
    print(f"  {NUM_NETWORKS} unseen networks of {measured.min():.3f} to {measured.max():.3f} ms")
    _print_errors("predicted", predicted[unseen], measured)
    print(f"  error it states: {100 * np.median(stated[unseen]):.1f}%")
    _print_errors("from FLOPs alone", _from_flops(table, networks), measured)
    _print_errors("measured before and after", second, first)


def _measure(profiler: Profiler, networks: list[Architecture]) -> NDArray[np.float64]:
    """(n,) milliseconds."""
    batches = [networks[i : i + TOGETHER] for i in range(0, len(networks), TOGETHER)]
    return np.array([one.median_ms for batch in batches for one in profiler.measure_networks(batch)])


def _from_flops(table: Table, networks: list[Architecture]) -> NDArray[np.float64]:
    """A power law of multiply-adds, fitted to the same networks that calibrate the prediction."""
    x, y = zip(*((np.log(cost(a).flops), np.log(measured.median_ms)) for a, measured in table.networks.values()))
    return np.exp(np.polyval(np.polyfit(x, y, 1), np.log([cost(a).flops for a in networks])))


def _print_errors(what: str, predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
    errors = np.abs(predicted / measured - 1)
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    print(
        f"  {what}: Spearman {np.corrcoef(*ranks)[0, 1]:.3f}, within 10% {100 * np.mean(errors <= 0.1):.0f}%, "
        f"median error {100 * np.median(errors):.1f}%, 95th percentile {100 * np.percentile(errors, 95):.1f}%"
    )


def _print_export(architectures: list[Architecture]) -> None:
    layers = sum(len(architecture.layers) for architecture in architectures)
    spent = []
    for by in (export, _export_by_torch):
        start = time.perf_counter()
        for architecture in architectures:
            by(build(architecture), [(1, architecture.in_channels, *architecture.resolution)], torch.float32)
        spent.append(1000 * (time.perf_counter() - start) / layers)
    print(f"  export to ONNX: {spent[0]:.1f} ms a block; by PyTorch's exporter {spent[1]:.1f} ms")


def _export_by_torch(module: nn.Module, shapes: Sequence[Shape], dtype: torch.dtype) -> bytes:
    return export_by_torch(module.eval(), tuple(torch.randn(shape, dtype=dtype) for shape in shapes))


if __name__ == "__main__":
    main()
