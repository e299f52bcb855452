"""What a user types after a command: read by Hydra's override grammar, applied to plain data, and told in a name.

Hydra would merge a given mapping into the one that stands there, so that `{int: [1, 3]}` given over `{choice: [1, 2]}`
left both. Here Hydra only reads the text; a value is then put in place of the old one, whole.
"""

import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.core.override_parser.types import Quote, QuotedString, RangeSweep, ValueType
from hydra.errors import HydraException

from search.system.secrets import hide_password
from spaces.errors import InputError, did_you_mean
from spaces.plain import MAX_DEPTH

OPEN_GROUPS = frozenset({"space", "train", "network"})
"""Groups whose files need not state every key: their own readers know the valid ones and check them."""

PATH_KEYS = (
    "results_dir",
    "data.path",
    "device.table",
    "architecture",
    "folder",
    "output",
    "page",
    "bundle",
    "measured",
)
"""Keys that hold a path: relative ones are meant from the current directory and made absolute."""

PATH_LISTS = ("enqueue", "warm_start")
"""Keys that hold a list of names and paths."""

TEXT_KEYS = frozenset({"study", *PATH_KEYS})
"""Keys whose value is one text: every character of it stands for itself."""

TEXT_LISTS = frozenset({"studies", *PATH_LISTS})
"""Keys whose value is a list of such texts."""

MAX_JOBS = 1000
"""The most jobs that a sweep may have."""

LIMIT = "max_"
"""Limits on costs: beside one, others may be given, of a user's own costs. Their readers know the valid ones and check them."""

_NOT_IN_NAME = frozenset(
    {"trials", "workers", "backend", "storage", "confirm", "results_dir", "study", "tracker", "imports"}
)
_MAX_NAME = 100
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_GRAMMAR_CHARACTERS = re.compile(r"[A-Za-z0-9_\-./\\+$%*@?|:\s]*")


@dataclass(frozen=True)
class Override:
    """One thing given on the command line: a value for a key, or the option of a group."""

    text: str
    """As the user typed it, a password hidden."""
    key: str
    """Dotted path (`space.layers.1.repeat`) or name of a group."""
    value: Any
    """Plain data; None for a deletion."""
    added: bool = False
    """Given with `+`: the key may be new everywhere."""
    deleted: bool = False
    """Given with `~`: the key goes."""

    @property
    def path(self) -> list[str]:
        """The key's parts, outside in."""
        return self.key.split(".")


def read_jobs(arguments: Iterable[str], groups: Mapping[str, Sequence[str]], sweep: bool) -> list[list[Override]]:
    """The overrides of every job: one job, or the product of all values swept over.

    Args:
        arguments: as typed.
        groups: options by config group, for `space=glob(*)`.
        sweep: whether several values for a key are allowed.

    Raises:
        InputError: an argument that the grammar refuses; several values without a sweep.
    """
    alternatives: dict[str, list[Override]] = {}
    for argument in arguments:
        found = None if sweep else _as_written(argument)
        several = [found] if found else _alternatives(_parse(argument), argument, groups, sweep)
        key = several[0].key
        # A key given twice: the later one counts, at the later place.
        alternatives.pop(key, None)
        alternatives[key] = several
    num_jobs = math.prod(map(len, alternatives.values()))
    if num_jobs > MAX_JOBS:
        raise InputError(f"-m: {num_jobs:,} jobs are too many; a sweep has {MAX_JOBS:,} at most")
    return [list(job) for job in itertools.product(*alternatives.values())]


def apply(config: dict[str, Any], override: Override) -> None:
    """Put the override's value into `config`, in place of whatever stands there.

    Raises:
        InputError: a key that does not exist (in an open group only what lies beyond lists and scalars can be missing).
    """
    path = override.path
    grows = override.added or path[0] in OPEN_GROUPS
    node: Any = config
    for depth, part in enumerate(path[:-1]):
        key = _key(node, part, path[:depth], override, may_be_new=grows and depth > 0 and not override.deleted)
        if isinstance(node, dict) and key not in node:
            node[key] = {}
        node = node[key]
    grows = grows or _is_further_limit(path[-1], node)
    last = _key(node, path[-1], path[:-1], override, may_be_new=grows and not override.deleted)
    if override.deleted:
        del node[last]
    else:
        # A copy: a later override may reach into it, and other jobs of a sweep hold the same one.
        node[last] = copy.deepcopy(override.value)


def _is_further_limit(key: str, node: Any) -> bool:
    """Whether the key is a limit beside others."""
    return key.startswith(LIMIT) and isinstance(node, dict) and any(str(other).startswith(LIMIT) for other in node)


def default_study_name(space: str, data: str, overrides: Iterable[Override]) -> str:
    """`<space>-<data>` and the overrides that define the study, in the order of their keys.

    What does not change the study's outcome (how many trials, where they run, where they are kept) is left out. Where
    a value cannot be shown as it is, or the name grows too long, eight digits of a hash of the exact values end it.
    """
    kept: dict[str, Any] = {}
    for override in overrides:
        root = override.path[0]
        if root in _NOT_IN_NAME or override.key in ("space", "data", "data.path", "device.budget_s"):
            continue
        # A value given whole takes back what was given inside it before.
        for earlier in [key for key in kept if f"{key.lstrip('~')}.".startswith(f"{override.key}.")]:
            del kept[earlier]
        kept[f"~{override.key}" if override.deleted else override.key] = override.value
    pairs = sorted(kept.items())
    text = f"{space}-{data}" + "".join(f"-{key}={_brief(value)}" for key, value in pairs)
    names = [space, data, *kept]
    if len(text) <= _MAX_NAME and all(map(_is_word, names)) and all(map(_is_shown_exactly, kept.values())):
        return text
    exact = json.dumps([space, data, [[key, _ordered(value)] for key, value in pairs]], default=str)
    digest = hashlib.sha256(exact.encode()).hexdigest()[:8]
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "_", text).lstrip(".")
    return f"{safe[:_MAX_NAME].rstrip('._-')}-{digest}"


def check_study_name(name: object) -> str:
    """The name as it was given, when it is the name of one folder inside the results folder.

    Raises:
        InputError: anything that is empty, hidden, too long for a file system, or leads elsewhere.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"study={name!r}: a study's name must be a text that is not empty")
    if name.startswith(".") or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(name.encode()) > 200:
        raise InputError(
            f"study={name!r}: a study's name is the name of one folder: no '/', '\\' or control characters, "
            "no '.' at its start, at most 200 bytes"
        )
    return name


def _as_written(argument: str) -> Override | None:
    """The override of a key that takes a text or a list of texts; None for any other key.

    Hydra's grammar has no place for brackets, braces, quotes or commas in a word, and paths hold all of them.
    """
    match = re.fullmatch(r"(\+{0,2})([\w.]+)=(.*)", argument, re.DOTALL)
    if match is None or match[2] not in TEXT_KEYS | TEXT_LISTS:
        return None
    key, text = match[2], match[3]
    value: Any = _unquoted(text)
    if text.lower() == "null":
        value = None
    elif key in TEXT_LISTS and text.startswith("[") and text.endswith("]"):
        value = _items(text[1:-1])
    return Override(hide_password(argument), key, value, added=bool(match[1]))


def _items(text: str) -> list[str]:
    """The items between commas; one that holds a comma stands in quotes."""
    items: list[str] = []
    rest = text.strip()
    while rest:
        quoted = _QUOTED.match(rest)
        after = rest[quoted.end() :].lstrip() if quoted else ""
        if quoted and after[:1] in ("", ","):
            item, rest = quoted[0], after[1:]
        else:
            item, _, rest = rest.partition(",")
        items.append(_unquoted(item.strip()))
        rest = rest.lstrip()
    return items


def _unquoted(text: str) -> str:
    """The text itself, or what stands between the quotes around it."""
    if not _QUOTED.fullmatch(text):
        return text
    try:
        value = OverridesParser.create().parse_override(f"x={text}").value()
    except HydraException:
        return text
    return value if isinstance(value, str) else text


def _check_nesting(argument: str, shown: str) -> None:
    """Refuses what Hydra's grammar, which descends by recursion, would lose itself in."""
    depth = 0
    for character in argument:
        depth += (character in "[{(") - (character in "]})")
        if depth > MAX_DEPTH:
            raise InputError(
                f"'{shown[:60]}...': lists and mappings may stand {MAX_DEPTH} deep inside each other, not more"
            )


def _parse(argument: str) -> HydraOverride:
    """Read one argument, with and then without the help of quotes around its plain words."""
    shown = hide_password(argument)
    _check_nesting(argument, shown)
    if "=" not in argument and not argument.startswith("~"):
        raise InputError(f"'{shown}' is not a setting: a setting is written key=value, as in trials=40")
    parser = OverridesParser.create()
    try:
        return parser.parse_override(argument)
    except HydraException as first_error:
        try:
            return parser.parse_override(_quote_words(argument))
        except HydraException:
            if (written := _as_written(argument)) is not None and isinstance(written.value, str):
                return parser.parse_override(f"{written.key}={QuotedString(written.value, Quote.single).with_quotes()}")
            reason = hide_password(" ".join(str(first_error).split()))
            raise InputError(
                f"cannot read '{shown}' ({reason}); a setting is key=value, and a list or mapping stands in single "
                "quotes, as in 'space.width_multiplier={choice: [0.5, 1.0]}'"
            ) from first_error
    except ValueError as error:  # a whole number of more digits than Python reads
        raise InputError(f"'{shown[:60]}...': a number of that many digits is too long") from error


def _quote_words(argument: str) -> str:
    """Quote the words that hold characters the grammar has no place for, such as `=` in a study's name or `é`."""
    key, equals, value = argument.partition("=")
    if key.lstrip("+") == "storage" and re.match(r"[\w+]+://", value):  # a URL may hold brackets and commas
        return key + equals + QuotedString(value, Quote.single).with_quotes()
    if "'" in value or '"' in value:
        return argument

    def quoted(match: re.Match[str]) -> str:
        word = match[0].strip()
        if _GRAMMAR_CHARACTERS.fullmatch(word):
            return match[0]
        return QuotedString(word, Quote.single).with_quotes()

    return key + equals + re.sub(r"[^,\[\]{}()]+", quoted, value)


def _alternatives(
    parsed: HydraOverride, argument: str, groups: Mapping[str, Sequence[str]], sweep: bool
) -> list[Override]:
    if not parsed.is_sweep_override():
        return [_plain(parsed, argument)]
    shown = hide_password(argument)
    if not (parsed.is_discrete_sweep() or parsed.value_type is ValueType.GLOB_CHOICE_SWEEP):
        raise InputError(f"'{shown}': an interval has no end of values; sweep with range(...) or choice(...)")
    if not sweep:
        raise InputError(
            f"'{shown}' gives several values: add -m for one study of each, or write a list in brackets, "
            f"'{parsed.key_or_group}=[...]'"
        )
    prefix = parsed.get_key_element()
    if parsed.value_type is ValueType.GLOB_CHOICE_SWEEP:
        pattern: Any = parsed.value()
        texts = pattern.filter(list(groups.get(parsed.key_or_group, ())))
    else:
        try:
            texts = list(itertools.islice(_sweep_texts(parsed), MAX_JOBS + 1))
        except (ArithmeticError, HydraException, ValueError) as error:
            raise InputError(f"'{shown}': {error}") from error
    if not texts:
        raise InputError(f"'{shown}' sweeps over nothing")
    return [_plain(_parse(f"{prefix}={text}"), f"{prefix}={text}") for text in texts]


def _sweep_texts(parsed: HydraOverride) -> Iterable[str]:
    """The values of a sweep as texts.

    Raises:
        ValueError: a range of more values than a sweep may have, which Hydra would list before it shuffles them.
    """
    value: Any = parsed.value()
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        if not abs(value.stop - value.start) <= MAX_JOBS * abs(value.step):
            raise ValueError(f"a range of so many values is too long; a sweep has {MAX_JOBS:,} jobs at most")
    return parsed.sweep_string_iterator()


def _plain(parsed: HydraOverride, text: str) -> Override:
    shown = hide_password(text)
    if parsed.package is not None or "/" in parsed.key_or_group or not parsed.key_or_group:
        raise InputError(f"'{shown}': '{parsed.get_key_element()}' is not a key; keys are names joined by dots")
    value = parsed.value()
    if parsed.key_or_group in TEXT_KEYS | {"storage"} and isinstance(value, int | float):
        value = parsed.get_value_string()
    added = parsed.is_add() or parsed.is_force_add()
    return Override(shown, parsed.key_or_group, value, added=added, deleted=parsed.is_delete())


def _key(node: Any, part: str, above: Sequence[str], override: Override, may_be_new: bool) -> Any:
    """The index or key by which `node` holds `part`."""
    where = ".".join(above)
    if isinstance(node, list):
        if not part.isdecimal() or len(part) > 9 or int(part) >= len(node):
            last = f"0 to {len(node) - 1}" if node else "it is empty"
            raise InputError(f"'{override.text}': {where} is a list and has no element '{part}' ({last})")
        return int(part)
    if not isinstance(node, dict):
        raise InputError(f"'{override.text}': {where} is {node!r} and holds nothing named '{part}'")
    same = [key for key in node if str(key) == part]
    if not same and not may_be_new:
        place = f"{where} has no key '{part}'" if where else f"there is no setting '{part}'"
        raise InputError(f"'{override.text}': {place}{did_you_mean(part, node)}")
    return same[0] if same else part


def _is_word(text: str) -> bool:
    # Lower case only: two names that differ by case alone are one folder on some file systems.
    return re.fullmatch(r"[a-z0-9_.]+", text) is not None and not text.startswith(".")


def _is_shown_exactly(value: Any) -> bool:
    """Whether the brief text stands for this value and no other, beside other overrides joined by '-'."""
    if isinstance(value, str):
        return re.fullmatch(r"[a-z][a-z0-9_.]*", value) is not None and value not in ("null", "true", "false")
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _ordered(value: Any) -> Any:
    """The value as lists, its mappings in the order of their keys: one text for one value."""
    if isinstance(value, dict):
        return {"mapping": sorted([str(key), _ordered(inner)] for key, inner in value.items())}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "_".join(f"{key}_{_brief(inner)}" for key, inner in sorted(value.items(), key=str))
    if isinstance(value, list):
        return "_".join(map(_brief, value))
    return value if isinstance(value, str) else json.dumps(value)
