"""Latency of networks that were not measured, from those of blocks and networks that were.

A block in the table has its measured latency, unless something disturbed the measuring. Any other is predicted by a Gaussian
process over the logarithms of its costs, shapes and options (`BlockModel`), one for each type of block. The table's latency of a
block holds a call and the two cheap layers the block was timed between. So a network's latency is a weighted sum: its blocks'
latencies by type, less a share of their number and of the values before and after them. The weights are fitted to networks measured
end to end (`Predictor`), within bounds: no block adds less than nothing, and a type that no network has counts as the others do.

Nothing of this is stored: the table is, and the fit takes well under a second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, minimize

from search.latency.measuring import STEADY
from search.latency.table import IMAGE_CHANNELS, BlockKey, Table, block_keys
from search.system.threads import one_blas_thread
from spaces import Architecture
from spaces.architecture import thaw
from spaces.blocks import block_of
from spaces.blocks.protocol import NO_DEFAULT
from spaces.costs import block_cost, layer_operations
from spaces.operation import Convolution

Array = NDArray[np.float64]

FEW = 8
"""Measured blocks of one type below which it shares a model with all types."""
MANY = 600
"""Blocks of one type that a model uses at most: the fit takes the cube of their number."""
TO_CHOOSE = 160
"""Of these the ones that its length scales are chosen by: that takes the cube of their number many times."""
UNCALIBRATED = 0.4
"""Relative error of plain sums: each block is timed with a call and two layers around it, which a network has once."""
FEW_NETWORKS = 3
"""Measured networks below which blocks are merely added up: one alone may have been disturbed, or be like no other."""
LEAST = 0.05
"""Of its latency timed alone, what a block adds to a network at the least."""
PULL = 0.5
"""How strongly the calibration holds a type's weight at the common one; 0.1 is a network that is wrong by a tenth."""


class Prediction(NamedTuple):
    """Latency and how sure it is."""

    latency_ms: Array
    """(n,) milliseconds."""
    error: Array
    """(n,) standard deviation of the logarithm: about the relative error."""


class _Part(NamedTuple):
    """What a block adds to the prediction of a network."""

    latency_ms: float
    """In the network."""
    alone_ms: float
    """Timed by itself."""
    variance: float
    """Of that, in square milliseconds."""


class Predictor:
    """Predicts networks on the device of a table.

    Args:
        table: with measured blocks, and networks if the sum is to be calibrated.

    Raises:
        ValueError: the table holds no blocks.
    """

    @one_blas_thread()
    def __init__(self, table: Table) -> None:
        if not table.blocks:
            raise ValueError("nothing has been measured, so nothing can be predicted")
        self._known = {key: math.log(measured.median_ms) for key, measured in table.blocks.items()}
        self._noise = {key: measured.iqr_ms / measured.median_ms for key, measured in table.blocks.items()}
        by_type: dict[str, list[BlockKey]] = defaultdict(list)
        for key in self._known:
            by_type[key.block].append(key)
        self._models = {block: self._fit(keys) for block, keys in by_type.items() if len(keys) >= FEW}
        self._any = self._fit(list(self._known)) if any(len(keys) < FEW for keys in by_type.values()) else None
        self._predicted: dict[BlockKey, tuple[float, float]] = {}
        self._parts: dict[BlockKey, _Part] = {}
        self._types = {block: position for position, block in enumerate(by_type)}
        self._weights = np.array([1.0] * len(self._types) + [0.0, 0.0, 0.0])
        self._calibrated: set[str] = set()
        """Types of blocks that the networks of the table hold."""
        self._calibrated_ms = 0.0, math.inf
        """Latencies of the fastest and the slowest of these networks: far outside, a prediction is as unsure as a plain sum."""
        self._spread = UNCALIBRATED
        measured = list(table.networks.values())
        self.num_networks = len(measured) if len(measured) >= FEW_NETWORKS else 0
        """By how many networks it is calibrated."""
        if self.num_networks:
            unsteady = np.array([m.iqr_ms / (STEADY * m.median_ms) for _, m in measured])
            latencies = np.array([m.median_ms for _, m in measured])
            self._calibrate([a for a, _ in measured], latencies, 1 / np.maximum(1, unsteady))

    def predict(self, architectures: Sequence[Architecture]) -> Prediction:
        """Latency of networks, batch and all else as the table's device has it.

        Raises:
            InputError: a network that cannot be built.
        """
        networks = [block_keys(architecture) for architecture in architectures]
        self._price(key for keys in networks for key in keys)
        # plain sums: a search asks for one network at a time, thousands of times, and for that arrays are slower
        sums = []
        for keys in networks:
            latency = alone = variance = 0.0
            for key in keys:
                part = self._parts[key]
                latency += part.latency_ms
                alone += part.alone_ms
                variance += part.variance
            beyond = max(1.0, self._calibrated_ms[0] / latency, latency / self._calibrated_ms[1])
            spread = math.hypot(self._spread, UNCALIBRATED * min(1.0, math.log(beyond)))
            sums.append((latency, math.sqrt(variance / alone**2 + spread**2)))
        latencies, errors = np.array(sums).reshape(-1, 2).T
        return Prediction(latencies, errors)

    def by_layer(self, architecture: Architecture) -> list[float]:
        """Milliseconds that each layer of a network adds to it; their sum is its predicted latency."""
        keys = block_keys(architecture)
        self._price(keys)
        return [self._parts[key].latency_ms for key in keys]

    def _price(self, keys: Iterable[BlockKey]) -> None:
        """Finds out what blocks not yet met add to a network, never less than `LEAST`."""
        new = [key for key in dict.fromkeys(keys) if key not in self._parts]
        if not new:
            return
        self._predict_new(new)
        for key, part in zip(new, np.array([self._contribution(key) for key in new])):
            alone = math.exp(self._predicted[key][0])
            in_network = max(float(part[:-1] @ self._weights), LEAST * alone)
            self._parts[key] = _Part(in_network, alone, float(part[-1]))

    @property
    def calibration_error(self) -> float:
        """Relative error on networks of the table that were left out, beside what its blocks' errors bring."""
        return self._spread

    def predict_blocks(self, keys: Iterable[BlockKey]) -> Prediction:
        """Latency of blocks timed alone; of those in the table, the measured one."""
        keys = list(keys)
        self._predict_new(keys)
        pairs = np.array([self._predicted[key] for key in keys]).reshape(-1, 2)
        return Prediction(np.exp(pairs[:, 0]), pairs[:, 1])

    def _fit(self, keys: list[BlockKey]) -> BlockModel:
        # spread over the table, which lists one study's blocks after another's
        chosen = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(MANY, len(keys))).astype(int))]
        log_ms, noise = (np.array([values[key] for key in chosen]) for values in (self._known, self._noise))
        return BlockModel(chosen, log_ms, noise)

    @one_blas_thread()
    def _predict_new(self, keys: Iterable[BlockKey]) -> None:
        """Predicts all blocks not yet asked for, each type at once."""
        missing: dict[str, list[BlockKey]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            if key in self._predicted:
                continue
            if key in self._known and self._noise[key] <= STEADY:
                self._predicted[key] = self._known[key], self._noise[key]
            else:
                missing[key.block].append(key)
        for block, unknown in missing.items():
            model = self._models.get(block) or self._shared()
            mean, deviation = model.predict(unknown)
            for key, *predicted in zip(unknown, mean.tolist(), deviation.tolist()):
                self._predicted[key] = self._weigh(key, *predicted)

    def _weigh(self, key: BlockKey, mean: float, deviation: float) -> tuple[float, float]:
        """A block's prediction; with what was measured of it while it was disturbed, each by how sure it is."""
        if key not in self._known:
            return mean, deviation
        ours, theirs = 1 / self._noise[key] ** 2, 1 / deviation**2
        return (ours * self._known[key] + theirs * mean) / (ours + theirs), (ours + theirs) ** -0.5

    def _shared(self) -> BlockModel:
        """The model of all types, for those with few measurements or none."""
        if self._any is None:
            self._any = self._fit(list(self._known))
        return self._any

    def _sums(self, networks: Sequence[Sequence[BlockKey]]) -> tuple[Array, Array]:
        """What the weighted sum is made of, and the relative error of the blocks' sum.

        Returns:
            (n, types + 3): milliseconds of the blocks of each type, and what the layers around them do (`_surroundings`);
            (n,) errors.
        """
        order = list(dict.fromkeys(key for keys in networks for key in keys))
        self._predict_new(order)
        parts = np.array([self._contribution(key) for key in order]).reshape(len(order), -1)
        position = {key: i for i, key in enumerate(order)}
        lengths = [len(keys) for keys in networks]
        starts = np.cumsum([0, *lengths[:-1]])
        chosen = parts[[position[key] for keys in networks for key in keys]]  # a row for every block of every network
        sums = np.add.reduceat(chosen, starts, axis=0)
        total = sums[:, : len(self._types)].sum(1)
        return sums[:, :-1], np.sqrt(sums[:, -1]) / total

    def _contribution(self, key: BlockKey) -> list[float]:
        """What a block adds to the sums of `_sums`, and its variance."""
        mean, deviation = self._predicted[key]
        latency, types = math.exp(mean), [0.0] * len(self._types)
        if key.block in self._types:
            types[self._types[key.block]] = latency
        else:  # a type that was never measured counts as the others do
            types = [latency / len(types)] * len(types)
        unmet = UNCALIBRATED if self._calibrated and key.block not in self._calibrated else 0.0
        return [*types, *_surroundings(key), latency**2 * (deviation**2 + unmet**2)]

    def _calibrate(self, architectures: Sequence[Architecture], measured: Array, trust: Array) -> None:
        """Least squares in relative error, held near the plain sum where there are few networks; outliers count less.

        `trust`: (n,) at most 1, lower for measurements that were disturbed.

        The weights of all types are held near their common one more closely than that near 1: what a call costs and what a cache
        gains is much the same for all of them.
        """
        networks = [block_keys(architecture) for architecture in architectures]
        self._calibrated_ms = float(measured.min()), float(measured.max())
        self._calibrated = {key.block for keys in networks for key in keys}
        features, _ = self._sums(networks)
        relative = features / measured[:, None]
        types = len(self._types)
        # columns: common weight, each type's departure from it, surroundings
        design = np.column_stack((relative[:, :types].sum(1), relative))
        prior = np.zeros(design.shape[1])
        prior[0] = 1.0
        scale = np.sqrt(np.mean(design**2, 0))
        scale = np.maximum(scale, 0.1 * scale[0])  # a type that no network has keeps the common weight
        strength = np.array([0.1, *[PULL] * types, 0.1, 0.1, 0.1]) * scale
        # a call takes no longer than the fastest block with its own, and what is taken off is never below nothing
        call = math.exp(min(self._known.values()))
        bounds = np.array([(0.3, 2.0), *[(-0.2, 1.0)] * types, (-call, 0.0), (-np.inf, 0.0), (-np.inf, 0.0)])
        importance = trust
        for _ in range(10):
            left = np.vstack((design * importance[:, None], np.diag(strength)))
            right = np.concatenate((importance, strength * prior))
            solution = lsq_linear(left, right, (bounds[:, 0], bounds[:, 1]), method="bvls").x
            residual = np.abs(design @ solution - 1)
            width = max(0.01, 1.5 * float(np.median(residual)))
            importance = trust * np.sqrt(np.minimum(1, width / np.maximum(residual, 1e-12)))  # Huber's
        self._weights = np.concatenate((solution[0] + solution[1 : types + 1], solution[types + 1 :]))
        # the error of each network predicted from the others
        weighted = design * importance[:, None]
        leverage = np.einsum("ij,jk,ik->i", weighted, np.linalg.inv(left.T @ left), weighted)
        residual = residual / (1 - np.minimum(leverage, 0.8))
        width = max(0.01, 1.5 * float(np.median(residual)))
        # 1.48 medians are a standard deviation, whatever a few outliers do
        found = max(1.48 * float(np.median(residual)), float(np.sqrt(np.mean(np.minimum(residual, 2 * width) ** 2))))
        self._spread = math.hypot(found, UNCALIBRATED / (1 + len(measured) / 2))  # few may agree by chance


class BlockModel:
    """A Gaussian process of log latency over features of blocks.

    Its kernel is linear plus Matern 5/2: the trend over orders of magnitude, and what departs from it. Noise, both amplitudes and
    the length scale of every feature are the likeliest ones under a prior that holds them near a common guess: Rasmussen and
    Williams, Gaussian processes for machine learning (2006), https://gaussianprocess.org/gpml, equations 5.8 and 5.9.

    Args:
        keys: n measured blocks.
        log_ms: (n,) logarithms of their latencies.
        noise: (n,) standard deviations of these.
    """

    def __init__(self, keys: Sequence[BlockKey], log_ms: Array, noise: Array) -> None:
        described = [features_of(key) for key in keys]
        self._names = sorted({name for values in described for name in values})
        raw = self._matrix(described)
        deviation = raw.std(0)
        varied = deviation > 1e-9  # what never varies says nothing
        self._names = [name for name, varies in zip(self._names, varied) if varies]
        self._centre, self._scale = raw[:, varied].mean(0), deviation[varied]
        self._x = (raw[:, varied] - self._centre) / self._scale
        self._mean = float(log_ms.mean())
        self._y, self._given = log_ms - self._mean, noise
        few = np.unique(np.linspace(0, len(log_ms) - 1, TO_CHOOSE).astype(int))
        self._choose(self._x[few], self._y[few], self._given[few])
        inverse = np.linalg.inv(self._covariance(self._x, self._x) + np.diag(self._noise + self._given**2))
        self._inverse, self._alpha = inverse, inverse @ self._y
        left_out = np.abs(self._alpha / np.diag(inverse))  # equation 5.12
        self.loo_error = float(np.sqrt(np.mean(np.minimum(left_out, 5 * np.median(left_out)) ** 2)))
        """Leave-one-out error of log latency, root of a mean square that few outliers cannot raise."""

    def predict(self, keys: Sequence[BlockKey]) -> tuple[Array, Array]:
        """(m,) log latencies and (m,) their standard deviations."""
        x = (self._matrix([features_of(key) for key in keys]) - self._centre) / self._scale
        cross = self._covariance(x, self._x)
        prior = self._amplitude + self._trend * ((x**2).sum(1) + 1)
        variance = prior - np.einsum("ij,ij->i", cross @ self._inverse, cross)
        # the process's own scale is a guess; its leave-one-out error is measured
        return self._mean + cross @ self._alpha, np.maximum(np.sqrt(np.maximum(variance, 0)), self.loo_error)

    def _choose(self, x: Array, y: Array, given: Array) -> None:
        """Finds the length scales, the noise and the amplitudes by climbing the posterior density of their logarithms."""
        features = x.shape[1]
        spread = max(float(y.std()), 0.05)
        expected = np.log(
            [*[0.5 / math.sqrt(max(1, features))] * features, 0.04, spread, spread / math.sqrt(features + 1)]
        )
        width = np.array([*[1.0] * features, 1.0, 1.0, 1.5])
        linear, given = x @ x.T + 1, given**2

        def loss(theta: Array) -> tuple[float, Array]:
            squares = np.exp(2 * theta)
            weights, (noise, amplitude, trend) = squares[:features], squares[features:]
            r = _distances(x, x, weights)
            decay = np.exp(-r)
            matern = (1 + r + r**2 / 3) * decay
            covariance = amplitude * matern + trend * linear + np.diag(noise + given)
            inverse = np.linalg.inv(covariance)
            alpha = inverse @ y
            off = (theta - expected) / width
            value = 0.5 * (y @ alpha + np.linalg.slogdet(covariance)[1] + off @ off)
            outer = np.outer(alpha, alpha) - inverse  # of which half the trace with a derivative is the density's
            slope = outer * (-5 / 6 * amplitude) * (1 + r) * decay  # with respect to the squared distance
            by_weight = 2 * ((x**2).T @ slope.sum(1) - np.einsum("ik,ik->k", x, slope @ x))
            rest = noise * np.trace(outer), amplitude * (outer * matern).sum(), trend * (outer * linear).sum()
            return float(value), off / width - np.concatenate((weights * by_weight, rest))

        bounds = [(centre - 4, centre + 4) for centre in expected]
        found = minimize(loss, expected, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_STEPS})
        squares = np.exp(2 * found.x)
        self._weights, (self._noise, self._amplitude, self._trend) = squares[:features], squares[features:]

    def _covariance(self, a: Array, b: Array) -> Array:
        r = _distances(a, b, self._weights)
        return self._amplitude * (1 + r + r**2 / 3) * np.exp(-r) + self._trend * (a @ b.T + 1)

    def _matrix(self, described: Sequence[Mapping[str, float]]) -> Array:
        return np.array([[values.get(name, 0.0) for name in self._names] for values in described])


MAX_STEPS = 30
"""Of the search for a model's length scales: more make no better predictions, only later ones."""


def _distances(a: Array, b: Array, weights: Array) -> Array:
    """(m, n) distances on the scale of a Matern 5/2 kernel; (d,) weights of the squared differences."""
    squared = ((a**2) @ weights)[:, None] + ((b**2) @ weights)[None, :] - 2 * (a * weights) @ b.T
    return np.sqrt(5 * np.maximum(squared, 0))


def describe_blocks(keys: Sequence[BlockKey]) -> Array:
    """(n, d) features of blocks, each on a scale of its own deviation among them."""
    described = [features_of(key) for key in keys]
    names = sorted({name for values in described for name in values})
    raw = np.array([[values.get(name, 0.0) for name in names] for values in described])
    return (raw - raw.mean(0)) / np.maximum(raw.std(0), 1e-9)


@lru_cache(maxsize=2**17)
def features_of(key: BlockKey) -> dict[str, float]:
    """Numbers that describe a block: logarithms of costs, shapes and options; a 1 for each option that is a word."""
    cost = block_cost(key.layer, key.size)
    made = key.out_channels * cost.size[0] * cost.size[1]
    read = sum(c * h * w for c, (h, w) in zip(key.channels, key.sizes))
    totals: dict[str, float] = defaultdict(float)
    features = {
        "flops": math.log(cost.flops + 1),
        "params": math.log(cost.params + 1),
        "values": math.log(read + made),
        "made": math.log(made),
        "read": math.log(read),
        "in_channels": math.log(sum(key.channels)),
        "out_channels": math.log(key.out_channels),
        "pixels": math.log(cost.size[0] * cost.size[1]),
        "stride": math.log(key.stride),
        "odd": float(key.out_channels % 16 > 0),
        f"block={key.block}": 1.0,
    }
    operations = layer_operations(key.layer, key.size) or ()
    for convolution in [operation for operation in operations if isinstance(operation, Convolution)]:
        kind = _kind(convolution)
        made = convolution.out_channels * math.prod(convolution.out_size)
        read = convolution.in_channels * math.prod(convolution.in_size)
        weights = math.prod(convolution.kernel) * convolution.in_channels // convolution.groups
        for name, count in (("flops", made * weights / 1e3), ("values", (made + read) / 1e2)):
            totals[f"{kind} {name}"] += count
    features |= {name: math.log1p(total) for name, total in totals.items()}
    defaults = {name: value for name, value in block_of(key.block).options.items() if value is not NO_DEFAULT}
    for name, value in (defaults | {name: thaw(value) for name, value in key.options}).items():
        if isinstance(value, list | tuple) and value and all(isinstance(item, int | float) for item in value):
            value = sum(value) / len(value)
        if isinstance(value, int | float):
            features[name] = math.log1p(abs(value))
            if name == "kernel_size":
                features["even"] = float(value % 2 == 0)
        else:
            features[f"{name}={value}"] = 1.0
    return features


LANES = 16
"""Channels that a runtime works on at once at the most; other numbers of them may take another, slower way."""


def _kind(convolution: Convolution) -> str:
    """What decides which routine of a runtime computes a convolution."""
    into, out = (count // convolution.groups for count in (convolution.in_channels, convolution.out_channels))
    if convolution.groups > 1:
        depthwise = into == 1
        fits = convolution.out_channels % LANES == 0 if depthwise else into % LANES == 0 and out % LANES == 0
        name = "depthwise" if depthwise else "grouped"
    else:
        name, fits = "pointwise" if convolution.kernel == (1, 1) else "dense", out % LANES == 0
    return name if fits else f"odd {name}"


@lru_cache(maxsize=2**17)
def _surroundings(key: BlockKey) -> tuple[float, float, float]:
    """What a block's latency in the table holds beside it: a call, millions of values written before it, and read after it."""
    height, width = block_cost(key.layer, key.size).size
    before = sum(c * h * w for c, (h, w) in zip(key.channels, key.sizes) if c > IMAGE_CHANNELS)
    return 1.0, before / 1e6, key.out_channels * height * width / 1e6
