"""Finds the image and the label column of a table, and turns labels into classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from search.data.files import listed
from spaces.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

MAX_CLASSES = 100_000
"""More than any image data set has; a greater label is a mistake, found before memory is asked for."""


class Columns(NamedTuple):
    """The names of the image and the label column."""

    image: str
    label: str
    notes: tuple[str, ...]
    """Sentences on columns that were told by their type."""


class Labels(NamedTuple):
    """The names of the classes and every row's class."""

    class_names: tuple[str, ...]
    labels: np.ndarray
    """(n,) int64."""
    notes: tuple[str, ...]
    """Sentences on how labels became classes."""


def find_columns(dataset: Dataset, origin: str, image: str | None, label: str | None) -> Columns:
    """The image and the label column: those the user names, else those named `image` and `label`, else the only ones of the type.

    Raises:
        InputError: a column that is not there or of another type, no column that could be meant, or several.
    """
    features = dataset.features
    notes = []
    for key, name in (("image", image), ("label", label)):
        if name is not None and name not in features:
            raise InputError(
                f"data.{key} names column '{name}', which {origin} does not have{did_you_mean(name, features)}"
            )
    named = image or _column_named("image", list(features))
    if named is not None and not _is_image(features[named]):
        raise InputError(
            f"column '{named}' of {origin} holds {_describe(features[named])}, not images{_way_on('image')}"
        )
    if named is None:
        image = _only([c for c, f in features.items() if _is_image(f)], "image", origin, list(features))
        notes.append(f"Column '{image}' of {origin} is taken for the images, by its type.")
    else:
        image = named
    named = label or _column_named("label", [column for column in features if column != image])
    if named is not None and not _is_label(features[named]):
        held = f"holds {_describe(features[named])}, not whole numbers or names"
        raise InputError(f"label column '{named}' of {origin} {held}{_way_on('label')}")
    if named is None:
        label = _only(_label_candidates(dataset, image), "label", origin, list(features))
        notes.append(f"Column '{label}' of {origin} is taken for the labels, by its type.")
    return Columns(image, named or str(label), tuple(notes))


def _way_on(key: str) -> str:
    return f"; data.{key}= names the {key} column"


def _column_named(key: str, columns: Sequence[str]) -> str | None:
    """The column of that name, in any case if there is only one."""
    if key in columns:
        return key
    alike = [column for column in columns if column.casefold() == key]
    return alike[0] if len(alike) == 1 else None


def _label_candidates(dataset: Dataset, image: str) -> list[str]:
    """Columns that could hold labels by type: those declared as classes, else those with few enough different values.

    A column whose rows all differ, or are all equal, separates no classes; one of fractions is a measurement.
    """
    others = {column: feature for column, feature in dataset.features.items() if column != image}
    declared = [column for column, feature in others.items() if _is_class(feature)]
    candidates = declared or [column for column, feature in others.items() if _is_label(feature)]
    if len(candidates) < 2:
        return candidates
    separating = [column for column in candidates if _separates(dataset, column)]
    return separating or candidates


def _separates(dataset: Dataset, column: str) -> bool:
    import pyarrow.compute as pc

    values = dataset.data.column(column)
    if _is_float(dataset.features[column]):
        numbers = values.to_numpy()
        if not np.array_equal(numbers, np.floor(numbers), equal_nan=True):
            return False
    return 1 < pc.count_distinct(values).as_py() < len(values)


def _only(candidates: Sequence[str], key: str, origin: str, columns: Sequence[str]) -> str:
    if len(candidates) == 1:
        return candidates[0]
    found = "several columns that could be meant" if candidates else f"no {key} column"
    raise InputError(f"{origin} has {found} ({', '.join(candidates or columns)}){_way_on(key)}")


def _is_image(feature: Any) -> bool:
    """Whether a column holds images, or what can be read as one: encoded bytes, alone or beside a path."""
    if type(feature).__name__ == "Image":
        return True
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return _describe(feature) in ("binary", "large_binary", "binary_view")


def _is_class(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_integer(feature: Any) -> bool:
    return _describe(feature).startswith(("int", "uint"))


def _is_float(feature: Any) -> bool:
    return _describe(feature).startswith("float")


def _is_text(feature: Any) -> bool:
    return _describe(feature) in ("string", "large_string", "string_view")


def _is_label(feature: Any) -> bool:
    kinds = (_is_class, _is_integer, _is_text, _is_float)
    return _describe(feature) == "bool" or any(is_kind(feature) for is_kind in kinds)


def _describe(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)


def read_labels(
    dataset: Dataset, column: str, origin: str, expected: tuple[str, ...] = (), training: Any = None
) -> Labels:
    """The classes of a label column: the names or numbers that occur, names in the order of the alphabet or as published.

    Args:
        expected: names of the classes known from training; then a class may be absent, but none may be new.
        training: the type of the training images' label column; where only one of the two names its numbers, it decides.

    Raises:
        InputError: labels that are missing, not whole numbers, or out of range, with the first row that is wrong.
    """
    feature = dataset.features[column]
    where = f"label column '{column}' of {origin}"
    values = dataset.with_format(None)[column][:]
    missing = (row for row, value in enumerate(values) if value is None or value != value)
    if (row := next(missing, None)) is not None:
        raise InputError(f"{where} is empty in row {row} (counted from 0); remove the row or give it a label")
    notes: tuple[str, ...] = ()
    if _is_text(feature):
        names = tuple(sorted(set(values)))
        index = {name: label for label, name in enumerate(names)}
        codes = np.array([index[value] for value in values], np.int64)
    else:
        published = _published(feature, training if expected else feature)
        names, codes, notes = _numbered(_whole(values, _describe(feature), where), published, where)
        if _describe(feature) == "bool":
            names, notes = tuple(("false", "true")[int(name)] for name in names), ()
    labels = codes.astype(np.int64)
    if not expected:
        return Labels(names, labels, notes)
    for label, name in enumerate(names):
        if name not in expected:
            row = int(np.flatnonzero(labels == label)[0])
            raise InputError(
                f"{where} is '{name}' in row {row} (counted from 0), which training does not have{did_you_mean(name, expected)}"
            )
    return Labels(expected, np.array([expected.index(name) for name in names], np.int64)[labels], ())


def _published(feature: Any, training: Any) -> tuple[str, ...]:
    """The names that number the classes of a label column: its own if those of training have names too, else training's."""
    naming = feature if _is_class(feature) and _is_class(training) else training
    return tuple(naming.names or ()) if _is_class(naming) else ()


def _whole(values: Sequence[Any], kind: str, where: str) -> np.ndarray:
    """(n,) int64 of booleans, integers or floats.

    Raises:
        InputError: a number that is not whole.
    """
    for row, value in enumerate(values):
        if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
            raise InputError(
                f"{where} holds {kind}, not whole numbers: {value:g} in row {row} (counted from 0){_way_on('label')}"
            )
    return np.array([min(int(value), 2**62) for value in values], np.int64)


def _numbered(
    numbers: np.ndarray, published: tuple[str, ...], where: str
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """(class names, (n,) classes, notes) of numbered labels; a number or a published name without images is no class."""
    limit = len(published) or MAX_CLASSES
    outside = np.flatnonzero((numbers < 0) | (numbers >= limit))
    if outside.size:
        row = int(outside[0])
        raise InputError(
            f"{where} is {numbers[row]} in row {row} (counted from 0); classes are 0 to {limit - 1}; remove rows without a class"
        )
    occurring, codes = np.unique(numbers, return_inverse=True)
    if published:
        names = tuple(published[number] for number in occurring)
        unused = [name for name in published if name not in names]
        notes = (f"Left out in {where}: class names without images ({listed(unused, 8)}).",) if unused else ()
        return names, codes, notes
    names = tuple(str(number) for number in occurring)
    in_order = np.array_equal(occurring, np.arange(len(occurring)))
    notes = () if in_order else (f"Classes are the numbers that occur in {where}: {listed(names, 8)}.",)
    return names, codes, notes
