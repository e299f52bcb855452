"""Numbers and decisions in words that fit a line."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping
from numbers import Real
from typing import Any

from search.objective.costs import BUILT_IN, Cost
from search.objective.reward import Objective

STATE_WORDS = {
    "complete": "complete",
    "stopped": "stopped early",
    "failed": "failed",
    "infeasible": "outside the limits",
    "running": "running",
    "waiting": "waiting",
    "duplicate": "seen before",
}
"""How a trial's state is called where a person reads it, and what it is called where it repeats another."""

_PREFIXES = (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
_MAX_VALUE = 60


def is_missing(value: Any) -> bool:
    """Whether a cell of the table is empty: None, NaN, or pandas' NA."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, Real) and bool(value != value))
    )


def readable(value: float) -> str:
    """A count with three significant digits and its prefix: 512, 45.2 k, 1.23 M. "-" where it is missing."""
    if is_missing(value):
        return "-"
    value = float(value)
    if abs(value) < 999.5:
        return f"{value:.0f}" if value == round(value) else f"{value:.3g}"
    prefix, scale = next((pair for pair in _PREFIXES if abs(value) < 999.5 * pair[1]), _PREFIXES[-1])
    scaled = value / scale
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f} {prefix}"


def readable_number(cost: Cost, value: float) -> str:
    """A cost without its unit: a count with its prefix, 1.23 M; any other with three significant digits, 0.52."""
    if cost.is_count or is_missing(value):
        return readable(value)
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def readable_cost(cost: Cost, value: float) -> str:
    """A cost with its unit: "1.23 M FLOPs", "0.52 ms"."""
    return f"{readable_number(cost, value)} {cost.unit}"


def percent(fraction: float) -> str:
    """An accuracy: "96.38%"; "-" where it is missing."""
    return "-" if is_missing(fraction) else f"{100 * float(fraction):.2f}%"


def duration(seconds: float) -> str:
    """A length of time: "0:07", "12:34", "1:02:03"."""
    total = max(0, round(seconds))
    hours, minutes = divmod(total // 60, 60)
    return f"{hours}:{minutes:02}:{total % 60:02}" if hours else f"{minutes}:{total % 60:02}"


def plain_value(value: Any) -> str:
    """A decision's value on one line, cut where it is very long."""
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"


def describe_objective(objective: Objective, costs: Mapping[str, Cost] = BUILT_IN) -> str:
    """One line: the reward, its targets, its exponents and its limits."""
    cost, target = objective.cost, objective.target
    if target is None:
        targets = "targets over the range of the space"
    elif isinstance(target, tuple):
        targets = f"targets {readable_number(costs[cost], target[0])} to {readable_number(costs[cost], target[1])}"
    else:
        targets = f"target {readable_number(costs[cost], target)}"
    beta = "−∞" if objective.beta == -math.inf else f"{objective.beta:g}"
    limits = [f"at most {readable_cost(costs[name], limit)}" for name, limit in objective.limits.items()]
    parts = [
        f"MnasNet reward over {costs[cost].unit}",
        targets,
        f"alpha {objective.alpha:g}, beta {beta}",
        *limits,
    ]
    return " · ".join(parts)


def group_decisions(decisions: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Decisions by the part of the network they belong to, with short names; inactive ones are left out.

    "layers.1.block.shuffle_agg.groups" becomes "groups" of "layers.1", unless another decision there ends the same:
    those keep the rest of their names. Names without a dot belong to "".
    """
    members: dict[str, list[tuple[str, Any]]] = {"": []}
    for name, value in decisions.items():
        if is_missing(value):
            continue
        parts = name.split(".")
        depth = 2 if parts[0] == "layers" and len(parts) > 2 else 1 if len(parts) > 1 else 0
        members.setdefault(".".join(parts[:depth]), []).append((".".join(parts[depth:]), value))
    groups: dict[str, dict[str, str]] = {}
    for group, pairs in members.items():
        leaves = Counter(rest.rpartition(".")[2] for rest, _ in pairs)
        named = ((rest if leaves[rest.rpartition(".")[2]] > 1 else rest.rpartition(".")[2], v) for rest, v in pairs)
        groups[group] = {name: plain_value(value) for name, value in named}
    return {group: pairs for group, pairs in groups.items() if pairs}


def decision_text(group: str, pairs: Mapping[str, str], between: str = " ") -> str:
    """One group of decisions: "layers.1: shuffle_agg, groups 4". A block's name says by itself what it is."""
    listed = ", ".join(value if name == "block" else f"{name}{between}{value}" for name, value in pairs.items())
    return f"{group}: {listed}" if group else listed


def decision_lines(decisions: Mapping[str, Any], width: int = 46) -> list[str]:
    """Decisions as lines of bounded width, a group beginning a line and its further lines indented."""
    lines: list[str] = []
    for group, pairs in group_decisions(decisions).items():
        # A name stays with its value: textwrap does not break at a no-break space.
        joined = {unbroken(name): unbroken(value) for name, value in pairs.items()}
        text = decision_text(group, joined, between="\u00a0")
        lines += [line.replace("\u00a0", " ") for line in textwrap.wrap(text, width, subsequent_indent="   ")]
    return lines


def unbroken(text: str) -> str:
    """The text with no-break spaces, to stay on one line."""
    return text.replace(" ", "\u00a0")
