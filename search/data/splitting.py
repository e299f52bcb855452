"""Splits the rows of a table into training, validation and test images: class by class, always in the same way."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from search.data.table import Table
from spaces.errors import InputError

SPLIT_SEED = 20_230_101
"""Fixes which images are held out, for all studies: results stay comparable whatever the study's own seed."""


def split_rows(table: Table, settings: Mapping[str, Any], ready_made: Container[str]) -> dict[str, np.ndarray]:
    """Rows of "train" and of the parts "test" and "validation" that are not ready-made; each in the table's order."""
    train, rows = np.arange(len(table.labels)), {}
    for part in ("test", "validation"):
        if part not in ready_made:
            train, rows[part] = _hold_out(table, train, settings[part], part)
    limit = settings["limit"]
    if limit is not None and limit < len(train):
        if limit < len(table.class_names):
            raise InputError(
                f"data.limit is {limit}, fewer than the {len(table.class_names)} classes of {table.origin}"
            )
        train = _take(table, train, limit)
    rows["train"] = train
    return rows


def _hold_out(table: Table, rows: np.ndarray, share: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) rows: the share of every class, to the nearest image, and at least one."""
    generator = np.random.default_rng(SPLIT_SEED)
    kept, held = [], []
    for label, class_name in enumerate(table.class_names):
        own = generator.permutation(rows[table.labels[rows] == label])
        count = max(1, round(share * len(own)))
        if count >= len(own):
            raise InputError(
                f"data.{name} is {share}, which leaves class '{class_name}' of {table.origin} empty ({len(own)} images to split);"
                f" add images or lower it"
            )
        held.append(own[:count])
        kept.append(own[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def _take(table: Table, rows: np.ndarray, limit: int) -> np.ndarray:
    """`limit` rows with the classes in proportion and none missing; a lower limit takes a subset."""
    generator = np.random.default_rng(SPLIT_SEED)
    labels = table.labels[rows]
    # every class in an order of its own, its j-th of m images placed at (j + 1/2) / m: any beginning holds all in proportion
    place = np.empty(len(rows))
    for label in range(len(table.class_names)):
        own = generator.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[0]] = 0
    return np.sort(rows[np.argsort(place, kind="stable")[:limit]])
