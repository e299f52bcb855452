"""From a description with nothing open to an architecture: multipliers, rounding, repeats, inputs.

Channel counts that are multiplied or open are rounded to the least common multiple of `channel_divisor` and of every number that
must divide them: the groups of the layer that makes them and of the layers that read them. A fixed count beside open groups is
rounded to those groups alone. A fixed count that fixed groups do not divide is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from spaces.architecture import Architecture, Layer, thaw
from spaces.blocks import block_of
from spaces.blocks.ops import make_divisible
from spaces.checks import is_count, is_number
from spaces.errors import BLOCK_ERRORS, InputError, did_you_mean, reason
from spaces.plain import check_plain
from spaces.plans import LayerPlan, plan_head, plan_layer
from spaces.sizes import Size
from spaces.values import find_open
from spaces.widths import Widths, at_width

MULTIPLIERS = ("width_multiplier", "resolution_multiplier", "depth_multiplier")
NETWORK_KEYS = (
    *MULTIPLIERS,
    "channel_divisor",
    "activation",
    "in_channels",
    "num_classes",
    "resolution",
    "layers",
    "head",
    "parameters",
    "published",
)

MAX_NUMBER = MAX_CHANNELS = 2**20
"""The largest number in a description, and the most channels of a map; the literature's networks reach 4,096."""
MAX_SIDE = 2**16
"""The longest side of an image in pixels, multiplied; the literature's networks take up to 1,024."""
MAX_LAYERS = 3000
"""Layers with their repetitions written out; the deepest network of the literature has 144."""


class _Node(NamedTuple):
    """One repetition of a planned layer."""

    plan: LayerPlan
    stride: int
    sources: tuple[int, ...]
    """Positions among all maps: 0 is the image, i + 1 the output of node i."""


class _Demand(NamedTuple):
    """A number that must divide the channels of a map, and the layer that asks for it."""

    multiple: int
    is_open: bool
    where: str


def decode(description: Mapping[str, Any], where: str = "network") -> Architecture:
    """The architecture of a description with nothing open.

    Args:
        description: plain data in the language of network files.
        where: what to call it in errors, usually its file.

    Raises:
        InputError: unknown keys, blocks or options, open values, channels that groups do not divide.
    """
    check_network_keys(description, where)
    opened = find_open(description, "")
    if opened is not None:
        raise InputError(f"{where}: {opened} is open; a network has every value decided, only a search space has not")
    activation = description.get("activation")
    plans = [plan_layer(entry, f"{where}: layers.{i}", activation) for i, entry in enumerate(description["layers"])]
    plans.append(plan_head(description.get("head"), f"{where}: head", activation))
    return assemble(description, plans, where)


def check_network_keys(description: Mapping[str, Any], where: str) -> None:
    """Refuses a description with unknown keys, without a list of layers, or with what no network has."""
    if not isinstance(description, Mapping):
        raise InputError(f"{where}: a network is a mapping with layers and a head; got {description!r}")
    try:
        check_plain(description)
        _check_numbers({key: value for key, value in description.items() if key != "published"}, "")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    for key in description:
        if key not in NETWORK_KEYS:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(key, NETWORK_KEYS)}")
    layers = description.get("layers")
    if not isinstance(layers, list):
        raise InputError(f"{where}: layers must be a list, as [{{block: conv, channels: 16}}, ...]; got {layers!r}")


def _check_numbers(data: Any, where: str) -> None:
    """Refuses NaN and numbers that are larger than any in a network."""
    if isinstance(data, Mapping | list | tuple):
        for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
            _check_numbers(value, f"{where}.{key}" if where else str(key))
    elif is_number(data) and not abs(data) <= MAX_NUMBER:
        raise InputError(f"{where}: {data!r} is beyond the numbers of a network; {MAX_NUMBER:,} is the largest")


def assemble(
    settings: Mapping[str, Any], plans: Sequence[LayerPlan], where: str, *, open_width: bool = False
) -> Architecture:
    """The architecture of planned layers (the head last).

    Args:
        settings: the decided values beside `layers`: multipliers, divisor, resolution, in_channels, num_classes.
        plans: the layers.
        where: what to call the network in errors.
        open_width: whether the width multiplier was open, so that rounding applies at 1.0 too.

    Raises:
        InputError: settings that are missing or wrong, inputs that do not exist, channels that groups do not divide.
    """
    in_channels = _count_of(settings, "in_channels", where)
    resolution = _multiplied_resolution(settings, where)
    divisor = _count_of({"channel_divisor": 8, **settings}, "channel_divisor", where)
    widths = Widths(_positive(settings, "width_multiplier", where), divisor, open_width)
    nodes = _write_out([plan.at(widths) for plan in plans], _positive(settings, "depth_multiplier", where))
    channels = _channels(nodes, in_channels, settings, widths, where)
    return Architecture(in_channels, resolution, tuple(_layers(nodes, channels)))


def _count_of(settings: Mapping[str, Any], key: str, where: str) -> int:
    value = settings.get(key)
    if value is None:
        raise InputError(f"{where}: {key} is missing; it comes from the data, or state `{key}:`")
    if not is_count(value):
        raise InputError(f"{where}: {key} must be a whole number of at least 1; got {value!r}")
    return value


def _positive(settings: Mapping[str, Any], key: str, where: str) -> float:
    value = settings.get(key, 1.0)
    if not (is_number(value) and 0 < value < math.inf):
        raise InputError(f"{where}: {key} must be a number above zero; got {value!r}")
    return value


def resolution_of(settings: Mapping[str, Any], where: str) -> Size:
    """The (height, width) in pixels that a description states.

    Raises:
        InputError: it states none, or what is no resolution.
    """
    native = settings.get("resolution")
    if native is None:
        raise InputError(f"{where}: resolution is missing; it comes from the data, or state `resolution:`")
    sides = native if isinstance(native, list | tuple) else (native, native)
    if len(sides) != 2 or not all(map(is_count, sides)):
        raise InputError(f"{where}: resolution is one side in pixels or [height, width]; got {native!r}")
    return sides[0], sides[1]


def _multiplied_resolution(settings: Mapping[str, Any], where: str) -> Size:
    """The native resolution times the multiplier, rounded."""
    sides = resolution_of(settings, where)
    multiplier = _positive(settings, "resolution_multiplier", where)
    height, width = (int(side * multiplier + 0.5) for side in sides)
    if min(height, width) < 1:
        raise InputError(f"{where}: resolution_multiplier {multiplier} leaves no pixel of {list(sides)}")
    if max(height, width) > MAX_SIDE:
        raise InputError(f"{where}: resolution {height}x{width} is too large; a side has {MAX_SIDE:,} pixels at most")
    return height, width


def _write_out(plans: Iterable[LayerPlan], depth_multiplier: float) -> list[_Node]:
    """Repetitions one by one: the stride applies to the first; the next ones read the one before."""
    nodes: list[_Node] = []
    named = {"image": 0}
    for plan in plans:
        repeat = 1 if plan.repeat is None else math.ceil(plan.repeat * depth_multiplier - 1e-9)
        if len(nodes) + repeat > MAX_LAYERS:
            raise InputError(
                f"{plan.where}: repeat {repeat:,} makes a network of {len(nodes) + repeat:,} layers or more; "
                f"{MAX_LAYERS:,} are the most"
            )
        several = len(plan.inputs) > 1
        if repeat > 1 and several and all(isinstance(i, str) for i in plan.inputs):
            raise InputError(
                f"{plan.where}: {repeat} repetitions would all read {', '.join(map(str, plan.inputs))}; "
                "one of several inputs must be -1, the repetition before"
            )
        for repetition in range(repeat):
            inputs = plan.inputs if repetition == 0 or several else (-1,)
            position = len(nodes)
            sources = (position,) if inputs == (-1,) else tuple(_source(i, position, named, plan.where) for i in inputs)
            nodes.append(_Node(plan, plan.stride if repetition == 0 else 1, sources))
        if plan.name is not None:
            if plan.name in named:
                raise InputError(f"{plan.where}: the name '{plan.name}' is taken; each layer its own")
            named[plan.name] = len(nodes)
    return nodes


def _source(reference: int | str, position: int, named: Mapping[str, int], where: str) -> int:
    if isinstance(reference, int):
        return max(0, position + 1 + reference)  # before the first layer there is only the image
    if reference not in named:
        raise InputError(f"{where}: inputs name no layer before it: '{reference}'{did_you_mean(reference, named)}")
    return named[reference]


def _channels(
    nodes: Sequence[_Node], in_channels: int, settings: Mapping[str, Any], widths: Widths, where: str
) -> list[int]:
    """Channels of every map: the image's, then each node's output."""
    demands = _demands(nodes)
    _check_fit(in_channels, demands[0], f"{where}: the image's")
    channels = [in_channels]
    for node, asked in zip(nodes, demands[1:], strict=True):
        plan, stated = node.plan, node.plan.channels
        if stated is None or stated == "num_classes":
            given = _count_of(settings, "num_classes", where) if stated else _made_of(plan, node.sources, channels)
            _check_fit(given, asked, f"{plan.where}: its")
        elif isinstance(stated, int) and (plan.open_channels or widths.multiplies(plan.width)):
            given = widths.scale(stated, plan.width, plan.where, _common(asked))
        else:
            given = stated if isinstance(stated, int) else at_width(stated["at_width"], widths.multiplier, plan.where)
            _check_fit(given, [demand for demand in asked if not demand.is_open], f"{plan.where}:", nearest=True)
            given = make_divisible(given, _common(asked))
        if given > MAX_CHANNELS:
            raise InputError(f"{plan.where}: more channels come together than the most, {MAX_CHANNELS:,}")
        channels.append(given)
    return channels


def _demands(nodes: Sequence[_Node]) -> list[list[_Demand]]:
    """What must divide the channels of each map, asked by the node that makes it and by those that read it."""
    # as keys: a map that is read along many ways is asked once
    demands: list[dict[_Demand, None]] = [{} for _ in range(len(nodes) + 1)]
    for position in range(len(nodes) - 1, -1, -1):
        plan, _, sources = nodes[position]
        into, out = plan.multiples
        own = demands[position + 1]
        if out > 1:
            own[_Demand(out, plan.open_block, plan.where)] = None
        for source, multiple in zip(sources, into):  # a rule may speak of the first inputs only
            if multiple > 1:
                demands[source][_Demand(multiple, plan.open_block, plan.where)] = None
        if plan.channels is None:  # what it makes follows its inputs, so they must suit its readers
            for source in sources:
                demands[source].update(own)
    return [[*asked] for asked in demands]


def _common(demands: Sequence[_Demand]) -> int:
    multiple = 1
    for demand in demands:
        multiple = math.lcm(multiple, demand.multiple)
        if multiple > MAX_CHANNELS:
            raise InputError(
                f"{demand.where}: its groups ({demand.multiple}) and those around it divide no number of channels up to "
                f"{MAX_CHANNELS:,}"
            )
    return multiple


def _check_fit(count: int, demands: Sequence[_Demand], whose: str, *, nearest: bool = False) -> None:
    """Refuses a count that does not meet the demands and must stay as it is."""
    multiple = _common(demands)
    if count % multiple == 0:
        return
    below = count // multiple * multiple
    advice = f"; nearest: {' or '.join(str(c) for c in (below, below + multiple) if c)}" if nearest else ""
    asking = dict.fromkeys(f"{demand.where} ({demand.multiple})" for demand in demands)
    raise InputError(
        f"{whose} {count} channels are not a multiple of {multiple}, as the groups of {', '.join(asking)} need{advice}"
    )


def _made_of(plan: LayerPlan, sources: Sequence[int], channels: Sequence[int]) -> int:
    """The output's channels where none are stated."""
    into = tuple(channels[source] for source in sources)
    block = block_of(plan.block)
    rule = block.default_out_channels
    if rule is not None:
        stated = {name: thaw(value) for name, value in plan.options}
        try:
            return rule(into[0] if len(into) == 1 else into, **block.arguments(rule, stated))
        except BLOCK_ERRORS as error:
            raise InputError(f"{plan.where}: {reason(error)}") from error
    if len(into) > 1:
        raise InputError(f"{plan.where}: block '{plan.block}' reads several inputs; state its channels")
    return into[0]


def _layers(nodes: Sequence[_Node], channels: Sequence[int]) -> list[Layer]:
    """The nodes as layers, without those that nobody reads and identities that change nothing: equal networks are equal."""
    read = {len(nodes)}
    for position in range(len(nodes) - 1, -1, -1):
        if position + 1 in read:
            read.update(nodes[position].sources)
    layers: list[Layer] = []
    kept = {0: 0}  # where each map stands among those that stay
    for position, (plan, stride, sources) in enumerate(nodes, 1):
        if position not in read:
            continue
        into, out = tuple([channels[source] for source in sources]), channels[position]
        if plan.block == "identity" and stride == 1 and into == (out,):
            kept[position] = kept[sources[0]]
            continue
        inputs = tuple([kept[source] - len(layers) - 1 for source in sources])
        layers.append(_layer(plan, into, out, stride, inputs))
        kept[position] = len(layers)
    return layers


@lru_cache(maxsize=2**16)
def _layer(plan: LayerPlan, into: tuple[int, ...], out: int, stride: int, inputs: tuple[int, ...]) -> Layer:
    """One object for a layer that many architectures share."""
    in_channels = into[0] if len(into) == 1 else into
    return Layer(plan.block, in_channels, out, stride, plan.options, inputs, plan.where)
