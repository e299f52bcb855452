"""Names that people give to the parts of a data set: training, validation and test images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from search.data.files import listed, shown
from spaces.errors import InputError

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of each part, in lower case."""

WORDS = {"train": "training", "validation": "validation", "test": "test"}
"""The adjective of each part."""

SUFFIX = re.compile(r"[ _-]?(set|images|data|split)$")
"""Words that may follow the name, as in test_set."""


def part_of(name: str) -> str | None:
    """The part that a name stands for, in any case; None: it is no such name."""
    word = SUFFIX.sub("", name.casefold())
    return next((part for part, names in PARTS.items() if word in names), None)


def assign(names: Sequence[str], where: str) -> dict[str, str]:
    """The name of each part among names that all stand for one.

    Raises:
        InputError: two names for one part, or none for the training images.
    """
    taken: dict[str, str] = {}
    for name in names:
        part = part_of(name)
        assert part is not None
        if part in taken:
            raise InputError(
                f"{where} holds both '{taken[part]}' and '{name}' for the {WORDS[part]} images; remove or merge one"
            )
        taken[part] = name
    if "train" not in taken:
        raise InputError(
            f"{where} holds no training images, only {listed(names) or 'parts of other names'}; one part must be named train"
        )
    return taken


def in_words(taken: Mapping[str, str], where: str) -> str:
    """The sentence that says what was taken for what."""
    said = [f"{shown(taken[part])} as {WORDS[part]} images" for part in PARTS if part in taken]
    missing = [part for part in PARTS if part not in taken]
    rest = f"; {' and '.join(missing)} images are held out of the training images" if missing else ""
    return f"{where} comes in parts: {', '.join(said)}{rest}."
