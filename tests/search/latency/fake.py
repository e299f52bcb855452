"""A device whose latencies follow a known law, so that nothing has to be timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.latency.measuring import Measurement
from search.latency.profiler import sample
from search.latency.table import BlockKey, Table, block_keys
from spaces import Architecture, SearchSpace
from spaces.costs import block_cost

IDENTITY = {"device": "made up", "runtime": "law 1", "threads": "1", "batch": "1", "dtype": "float32"}
CALL_MS = 0.01


def block_ms(key: BlockKey) -> float:
    """Milliseconds of a block in a network: slower by the value than by the multiply-add, and slow for even kernels."""
    cost = block_cost(key.layer, key.size)
    values = sum(c * h * w for c, (h, w) in zip(key.channels, key.sizes)) + key.out_channels * math.prod(cost.size)
    even = dict(key.options).get("kernel_size") == 2
    return (cost.flops / 5e6 + values / 1e6) * (1.5 if even else 1.0) + 0.002


def network_ms(architecture: Architecture) -> float:
    """A call and the blocks."""
    return CALL_MS + sum(map(block_ms, block_keys(architecture)))


def measured(ms: float, rng: np.random.Generator, noise: float = 0.01) -> Measurement:
    """A measurement that is off by about a hundredth."""
    return Measurement(ms * float(np.exp(noise * rng.standard_normal())), noise * ms, 50)


def fill(table: Table, space: SearchSpace, *, networks: Sequence[Architecture] | None = None) -> Table:
    """What the profiler would enter; a block timed alone holds a call too."""
    rng = np.random.default_rng(0)
    keys, sampled = sample(space)
    table.blocks |= {key: measured(block_ms(key) + CALL_MS, rng) for key in keys}
    for architecture in sampled if networks is None else networks:
        table.networks[architecture.digest] = architecture, measured(network_ms(architecture), rng)
    return table


def empty_table(folder: Path) -> Table:
    """A table of the device that lies in `folder`."""
    return Table(folder / "made-up.csv", IDENTITY)
