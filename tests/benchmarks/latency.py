"""How well latency is predicted on this machine:

    python -m tests.benchmarks.latency [seconds for each table] [SPACE-SIDE ...]

For each space a table is built from nothing; then networks that neither the table nor the fit has seen are measured end to end, and
again after all of them, so that the repeatability of the measurement stands beside the error of the prediction. Predicting from
multiply-adds alone is what both are compared with. Figures mean something on an idle machine only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from search.latency.device import Device
from search.latency.predictor import Predictor
from search.latency.profiler import TOGETHER, Profiler, sample
from search.latency.runtimes import export
from search.latency.table import Table
from spaces import Architecture, SearchSpace, build, cost, load_space

SPACES = [(name, side) for name in ("shuffle_agg", "mobilenet_v2", "shufflenet_v2") for side in (32, 96)]
NUM_NETWORKS = 60
NUM_CANDIDATES = 10_000


def main() -> None:
    """Prints the figures of every space."""
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    chosen = [words.rsplit("-", 1) for words in sys.argv[2:]] or SPACES
    for name, side in chosen:
        space = load_space(name, in_channels=3, num_classes=10, resolution=int(side))
        with tempfile.TemporaryDirectory() as folder:
            report(f"{name}, {side} px", space, Path(folder), budget_s)


def report(title: str, space: SearchSpace, folder: Path, budget_s: float) -> None:
    """Prints the figures of one space."""
    print(f"{title}, onnxruntime, 1 thread")
    profiler = Profiler(Device("onnxruntime", table=str(folder / "table.csv")))
    start = time.perf_counter()
    end = profiler.extend(sample(space), budget_s)
    print(f"  table: {end.done} of {end.total} in {time.perf_counter() - start:.1f} s, {end.unsteady} disturbed")
    table = Table(profiler.table.path)
    start = time.perf_counter()
    predictor = Predictor(table)
    print(f"  fit: {time.perf_counter() - start:.2f} s")
    rng = np.random.default_rng(7)
    candidates = [space.random(rng).architecture for _ in range(NUM_CANDIDATES)]
    start = time.perf_counter()
    predicted, stated = predictor.predict(candidates)
    print(f"  predicting {NUM_CANDIDATES} candidates: {time.perf_counter() - start:.2f} s")
    _print_export(candidates[:10])
    unseen = [i for i, a in enumerate(candidates) if a.digest not in table.networks][:NUM_NETWORKS]
    networks = [candidates[i] for i in unseen]
    first, second = _measure(profiler, networks), _measure(profiler, networks)
    _print_errors("predicted", predicted[unseen], first)
    print(f"  error it states: {100 * np.median(stated[unseen]):.1f}%")
    _print_errors("from FLOPs alone", _from_flops(table, networks), first)
    _print_errors("measured again", second, first)


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
    start, layers = time.perf_counter(), 0
    for architecture in architectures:
        export(build(architecture), [(1, architecture.in_channels, *architecture.resolution)], torch.float32)
        layers += len(architecture.layers)
    print(f"  export to ONNX: {1000 * (time.perf_counter() - start) / layers:.0f} ms a block")


if __name__ == "__main__":
    main()
