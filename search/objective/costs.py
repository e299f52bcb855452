"""What is known of a candidate before it is trained: exact counts, and the latency predicted for a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spaces import Architecture, InputError, cost
from spaces.memory import activation_bytes, memory_access

_COUNTED = {"memory_access": memory_access, "activation_bytes": activation_bytes}
"""Bytes by name: those moved, and the most alive at once."""


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
        predictor: of the device that latency is meant on; None: it is not known.
        wanted: names of costs beside `flops`, `params` and `latency_ms` by which candidates are chosen.

    Raises:
        InputError: latency is wanted, and there is no device.
    """

    def __init__(self, predictor: LatencyModel | None = None, wanted: Iterable[str] = ()) -> None:
        wanted = set(wanted)
        if predictor is None and "latency_ms" in wanted:
            raise InputError("objective: latency_ms is known where a device is measured: device=onnxruntime")
        self._predictor = predictor
        self._counted = [name for name in _COUNTED if name in wanted]

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """The costs by which a search chooses, by their names in the trials table.

        Raises:
            InputError: the network cannot be built.
        """
        return self.with_error(architecture)[0]

    def with_error(self, architecture: Architecture) -> tuple[dict[str, float], float]:
        """The same costs, and the predicted latency's relative standard deviation; 0 where there is none.

        Raises:
            InputError: the network cannot be built.
        """
        total, error = cost(architecture), 0.0
        costs: dict[str, float] = {"flops": total.flops, "params": total.params}
        if self._predictor is not None:
            predicted = self._predictor.predict([architecture])
            costs["latency_ms"], error = predicted.latency_ms.item(), predicted.error.item()
        return costs | {name: _COUNTED[name](architecture) for name in self._counted}, error

    def record(self, architecture: Architecture) -> dict[str, Any]:
        """What a trial keeps: every cost known, and `latency_error`, the predicted latency's relative standard deviation."""
        costs, error = self.with_error(architecture)
        known: dict[str, Any] = costs | {name: count(architecture) for name, count in _COUNTED.items()}
        return known if self._predictor is None else known | {"latency_error": error}
