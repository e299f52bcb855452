"""Names all broken images at once, where the first one that is met would end a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from search.data.table import REMEDY, BrokenImageError, Rows, Table
from spaces.errors import InputError

MAX_BROKEN = 10
"""Broken images that one error names."""

MAX_CHECKED = 20_000
"""Images that are decoded to find further broken ones once there is one."""


@contextmanager
def naming_broken(parts: Sequence[tuple[Table, Rows]]) -> Iterator[None]:
    """Turns the error at one broken image into an error that names several.

    Args:
        parts: the images among which others may be broken. At most `MAX_CHECKED` are decoded, until `MAX_BROKEN` are found.

    Raises:
        InputError: names all broken images that were found.
    """
    try:
        yield
    except BrokenImageError as error:
        broken = [str(error)]
        for number, found in enumerate(_all_broken(parts)):
            if found is not None and found not in broken:
                broken.append(found)
            if number >= MAX_CHECKED or len(broken) == MAX_BROKEN:
                break
        if len(broken) == 1:
            raise
        reasons = "; ".join(message.removesuffix(REMEDY) for message in broken)
        raise InputError(f"{reasons}; repair or remove them") from error


def _all_broken(parts: Sequence[tuple[Table, Rows]]) -> Iterator[str | None]:
    """The error of each image in turn; None where it is sound."""
    for table, rows in parts:
        for row in rows:
            try:
                next(table.examine([int(row)], lambda picture: picture.load()))
            except BrokenImageError as error:
                yield str(error)
            else:
                yield None
