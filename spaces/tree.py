"""A description with open values as a tree: what is to be decided, in which order, and what follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from spaces.errors import InputError
from spaces.values import Choice, Decision, Domain, Value


class Fixed:
    """A part in which nothing is open."""

    opens: tuple[Open, ...] = ()

    def __init__(self, data: Any) -> None:
        self.data = data

    def fill(self, decided: dict[str, Value]) -> Any:
        """The data as written."""
        return self.data


class Container:
    """A mapping or a list, some parts of which are open."""

    def __init__(self, children: dict[Any, Part], *, is_list: bool) -> None:
        self.children = children
        self.is_list = is_list
        self.opens: tuple[Open, ...] = tuple(o for child in children.values() for o in child.opens)
        """Its open values, in order; those inside their options come after the option was chosen."""

    def fill(self, decided: dict[str, Value]) -> Any:
        """Plain data with every open value decided."""
        filled = {key: child.fill(decided) for key, child in self.children.items()}
        return list(filled.values()) if self.is_list else filled


class Open:
    """An open value; all open values of one name are one object."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.options: dict[Value, Part] = {}
        """Of a choice: what each label stands for."""
        self.opens = (self,)

    def fill(self, decided: dict[str, Value]) -> Any:
        """The decided value."""
        value = decided[self.decision.name]
        return self.options[value].fill(decided) if self.options else value

    def inside(self, value: Value) -> tuple[Open, ...]:
        """The open values that exist once `value` is chosen."""
        return self.options[value].opens if self.options else ()


Part = Fixed | Container | Open


def compile_tree(data: Any, path: str, known: dict[str, Open]) -> Part:
    """The tree of parsed data.

    Args:
        data: as `values.parse_tree` gives it.
        path: where it stands in the description, which names its decisions.
        known: the open values by name; those of `data` are added.

    Raises:
        InputError: open values of one name differ.
    """
    if isinstance(data, Domain):
        return _compile_open(data, path, known)
    if not isinstance(data, dict | list):
        return Fixed(data)
    items = data.items() if isinstance(data, dict) else enumerate(data)
    children = {key: compile_tree(value, f"{path}.{key}" if path else str(key), known) for key, value in items}
    container = Container(children, is_list=isinstance(data, list))
    return container if container.opens else Fixed(data)


def _compile_open(domain: Domain, path: str, known: dict[str, Open]) -> Open:
    name = domain.name or path
    if name in known:
        first = known[name].decision.domain
        if first != domain:
            raise InputError(f"{path}: values tied by the name '{name}' differ: {domain}; before: {first}")
        return known[name]
    opened = known[name] = Open(Decision(name, domain))
    if isinstance(domain, Choice):
        for label, option in zip(domain.labels, domain.options, strict=True):
            opened.options[label] = _compile_option(option, f"{name}.{label}", known)
    return opened


def _compile_option(option: Any, path: str, known: dict[str, Open]) -> Part:
    """As `compile_tree`; the options of a block follow its name, which is the label already."""
    if isinstance(option, dict) and len(option) == 1:
        ((block, options),) = option.items()
        if isinstance(options, dict):
            inner = compile_tree(options, path, known)
            return Container({block: inner}, is_list=False) if inner.opens else Fixed(option)
    return compile_tree(option, path, known)


Ways = Counter[frozenset[Open]]
"""For each set of tied values that occur: in how many ways the others can be decided."""


def count_decisions(parts: Iterable[Part]) -> float:
    """Number of different sets of decisions, each tied value counted once wherever it occurs; inf where a real number is open."""
    together = _count_together(opened for part in parts for opened in part.opens)
    pending = [(tied, frozenset[Open](), ways) for tied, ways in together.items()]
    total: float = 0
    while pending:
        tied, done, ways = pending.pop()
        if tied == done:
            total += ways
            continue
        value = next(iter(tied - done))
        pending += [(tied | more, done | {value}, ways * times) for more, times in _count_inside(value).items()]
    return total


def _count_together(opens: Iterable[Open]) -> Ways:
    total: Ways = Counter({frozenset(): 1})
    for opened in opens:
        ways = _count_inside(opened) if opened.decision.domain.name is None else Counter({frozenset([opened]): 1})
        grown: Ways = Counter()
        for left, a in total.items():
            for right, b in ways.items():
                grown[left | right] += a * b
        total = grown
    return total


def _count_inside(opened: Open) -> Ways:
    """The ways to decide the value and what its options hold."""
    if not opened.options:
        return Counter({frozenset(): opened.decision.domain.num_values})
    total: Ways = Counter()
    for option in opened.options.values():
        total.update(_count_together(option.opens))
    return total
