"""From a description with nothing open to an architecture: multipliers, rounding, repeats, inputs.

Channel counts that are multiplied or open are rounded to the least common multiple of `channel_divisor` and of every number that
must divide them: the groups of the layer that makes them and of the layers that read them. A fixed count beside open groups is
rounded to those groups alone. A fixed count that fixed groups do not divide is an error.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spaces.architecture import Architecture, Layer, Options, freeze, thaw
from spaces.blocks import BLOCKS
from spaces.blocks.ops import Size, make_divisible
from spaces.errors import InputError, did_you_mean
from spaces.widths import RULES, Widths, at_width, depend_on_width, options_at

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
LAYER_KEYS = ("block", "channels", "stride", "repeat", "name", "inputs", "width")
# written as a number or a pair of equal numbers, they mean the same
_PAIRS = ("kernel_size", "dilation", "padding")


@dataclass(frozen=True)
class LayerPlan:
    """One entry of `layers` with its values decided, before channels are multiplied and repetitions written out."""

    where: str
    block: str
    options: Options
    keywords: dict[str, Any]
    channels: Any
    """A number, "num_classes", {"at_width": table}, or None for what the block makes of its input."""
    stride: int
    repeat: int | None
    name: str | None
    inputs: tuple[int | str, ...]
    width: str
    multiples: tuple[Any, int]
    """Numbers that must divide the input's (one for each input, or one for the first) and the output's channels."""
    open_channels: bool = False
    open_block: bool = False
    by_width: bool = False
    """Whether the options too depend on the width multiplier."""


@dataclass
class _Node:
    """One repetition of a planned layer."""

    plan: LayerPlan
    stride: int
    sources: tuple[int, ...]
    """Positions among all maps: 0 is the image, i + 1 the output of node i."""


@dataclass
class _Need:
    """What must divide the channels of one map, and why."""

    multiple: int = 1
    open: bool = False
    who: list[str] = field(default_factory=list)

    def add(self, multiple: int, is_open: bool, who: str) -> None:
        if multiple > 1:
            self.multiple = math.lcm(self.multiple, multiple)
            self.open |= is_open
            self.who.append(f"{who} ({multiple})")


def decode(description: Mapping[str, Any], where: str = "network") -> Architecture:
    """The architecture of a description with nothing open.

    Args:
        description: plain data in the language of network files.
        where: what to call it in errors, usually its file.

    Raises:
        InputError: unknown keys, blocks or options, open values, channels that groups do not divide.
    """
    check_network_keys(description, where)
    activation = description.get("activation")
    plans = [
        plan_layer(entry, f"{where}: layers.{i}", activation) for i, entry in enumerate(description.get("layers", []))
    ]
    plans.append(plan_head(description.get("head"), f"{where}: head", activation))
    return assemble(description, plans, where)


def check_network_keys(description: Mapping[str, Any], where: str) -> None:
    """Refuses a description with unknown keys or without layers."""
    if not isinstance(description, Mapping):
        raise InputError(f"{where}: a network is a mapping with layers and a head; got {description!r}")
    for key in description:
        if key not in NETWORK_KEYS:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(key, NETWORK_KEYS)}")
    layers = description.get("layers")
    if not isinstance(layers, list) or not layers:
        raise InputError(f"{where}: layers must list at least one layer; got {layers!r}")


def plan_layer(
    entry: Any, where: str, activation: str | None = None, *, open_channels: bool = False, open_block: bool = False
) -> LayerPlan:
    """Checks one decided entry of `layers` and brings its block's options into their canonical form."""
    if not isinstance(entry, Mapping) or "block" not in entry:
        raise InputError(f"{where}: a layer is a mapping with a block, as {{block: conv, channels: 16}}; got {entry!r}")
    block, stated = _block_and_options(entry, where)
    options, multiples = _canonical(block, stated, activation, where)
    repeat, stride, width = entry.get("repeat"), entry.get("stride", 1), entry.get("width", "scaled")
    for key, value in (("repeat", repeat if repeat is not None else 1), ("stride", stride)):
        if not _is_count(value):
            raise InputError(f"{where}: {key} must be a whole number of at least 1; got {value!r}")
    if width not in RULES:
        raise InputError(f"{where}: unknown width '{width}'{did_you_mean(width, RULES)}")
    _check_channels(entry.get("channels"), where)
    return LayerPlan(
        where,
        block,
        options,
        {name: thaw(value) for name, value in options},
        entry.get("channels"),
        stride,
        repeat,
        entry.get("name"),
        _parse_inputs(entry.get("inputs", [-1]), where),
        width,
        multiples,
        open_channels,
        open_block,
        depend_on_width(block, options),
    )


def plan_head(head: Any, where: str, activation: str | None = None) -> LayerPlan:
    """The head as a layer: `channels` is the number of classes."""
    head = {} if head is None else head
    if not isinstance(head, Mapping):
        raise InputError(f"{where}: a head is a mapping of options, as {{pool: avg, dropout: 0.1}}; got {head!r}")
    return plan_layer({"block": {"head": dict(head)}, "channels": "num_classes"}, where, activation)


def _block_and_options(entry: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """The block's name and its options: those beside `block`, then those inside it."""
    beside = {key: value for key, value in entry.items() if key not in LAYER_KEYS}
    block = entry["block"]
    if isinstance(block, Mapping):
        if len(block) != 1:
            raise InputError(f"{where}.block: names one block, as {{conv: {{kernel_size: 3}}}}; got {block!r}")
        block, inside = next(iter(block.items()))
        if inside is not None and not isinstance(inside, Mapping):
            raise InputError(f"{where}.block.{block}: options are a mapping; got {inside!r}")
        beside |= dict(inside or {})
    if block not in BLOCKS:
        raise InputError(f"{where}.block: unknown block '{block}'{did_you_mean(block, BLOCKS)}")
    return block, beside


def block_options(block: str) -> dict[str, Any]:
    """The options of the block of that name with their defaults (`inspect.Parameter.empty` where it has none)."""
    parameters = inspect.signature(BLOCKS[block]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "size"}


def _canonical(block: str, options: dict[str, Any], activation: Any, where: str) -> tuple[Options, tuple[Any, int]]:
    """Options without those that equal the default, and the numbers that must divide the channels."""
    known = block_options(block)
    for name in options:
        if name not in known:
            valid = [*known, *LAYER_KEYS]
            raise InputError(f"{where}: block '{block}' has no option '{name}'{did_you_mean(name, valid)}")
    for name, default in known.items():
        if default is inspect.Parameter.empty and name not in options:
            raise InputError(f"{where}: block '{block}' needs the option '{name}'")
    if activation is not None and "activation" in known:
        options = {"activation": activation, **options}
    plain = {name: _plain(name, value) for name, value in options.items()}
    kept = tuple(sorted((n, v) for n, v in plain.items() if not _same(v, _plain(n, known[n]))))
    rule = getattr(BLOCKS[block], "channel_multiples", None)
    if rule is None:
        return kept, (1, 1)
    taken = inspect.signature(rule).parameters
    keywords = {n: thaw(v) for n, v in kept}
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        keywords = {n: v for n, v in keywords.items() if n in taken}
    try:
        return kept, rule(**keywords)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{where}: block '{block}' cannot take {keywords}: {error}") from error


def _plain(name: str, value: Any) -> Any:
    """Frozen, with one way of writing each value."""
    value = freeze(value)
    pair = name in _PAIRS and isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]
    return value[0] if pair else value


def _same(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_channels(channels: Any, where: str) -> None:
    table = channels.get("at_width") if isinstance(channels, Mapping) and set(channels) == {"at_width"} else None
    if table is not None:
        if isinstance(table, Mapping) and table and all(_is_count(c) for c in table.values()):
            return
        raise InputError(f"{where}: at_width maps width multipliers to channels, as {{0.5: 48, 1.0: 116}}; got {table}")
    if channels is not None and channels != "num_classes" and not _is_count(channels):
        raise InputError(
            f"{where}: channels must be a whole number of at least 1, num_classes or {{at_width: ...}}; got {channels!r}"
        )


def _parse_inputs(inputs: Any, where: str) -> tuple[int | str, ...]:
    ok = isinstance(inputs, list) and inputs
    if not ok or any(
        isinstance(i, bool) or not isinstance(i, str | int) or (isinstance(i, int) and i > -1) for i in inputs
    ):
        raise InputError(
            f"{where}: inputs lists names of layers, 'image', or -1, -2, ... for layers before; got {inputs!r}"
        )
    return tuple(inputs)


def assemble(
    settings: Mapping[str, Any], plans: Sequence[LayerPlan], where: str, *, open_width: bool = False
) -> Architecture:
    """The architecture of planned layers (the head last).

    Args:
        settings: the decided values beside `layers`: multipliers, divisor, resolution, in_channels, num_classes.
        plans: the layers.
        where: what to call the network in errors.
        open_width: whether the width multiplier was open, so that rounding applies at 1.0 too.
    """
    in_channels = _count_of(settings, "in_channels", where)
    resolution = _resolution(settings, where)
    nodes = _write_out(plans, _positive(settings, "depth_multiplier", where))
    widths = _widths(settings, open_width, where)
    channels = _channels(nodes, in_channels, settings, widths, where)
    layers = []
    for position, node in enumerate(nodes):
        into = tuple(channels[source] for source in node.sources)
        layers.append(
            Layer(
                node.plan.block,
                into[0] if len(into) == 1 else into,
                channels[position + 1],
                node.stride,
                _options(node.plan, widths),
                tuple(source - position - 1 for source in node.sources),
            )
        )
    return Architecture(in_channels, resolution, tuple(layers))


def _widths(settings: Mapping[str, Any], open_width: bool, where: str) -> Widths:
    divisor = settings.get("channel_divisor", 8)
    if not _is_count(divisor):
        raise InputError(f"{where}: channel_divisor must be a whole number of at least 1; got {divisor!r}")
    return Widths(_positive(settings, "width_multiplier", where), divisor, open_width)


def _options(plan: LayerPlan, widths: Widths) -> Options:
    """The block's options at this width, again without those that equal the default."""
    if not plan.by_width:
        return plan.options
    known = block_options(plan.block)
    options = options_at(plan.block, plan.options, widths, plan.width, plan.where)
    return tuple((name, value) for name, value in options if not _same(value, _plain(name, known[name])))


def _count_of(settings: Mapping[str, Any], key: str, where: str) -> int:
    value = settings.get(key)
    if value is None:
        raise InputError(f"{where}: {key} is missing; it comes from the data, or state `{key}:`")
    if not _is_count(value):
        raise InputError(f"{where}: {key} must be a whole number of at least 1; got {value!r}")
    return value


def _positive(settings: Mapping[str, Any], key: str, where: str) -> float:
    value = settings.get(key, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{where}: {key} must be a number above zero; got {value!r}")
    return value


def _resolution(settings: Mapping[str, Any], where: str) -> Size:
    """The native resolution times the multiplier, rounded."""
    native = settings.get("resolution")
    if native is None:
        raise InputError(f"{where}: resolution is missing; it comes from the data, or state `resolution:`")
    sides = native if isinstance(native, list | tuple) else (native, native)
    if len(sides) != 2 or not all(_is_count(side) for side in sides):
        raise InputError(f"{where}: resolution is one side in pixels or [height, width]; got {native!r}")
    multiplier = _positive(settings, "resolution_multiplier", where)
    height, width = (int(side * multiplier + 0.5) for side in sides)
    if min(height, width) < 1:
        raise InputError(f"{where}: resolution_multiplier {multiplier} leaves no pixel of {list(sides)}")
    return height, width


def _write_out(plans: Sequence[LayerPlan], depth_multiplier: float) -> list[_Node]:
    """Repetitions one by one: the stride applies to the first; the next ones read the one before."""
    nodes: list[_Node] = []
    named = {"image": 0}
    for plan in plans:
        repeat = 1 if plan.repeat is None else math.ceil(plan.repeat * depth_multiplier - 1e-9)
        for repetition in range(repeat):
            inputs = plan.inputs if repetition == 0 or len(plan.inputs) > 1 else (-1,)
            sources = tuple(_source(i, len(nodes), named, plan.where) for i in inputs)
            nodes.append(_Node(plan, plan.stride if repetition == 0 else 1, sources))
        if plan.name is not None:
            if plan.name in named:
                raise InputError(f"{plan.where}: the name '{plan.name}' is taken; each layer its own")
            named[plan.name] = len(nodes)
    return nodes


def _source(reference: int | str, position: int, named: Mapping[str, int], where: str) -> int:
    if isinstance(reference, str):
        if reference not in named:
            raise InputError(f"{where}: inputs name no layer before it: '{reference}'{did_you_mean(reference, named)}")
        return named[reference]
    # before the first layer there is only the image
    return max(0, position + 1 + reference)


def _channels(
    nodes: Sequence[_Node], in_channels: int, settings: Mapping[str, Any], widths: Widths, where: str
) -> list[int]:
    """Channels of every map: the image's, then each node's output."""
    needs = _needs(nodes)
    if in_channels % needs[0].multiple:
        raise InputError(
            f"{where}: the image's {in_channels} channels are not a multiple of {needs[0].multiple}, "
            f"as {', '.join(needs[0].who)} needs; start with a layer without groups"
        )
    channels = [in_channels]
    for node, need in zip(nodes, needs[1:], strict=True):
        plan = node.plan
        if plan.channels == "num_classes":
            channels.append(_count_of(settings, "num_classes", where))
        elif plan.channels is None:
            into = tuple(channels[source] for source in node.sources)
            channels.append(_made_of(plan, into[0] if len(into) == 1 else into))
        elif isinstance(plan.channels, Mapping):
            table = plan.channels["at_width"]
            channels.append(_divided(at_width(table, widths.multiplier, plan.where), need, plan))
        elif widths.multiplies(plan.width) or plan.open_channels:
            channels.append(widths.scale(plan.channels, plan.width, plan.where, need.multiple))
        else:
            channels.append(_divided(plan.channels, need, plan))
    return channels


def _needs(nodes: Sequence[_Node]) -> list[_Need]:
    """What must divide each map's channels, by the node that makes it and those that read it."""
    needs = [_Need() for _ in range(len(nodes) + 1)]
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        plan, own = node.plan, needs[position + 1]
        into, out = plan.multiples
        own.add(out, plan.open_block, plan.where)
        into = into if isinstance(into, tuple | list) else (into,)
        for source, multiple in zip(node.sources, into, strict=False):
            needs[source].add(multiple, plan.open_block, plan.where)
        if plan.channels is None:  # what it makes follows its inputs, so they must suit its readers
            for source in node.sources:
                needs[source].add(own.multiple, own.open, ", ".join(own.who))
    return needs


def _made_of(plan: LayerPlan, in_channels: int | tuple[int, ...]) -> int:
    rule = getattr(BLOCKS[plan.block], "default_out_channels", None)
    if rule is not None:
        return rule(in_channels, **plan.keywords)
    if not isinstance(in_channels, int):
        raise InputError(f"{plan.where}: block '{plan.block}' reads several inputs; state its channels")
    return in_channels


def _divided(channels: int, need: _Need, plan: LayerPlan) -> int:
    """A stated count: rounded where open groups ask for it, else it must fit as it is."""
    if channels % need.multiple == 0:
        return channels
    if need.open:
        return make_divisible(channels, need.multiple)
    below = channels // need.multiple * need.multiple
    nearest = " or ".join(str(c) for c in (below, below + need.multiple) if c)
    raise InputError(
        f"{plan.where}: {channels} channels are not a multiple of {need.multiple}, as {', '.join(need.who)} needs; "
        f"nearest: {nearest}"
    )
