"""The costs that accuracy can be traded against: one entry in one table each, known before a candidate is trained.

A cost of your own is an entry too, made in a module that `imports` names:

    from search import COSTS, Cost

    COSTS["energy_mj"] = Cost(energy_of, unit="mJ")

It can then be the objective or limited, and it has a column in the tables, a front, and an axis on the page.
"""

from __future__ import annotations

import keyword
import math
import numbers
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spaces import Architecture, InputError, cost, size_bytes
from spaces.errors import did_you_mean
from spaces.memory import activation_bytes, memory_access


@dataclass(frozen=True)
class Cost:
    """A quantity that accuracy is traded against, above 0, and the words by which people read it."""

    function: Callable[[Architecture], float] | None
    """Prices an architecture; None for the latency, which the predictor of the device gives."""
    unit: str
    """Follows a number: "1.2 mJ"."""
    label: str = ""
    """Names it on an axis; by default its name and its unit, "Energy (mJ)"."""
    head: str = ""
    """Stands above a narrow column; by default the unit."""
    meaning: str = ""
    """Explains its column of the tables."""
    is_count: bool = False
    """Whether its values are whole numbers, written with a prefix: 1.23 M."""

    def described(self, name: str) -> Cost:
        """This cost with all of its words, those that are not stated made from its name in the table."""
        stem = name.removesuffix(f"_{self.unit.lower()}").replace("_", " ")
        label = self.label or f"{stem[:1].upper()}{stem[1:]} ({self.unit})"
        return replace(self, label=label, head=self.head or self.unit)

    @property
    def short(self) -> str:
        """The label, without its unit where that is a plain count: "Memory access"."""
        return self.label.partition(" (")[0] if self.is_count else self.label

    @property
    def noun(self) -> str:
        """The label within a sentence: "memory access (bytes)"."""
        return self.label if self.label[:2].isupper() else f"{self.label[:1].lower()}{self.label[1:]}"

    @property
    def words(self) -> dict[str, Any]:
        """What a study stores, to be read where the function is not known: `Cost(None, **words)`."""
        return {name: value for name, value in asdict(replace(self, function=None)).items() if name != "function"}


_total = lru_cache(maxsize=1)(cost)  # asked for both counts of one architecture in turn

COSTS: dict[str, Cost] = {
    "flops": Cost(
        lambda architecture: _total(architecture).flops,
        unit="FLOPs",
        label="FLOPs (multiply-adds)",
        meaning="multiply-adds of one image",
        is_count=True,
    ),
    "params": Cost(
        lambda architecture: _total(architecture).params,
        unit="parameters",
        label="Parameters",
        head="params",
        meaning="number of weights",
        is_count=True,
    ),
    "latency_ms": Cost(
        None,
        unit="ms",
        label="Latency (ms)",
        meaning="milliseconds a forward pass, as predicted for the study's device; empty without one",
    ),
    "memory_access": Cost(
        memory_access,
        unit="bytes moved",
        label="Memory access (bytes)",
        meaning="bytes that convolutions and linear layers read and write for one image, float32",
        is_count=True,
    ),
    "activation_bytes": Cost(
        activation_bytes,
        unit="bytes alive",
        label="Activations (bytes)",
        meaning="the most bytes of activations that are alive at once for one image, float32",
        is_count=True,
    ),
    "size_bytes": Cost(
        size_bytes,
        unit="bytes stored",
        label="Size (bytes)",
        meaning="bytes of the weights, 32 bits each",
        is_count=True,
    ),
}
"""Every cost by its name, which is its column in the tables. A new cost is an entry here."""

BUILT_IN = MappingProxyType({name: one.described(name) for name, one in COSTS.items()})
"""The costs of this project, with all of their words."""

ALWAYS_PRICED = ("flops", "params")
"""Costs of a microsecond, priced whether a search goes by them or not."""


class CostError(InputError):
    """A cost that is defined wrongly, or whose function does not give a number above 0."""


def check_costs(taken: Collection[str]) -> None:
    """Checks the entries of `COSTS` that are not built in.

    Args:
        taken: names that a cost cannot have: the other columns of the tables, and the decisions of the space.

    Raises:
        CostError: an entry whose name or function cannot be used.
    """
    for name, one in COSTS.items():
        if name in BUILT_IN and one.described(name) == BUILT_IN[name]:
            continue
        where = f"COSTS[{name!r}]"
        if name in BUILT_IN:
            raise CostError(f"{where}: this cost is built in and cannot be replaced; choose another name")
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise CostError(f"{where}: a cost's name must be a Python identifier, as energy_mj")
        if name in taken:
            raise CostError(f"{where}: a column of the tables or a decision has this name; choose another")
        if not callable(one.function):
            raise CostError(f"{where}: the function is {one.function!r}; it must price an Architecture")


def check_names(names: Iterable[str]) -> None:
    """Raises InputError for a name that no entry of `COSTS` has."""
    for name in names:
        if name not in COSTS:
            raise InputError(f"objective: no cost is named '{name}'{did_you_mean(name, COSTS)}")


def price(name: str, architecture: Architecture) -> float:
    """One cost of an architecture, any but the latency.

    Raises:
        CostError: its function fails, or gives something other than a finite number above 0.
        InputError: the network cannot be built.
    """
    one = COSTS[name]
    assert one.function is not None
    if name in BUILT_IN:
        return one.function(architecture)
    where = f"COSTS[{name!r}]: the cost of the architecture {architecture.digest}"
    try:
        value: Any = one.function(architecture)
    except Exception as error:
        raise CostError(f"{where} fails: {type(error).__name__}: {error}") from error
    good = isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
    if not good:
        raise CostError(f"{where} is {value!r}; it must be a finite number above 0")
    if one.is_count and value != int(value):
        raise CostError(f"{where} is {value!r}; a count must be whole, or state is_count=False")
    return int(value) if one.is_count or isinstance(value, numbers.Integral) else float(value)


class Prediction(Protocol):
    """Predicted latencies of networks."""

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """(n,) milliseconds a forward pass."""
        ...

    @property
    def error(self) -> NDArray[np.float64]:
        """(n,) relative standard deviations."""
        ...


class LatencyModel(Protocol):
    """Predicts the latency of networks on one device."""

    def predict(self, architectures: Sequence[Architecture]) -> Prediction:
        """Latencies of (n,) networks, in their order."""
        ...


class Costs:
    """Prices candidates.

    Args:
        predictor: predicts latency on the search's device; None: latency is not known.
        wanted: names of the costs by which candidates are chosen.

    Raises:
        InputError: a cost that does not exist, or latency without a device.
    """

    def __init__(self, predictor: LatencyModel | None = None, wanted: Iterable[str] = ()) -> None:
        wanted = {*wanted, *ALWAYS_PRICED}
        check_names(wanted)
        if predictor is None and "latency_ms" in wanted:
            raise InputError("objective: latency_ms is known where a device is measured: device=onnxruntime")
        self._predictor = predictor
        self._counted = [name for name, one in COSTS.items() if one.function is not None]
        self._wanted = [name for name in self._counted if name in wanted]

    @property
    def words(self) -> dict[str, dict[str, Any]]:
        """The words of every cost that `record` gives, by name."""
        known = [name for name in COSTS if name in self._counted or self._predictor is not None]
        return {name: COSTS[name].described(name).words for name in known}

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """The costs by which a search chooses, by their names in the trials table.

        Raises:
            InputError: the network cannot be built, or a cost cannot be used.
        """
        return self.with_error(architecture)[0]

    def with_error(self, architecture: Architecture) -> tuple[dict[str, float], float]:
        """The same costs, and the relative standard deviation of the predicted latency; 0 without one.

        Raises:
            InputError: the network cannot be built, or a cost cannot be used.
        """
        costs, error = {name: price(name, architecture) for name in self._wanted}, 0.0
        if self._predictor is not None:
            predicted = self._predictor.predict([architecture])
            costs["latency_ms"], error = predicted.latency_ms.item(), predicted.error.item()
        return costs, error

    def record(self, architecture: Architecture) -> dict[str, Any]:
        """Every known cost, as a trial keeps them, and `latency_error`, the predicted latency's relative standard deviation.

        Raises:
            InputError: the network cannot be built, or a cost cannot be used.
        """
        costs, error = self.with_error(architecture)
        others = [name for name in self._counted if name not in costs]
        known: dict[str, Any] = costs | {name: price(name, architecture) for name in others}
        return known if self._predictor is None else known | {"latency_error": error}
