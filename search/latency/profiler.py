"""Fills the table of a device: the blocks a space can produce, and a few of its whole networks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from search.latency.device import Device, describe, table_path
from search.latency.measuring import PATIENCE_S, STEADY, Measurement, Pace, Run, measure
from search.latency.predictor import describe_blocks
from search.latency.runtimes import Runtime, Shape, UnsupportedError
from search.latency.table import IMAGE_CHANNELS, BlockKey, Table, block_keys
from spaces import Architecture, SearchSpace, build
from spaces.costs import build_block

NUM_BLOCKS = 1500
"""Distinct blocks of a space that are measured at the most."""
NUM_COMMON = 40
"""Of these the ones that most networks have, which most errors would come from."""
NUM_MET = 1500
"""Random networks whose blocks are chosen from."""
NUM_NETWORKS = 80
"""Whole networks of a space that are measured, to calibrate the sum of their blocks."""
NETWORKS_SHARE = 0.3
"""Share of a limited time that is kept for whole networks."""
TOGETHER = 12
"""How many are timed in turn, so that their rounds lie apart."""
BLOCK_BUDGET_S, NETWORK_BUDGET_S = 0.3, 1.0
"""Seconds that one round of timing may take."""
SAVE_S = 2.0
"""Seconds after which the table is saved while it grows: what a kill can cost."""


class Progress(NamedTuple):
    """How far a table is."""

    done: int
    """Blocks and networks measured."""
    total: int
    """Those wanted."""
    unsteady: int
    """Measurements of this run during which something else ran on the device."""


class Sample(NamedTuple):
    """What of a space is worth measuring."""

    keys: list[BlockKey]
    """Distinct blocks; any first part of them stands for all."""
    networks: list[Architecture]
    """Whole networks."""


class Profiler:
    """Measures blocks and networks on a device and keeps what it finds.

    Args:
        device: the device, which is this machine.
        runtime: the device's, where it is open already.

    Raises:
        InputError: its runtime is not installed or lacks its hardware; its table is damaged or of another device.
    """

    def __init__(self, device: Device, runtime: Runtime | None = None) -> None:
        self.device = device
        self._runtime = runtime or device.open()
        identity = describe(device, self._runtime)
        self.table = Table(table_path(device, identity), identity)
        self._saved_s = time.monotonic()

    def extend(
        self,
        wanted: Sample,
        budget_s: float = float("inf"),
        watch: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Measures what the table lacks of a sample; stops when the time is up, and goes on there the next time.

        Args:
            wanted: blocks and networks.
            budget_s: seconds; what is being measured when they end is finished.
            watch: told how far it is, at the start and after every few measurements.

        Raises:
            UnsupportedError: a block that the device's runtime cannot run.
        """
        keys, networks = wanted
        new_keys = [key for key in keys if key not in self.table.blocks]
        new_networks = [network for network in networks if network.digest not in self.table.networks]
        total, unsteady = len(keys) + len(networks), 0
        done = total - len(new_keys) - len(new_networks)
        start = time.monotonic()
        watch(Progress(done, total, unsteady))
        if done == total:
            return Progress(done, total, unsteady)
        kept_back = NETWORKS_SHARE if new_networks else 0.0
        jobs: list[tuple[float, Sequence[Any], Callable[[Any], list[Measurement]]]] = [
            # some of both first, however little time there is: neither predicts much without the other
            (1.0, new_keys[:TOGETHER], self.measure_blocks),
            (1.0, new_networks[:TOGETHER], self.measure_networks),
            (1 - kept_back, new_keys[TOGETHER:], self.measure_blocks),
            (1.0, new_networks[TOGETHER:], self.measure_networks),
        ]
        self._pace.patience_s = min(PATIENCE_S, budget_s / 4)
        try:
            for share, new, measure_them in jobs:
                paces = []
                for first in range(0, len(new), TOGETHER):
                    if time.monotonic() - start >= share * budget_s:
                        break
                    paces.append(self._pace.best_ms)
                    measured = measure_them(new[first : first + TOGETHER])
                    self._save(SAVE_S)
                    done += len(measured)
                    unsteady += sum(not one.steady for one in measured)
                    watch(Progress(done, total, unsteady))
                for number, pace in enumerate(paces):
                    # before it was known how fast the device can be
                    if pace > (1 + STEADY) * self._pace.best_ms and time.monotonic() - start < share * budget_s:
                        measure_them(new[number * TOGETHER : (number + 1) * TOGETHER])
        finally:
            self._save()
        return Progress(done, total, unsteady)

    def measure_blocks(self, keys: Sequence[BlockKey]) -> list[Measurement]:
        """Times blocks, each between two cheap layers, on random inputs, and enters them in the table.

        Raises:
            UnsupportedError: a block that the device's runtime cannot run.
        """
        measured = measure([self._load_block(key) for key in keys], BLOCK_BUDGET_S, pace=self._pace)
        self.table.blocks |= zip(keys, measured)
        return measured

    def measure_networks(self, architectures: Sequence[Architecture]) -> list[Measurement]:
        """Times networks end to end, on random images, and enters them in the table.

        Raises:
            UnsupportedError: a network that the device's runtime cannot run.
        """
        runs = [self._load_network(architecture) for architecture in architectures]
        measured = measure(runs, NETWORK_BUDGET_S, pace=self._pace)
        self.table.networks |= {a.digest: (a, one) for a, one in zip(architectures, measured)}
        return measured

    @cached_property
    def _pace(self) -> Pace:
        pace = Pace(self._runtime.load(nn.Conv2d(32, 32, 3, padding=1), [(1, 32, 16, 16)]))
        for _ in range(20):  # some tens of milliseconds, by which most slow moments have passed
            pace.slowness()
        return pace

    def _save(self, after_s: float = 0.0) -> None:
        """Saves the table, unless that was done less than so many seconds ago."""
        if time.monotonic() - self._saved_s >= after_s:
            self.table.save()
            self._saved_s = time.monotonic()

    def load(self, module: nn.Module, shapes: Sequence[Shape]) -> Run:
        """A function that runs a module of any kind on the device, to be timed."""
        return self._runtime.load(module, shapes)

    def _load_block(self, key: BlockKey) -> Run:
        try:
            return self._runtime.load(*block_in_context(key, self.device.batch))
        except UnsupportedError as error:
            raise UnsupportedError(f"block '{key.block}' ({key.to_json()}): {error}") from error

    def _load_network(self, architecture: Architecture) -> Run:
        return self._runtime.load(*network_with_shapes(architecture, self.device.batch))


def block_in_context(key: BlockKey, batch: int) -> tuple[nn.Module, list[Shape]]:
    """A block as it is timed, and the shapes of its inputs."""
    module = InContext(build_block(key.layer, key.size), key.channels)
    return module, [(batch, count, *size) for count, size in zip(module.in_channels, key.sizes)]


def network_with_shapes(architecture: Architecture, batch: int) -> tuple[nn.Module, list[Shape]]:
    """A network, and the shapes of its inputs."""
    return build(architecture), [(batch, architecture.in_channels, *architecture.resolution)]


class InContext(nn.Module):
    """A block as it stands in a network: its inputs come from convolutions, its output goes into a pool.

    A runtime may keep maps in a layout of its own from one convolution to the next. A block by itself would have to convert its
    input and its output, which in a network only the blocks at the ends do. The layers around it are as cheap as any: a 1x1
    convolution of one channel, and a mean. What reads an image (at most `IMAGE_CHANNELS`) stands at a network's start and reads it
    here too.

    Args:
        block: the block.
        channels: of each input.
    """

    def __init__(self, block: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = [count if count <= IMAGE_CHANNELS else 1 for count in channels]
        self.before = nn.ModuleList(nn.Identity() if c <= IMAGE_CHANNELS else nn.Conv2d(1, c, 1) for c in channels)
        self.block = block

    def forward(self, *images: Tensor) -> Tensor:
        """images: (N, 1 or C, H, W) each. Returns (N, O) or (N, O, 1, 1)."""
        y = self.block(*(layer(image) for layer, image in zip(self.before, images)))
        return nn.functional.adaptive_avg_pool2d(y, 1) if y.dim() == 4 else y


def sample(space: SearchSpace) -> Sample:
    """The blocks and the networks of a space that are worth measuring: the same ones every time.

    Returns:
        at most `NUM_BLOCKS` distinct blocks: a few of the most common, then each as far as can be from those before it
        (`spread`), so that any first part of them stands for all; `NUM_NETWORKS` other random networks.
    """
    rng = np.random.default_rng(0)
    networks = _distinct(space.random(rng).architecture for _ in range(NUM_NETWORKS))
    met = Counter(key for _ in range(NUM_MET) for key in set(block_keys(space.random(rng).architecture)))
    keys = [key for key, _ in met.most_common()]
    return Sample([keys[i] for i in spread(describe_blocks(keys), NUM_BLOCKS, NUM_COMMON)], networks)


def spread(x: NDArray[np.float64], count: int, given: int = 1) -> list[int]:
    """Indices of `count` rows: the first `given`, then each the farthest from those before it.

    Args:
        x: (n, d) rows.
        count: how many at most.
        given: how many are taken as they come.
    """
    chosen = list(range(min(given, count, len(x))))
    distance = ((x[:, None] - x[chosen]) ** 2).sum(2).min(1)
    while len(chosen) < count and distance.max() > 0:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((x - x[chosen[-1]]) ** 2).sum(1))
    return chosen


def _distinct(architectures: Iterable[Architecture]) -> list[Architecture]:
    return list({architecture.digest: architecture for architecture in architectures}.values())
