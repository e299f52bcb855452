"""The device that a search is for: it predicts candidates before they are trained, and measures the front afterwards."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from search.latency.device import Device, describe, table_path
from search.latency.measuring import Measurement
from search.latency.predictor import Predictor
from search.latency.profiler import TOGETHER, Profiler, Progress, sample
from search.latency.runtimes import Runtime
from search.latency.table import Table
from spaces import Architecture, SearchSpace
from spaces.errors import InputError

ENOUGH = 0.2
"""Share of a space's sample from which a table is taken for one of this space: other rows would only dilute it."""


class Identified(NamedTuple):
    """Which device is meant."""

    identity: dict[str, str]
    """What its measurements are told apart by."""
    is_here: bool
    """Whether it is this machine; otherwise its table is all there is of it."""
    runtime: Runtime | None = None
    """Of this machine, open."""


def identify(device: Device) -> Identified:
    """Finds out whether a device is this machine, or one whose table was brought here.

    Raises:
        InputError: its runtime is not installed or lacks its hardware; its table is damaged, or was measured with other settings.
    """
    exists = device.table is not None and table_path(device, {}).exists()
    measured = Table(table_path(device, {})).identity if exists else {}
    if not measured:
        runtime = device.open()
        return Identified(describe(device, runtime), True, runtime)
    settings = {"runtime": device.runtime, "threads": device.threads, "batch": device.batch, "dtype": device.dtype}
    for name, value in settings.items():
        there = measured[name].split(" ")[0]
        if there != str(value):
            option = f"device={there}" if name == "runtime" else f"device.{name}={there}"
            raise InputError(
                f"device.table: {device.table} was measured with {name} '{there}', and {name} '{value}' is asked for; "
                f"give {option}, or another table"
            )
    try:
        runtime = device.open()
    except InputError:  # the other device's runtime need not run here
        return Identified(measured, False)
    is_here = describe(device, runtime) == measured
    return Identified(measured, is_here, runtime if is_here else None)


class Target:
    """A device as one study sees it.

    The study keeps the measurements it predicts from (`pack`), so that it predicts the same when it goes on, here or elsewhere,
    whatever the device's table has learnt meanwhile.

    Args:
        device: as configured.
        identified: which machine it is.
        table: the measurements to predict from.

    Raises:
        InputError: there are none.
    """

    def __init__(self, device: Device, identified: Identified, table: Table) -> None:
        if not table.blocks:
            where = device.table or "the table"
            raise InputError(
                f"device: {where} holds no block that this space can be predicted from; fill it on the device, or give "
                "the search more time for it by device.budget_s"
            )
        self.identity, self.is_here = identified.identity, identified.is_here
        self.predictor = Predictor(table)
        self._device, self._runtime, self._table = device, identified.runtime, table
        self.covers = ""
        """How much of the space the table holds, in words; empty where the study goes on."""

    @classmethod
    def prepare(
        cls,
        device: Device,
        identified: Identified,
        space: SearchSpace,
        watch: Callable[[Progress], None] = lambda progress: None,
    ) -> Target:
        """Measures what the device's table lacks of a space, within the device's budget; nothing where it is another machine.

        Args:
            device: as configured.
            identified: which machine it is.
            space: whose networks are to be predicted.
            watch: told after every measurement.

        Raises:
            InputError: a block that the runtime cannot run; a table that cannot be read or written.
        """
        wanted = sample(space)
        if identified.is_here:
            profiler = Profiler(device, identified.runtime)
            profiler.extend(wanted, device.budget_s, watch)
            table = profiler.table
        else:
            table = Table(table_path(device, {}))
        keys, networks = wanted
        part = table.part(keys, [network.digest for network in networks])
        covered = len(part.blocks) + len(part.networks) >= ENOUGH * (len(keys) + len(networks))
        target = cls(device, identified, part if covered else table)
        target.covers = (
            f"{len(part.blocks)} of the {len(keys)} blocks and {len(part.networks)} of the {len(networks)} networks "
            "that stand for the space"
        )
        return target

    @classmethod
    def unpack(cls, device: Device, packed: str) -> Target:
        """The target of a study that goes on, be it here or on another machine than it was begun on."""
        table = Table(None)
        table.read(zlib.decompress(base64.b85decode(packed)).decode(), "the study's storage")
        try:
            runtime = device.open()
            is_here = describe(device, runtime) == table.identity
        except InputError:  # the study's device is another, whose runtime need not run here
            return cls(device, Identified(table.identity, False), table)
        return cls(device, Identified(table.identity, is_here, runtime if is_here else None), table)

    def pack(self) -> str:
        """The measurements it predicts from, as text that a storage holds."""
        return base64.b85encode(zlib.compress(self._table.to_csv().encode(), 9)).decode()

    def measure(self, architectures: Sequence[Architecture]) -> Iterator[tuple[Architecture, Measurement]]:
        """Times networks end to end on this machine, a few in turn, and enters them in its table.

        Raises:
            UnsupportedError: a network that the device's runtime cannot run.
        """
        assert self.is_here
        profiler = Profiler(self._device, self._runtime)
        for first in range(0, len(architectures), TOGETHER):
            batch = architectures[first : first + TOGETHER]
            yield from zip(batch, profiler.measure_networks(batch))
            profiler.table.save()
