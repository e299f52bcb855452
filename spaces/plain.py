"""Plain data from what a user wrote: YAML files, and references between the values of a description.

Everything here is bounded, since a file may come from anywhere: its bytes, how deep it nests, how many values it holds once its
aliases and references are written out, and its numbers. Data within the limits goes through all other code in seconds.
"""

from __future__ import annotations

import copy
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from spaces.errors import InputError

MAX_BYTES = 1_000_000
"""Size of a file, and of all texts that references compose; the largest network of the literature takes 12 kB."""
MAX_NODES = 40_000
"""Values and keys, aliases and references written out; the largest space of this project has 1,801."""
MAX_DEPTH = 50
"""Lists and mappings inside each other; this project's files reach 11. OmegaConf runs out of Python's stack near 90."""
MAX_REFERENCING = 1000
"""Characters of a text that holds a reference, whose grammar Hydra and OmegaConf take long over."""
MAX_INTEGER = 2**63 - 1
"""The largest whole number that NumPy, PyTorch and SQLite take."""
_MAX_DIGITS = 100
"""Characters of a number: Python takes quadratic time to read one of many digits."""

_REFERENCE = re.compile(r"(?<!\\)(\\*)\$\{(?:\s*(\.*)([\w\[-][\w.\[\]-]*)\s*\})?")
"""Backslashes and `${name.of.value}`; without a name where it is anything else, such as a resolver."""

_Place = tuple[Any, ...]
"""The keys that lead to a value, outside in."""


class _Loader(get_yaml_loader()):  # type: ignore[misc]
    """OmegaConf's own reader of YAML, which stops where a limit is exceeded and not after the memory is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._num_nodes = 0
        self._sizes: dict[str, int] = {}
        """The written-out nodes of every anchor that is complete."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        before = self._num_nodes
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _refusal(event, f"the alias *{event.anchor} stands inside what it refers to")
            self._num_nodes += self._sizes.get(str(event.anchor), 0)
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise _refusal(event, f"more than {MAX_NODES:,} values, aliases written out, are too many")
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:  # the innermost one is a scalar
            raise _refusal(event, f"lists and mappings may stand {MAX_DEPTH} deep inside each other, not more")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            self._sizes[event.anchor] = self._num_nodes - before
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if node.tag.endswith((":int", ":float")) and len(node.value) > _MAX_DIGITS:
            raise _refusal(node, f"a number of {len(node.value):,} characters is too long; {_MAX_DIGITS} are the most")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        # OmegaConf finds texts given twice; 1 and 1.0 are one key as well
        scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")]
        seen = set()
        for key in scalars:
            value = self.construct_object(key)
            if value in seen:
                raise _refusal(key, f"found duplicate key {key.value}")
            seen.add(value)
        return super().construct_mapping(node, deep=deep)


def _refusal(place: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file's mapping as plain data, its references unresolved.

    Raises:
        InputError: the file is missing, no regular file, not UTF-8, not YAML, not a mapping, or beyond a limit.
    """
    text = _read(Path(path))
    try:
        loader = _Loader(text)
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not a readable YAML file: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # PyYAML's words for a tag that does not suit its value, as `!!int three`
        raise InputError(f"{path}: not a readable YAML file: a tag does not suit its value ({error})") from error
    if data is None:
        raise InputError(f"{path}: not a readable YAML file: it is empty; a mapping is needed, as `layers: [...]`")
    if not isinstance(data, dict):
        kind = "list" if isinstance(data, list) else "single value"
        raise InputError(f"{path}: not a readable YAML file: a mapping is needed, as `layers: [...]`; got a {kind}")
    try:
        check_plain(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return data


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        data = b""
        if stat.S_ISREG(mode):  # a pipe would be waited for
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except OSError as error:
        raise InputError(f"{path}: not a readable YAML file: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{str(path)!r}: not a readable YAML file: {error}") from error
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: a YAML file is needed; this is a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}"
        )
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: the file is larger than {MAX_BYTES:,} bytes, the most that a YAML file may have")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a readable YAML file: byte {error.start} is not UTF-8 ({error.reason}); save it as UTF-8 text"
        ) from error


def check_plain(data: Any, where: str = "") -> None:
    """Refuses what is not plain data, and what is larger than any code here would go through in seconds.

    Args:
        data: nested lists and mappings, which may share parts.
        where: the dotted key of `data`.

    Raises:
        InputError: a value that no config has, a whole number beyond 64 bits, or a limit that is exceeded.
    """
    waiting: list[tuple[str, Any, int]] = [(where, data, 0)]
    num_nodes = 0
    while waiting:
        place, value, depth = waiting.pop()
        num_nodes += 1
        if isinstance(value, dict | list | tuple):
            num_nodes += len(value) if isinstance(value, dict) else 0
            if depth == MAX_DEPTH:
                raise InputError(f"{place}: lists and mappings may stand {MAX_DEPTH} deep inside each other, not more")
            if num_nodes + len(value) > MAX_NODES:
                raise InputError(f"{place or 'top level'}: more than {MAX_NODES:,} values are too many")
            waiting += [
                (f"{place}.{key}" if place else str(key), inner, depth + 1) for key, inner in _items(value, place)
            ]
        elif isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise InputError(f"{place}: a whole number beyond 64 bits ({value.bit_length()}) is too large")
        elif isinstance(value, str):
            if "${" in value and len(value) > MAX_REFERENCING:
                raise InputError(f"{place}: a text with ${{...}} in it has {MAX_REFERENCING:,} characters at most")
        elif not isinstance(value, float | None):
            raise InputError(
                f"{place} cannot be of the type {type(value).__name__}: "
                "a value is a text, a number, true, false, null, a list or a mapping"
            )


def _items(value: dict[Any, Any] | list[Any] | tuple[Any, ...], where: str) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, dict):
        yield from enumerate(value)
        return
    for key, inner in value.items():
        if not isinstance(key, str | float | int) or (isinstance(key, int) and abs(key) > MAX_INTEGER):
            raise InputError(
                f"{where or 'top level'}: a key is a text or a number, not of the type {type(key).__name__}"
            )
        yield key, inner


def resolve(root: dict[str, Any]) -> dict[str, Any]:
    """The data with every reference replaced by a copy of the value that it names.

    `${name.of.a.value}` counts from the root, `${.name}` from the mapping or list around the text, one further out for each
    more dot; `\\${` is no reference. Resolvers, which could read the environment or run code, do not exist.

    Raises:
        InputError: a reference that is more than a name, leads nowhere or in a circle, or writes out more than the limits allow.
    """
    return _References(root).resolved(())


class _References:
    """The values of one description, each resolved once."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._done: dict[_Place, Any] = {}
        self._open: dict[_Place, None] = {}
        """The places that hold a reference and are being resolved, outside in."""
        self._num_copied = 0
        self._length = 0

    def resolved(self, path: _Place) -> Any:
        """The resolved value at a place."""
        if path not in self._done:
            value = self._raw(path)
            if isinstance(value, dict):
                self._done[path] = {key: self.resolved((*path, key)) for key in value}
            elif isinstance(value, list | tuple):
                self._done[path] = [self.resolved((*path, i)) for i in range(len(value))]
            else:
                self._done[path] = self._text(value, path) if isinstance(value, str) and "${" in value else value
        return self._done[path]

    def _raw(self, path: _Place) -> Any:
        node: Any = self._root
        for part in path:
            node = node[part]
        return node

    def _text(self, text: str, path: _Place) -> Any:
        """What stands for a text with references in it: the value itself where one reference is all of the text."""
        where = ".".join(map(str, path))
        if path in self._open:
            raise InputError(f"{where}: references ${{...}} lead in a circle: {text!r}")
        if len(self._open) == MAX_DEPTH:
            raise InputError(f"{where}: references ${{...}} lead over more than {MAX_DEPTH} others")
        self._open[path] = None
        parts: list[str] = []
        position = 0
        for match in _REFERENCE.finditer(text):
            backslashes = match[1]
            parts += [text[position : match.start()], "\\" * (len(backslashes) // 2)]
            position = match.end()
            if len(backslashes) % 2:
                parts.append(match[0][len(backslashes) :])
                continue
            value = self._named(match, text, path, where)
            if match[0] == text and not backslashes:
                del self._open[path]
                return self._copy(value, where)
            parts.append(str(value))
            self._length += len(parts[-1])
            if self._length > MAX_BYTES:
                raise InputError(f"{where}: references ${{...}} write out more than {MAX_BYTES:,} characters")
        del self._open[path]
        return "".join([*parts, text[position:]])

    def _copy(self, value: Any, where: str) -> Any:
        self._num_copied += _num_nodes(value)
        if self._num_copied > MAX_NODES:
            raise InputError(f"{where}: references ${{...}} write out more than {MAX_NODES:,} values")
        return copy.deepcopy(value)

    def _named(self, match: re.Match[str], text: str, path: _Place, where: str) -> Any:
        if match[3] is None:
            raise InputError(
                f"{where}: {text!r} is not allowed; an interpolation names another value, as ${{name.of.value}}, "
                "and \\${ is no interpolation"
            )
        up = len(match[2])
        if up > len(path):
            raise InputError(f"{where}: a reference leads nowhere: {match[0]} counts more dots than there are places")
        place = path[:-up] if up else ()
        node, is_resolved = self._raw(place), False
        for part in re.findall(r"[^.\[\]]+", match[3]):
            if isinstance(node, str) and not is_resolved:  # itself a reference, perhaps
                node, is_resolved = self.resolved(place), True
            key = _key(node, part)
            if key is None:
                raise InputError(f"{where}: a reference leads nowhere: {match[0]}")
            place, node = (*place, key), node[key]
        return node if is_resolved else self.resolved(place)


def _key(node: Any, part: str) -> str | int | None:
    if isinstance(node, dict):
        return part if part in node else None
    return int(part) if isinstance(node, list | tuple) and part.isdecimal() and int(part) < len(node) else None


def _num_nodes(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + sum(map(_num_nodes, value.values() if isinstance(value, dict) else value))
    return 1
