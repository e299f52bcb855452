"""Which columns of a table hold the images and their labels, and what the labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

MAX_CLASSES = 100_000
"""More than any image data set has; a greater label is a mistake, found before memory is asked for."""


def find_columns(dataset: Dataset, origin: str, image: str | None, label: str | None) -> tuple[str, str]:
    """The names of the image and the label column.

    Args:
        image, label: names a user gave; None: told by type, then by the names `image` and `label`.

    Raises:
        InputError: a name that is not there, no column that could be meant, or several.
    """
    features = dataset.features
    for key, name in (("image", image), ("label", label)):
        if name is not None and name not in features:
            raise InputError(
                f"data.{key} names column '{name}', which {origin} does not have{did_you_mean(name, features)}"
            )
    if image is None:
        image = _only([[c for c, f in features.items() if _is_image(f)]], "image", origin, list(features))
    elif not _is_image(features[image]):
        raise InputError(f"column '{image}' of {origin} holds {_describe(features[image])}, not images")
    if label is None:
        others = {column: feature for column, feature in features.items() if column != image}
        tiers = [[c for c, f in others.items() if accepts(f)] for accepts in (_is_class, _is_integer, _is_text)]
        label = _only(tiers, "label", origin, list(features))
    return image, label


def _only(tiers: list[list[str]], key: str, origin: str, columns: list[str]) -> str:
    """The only column of the first tier that has any; several are decided by the plain name."""
    candidates = next((tier for tier in tiers if tier), [])
    if key in candidates:
        return key
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(candidates or columns)
    found = "several columns that could be meant" if candidates else f"no {key} column"
    raise InputError(f"{origin} has {found} ({listed}); data.{key}= names the {key} column")


def _is_image(feature: Any) -> bool:
    """An image, or what can be read as one: encoded bytes, alone or beside a path."""
    if type(feature).__name__ == "Image":
        return True
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _is_class(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_integer(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint"))


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _describe(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)


def read_labels(
    dataset: Dataset, column: str, origin: str, expected: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes and every row's class.

    Text labels are sorted into classes; whole numbers must be 0, 1, 2, ... without a gap, or lie within the published names.

    Args:
        expected: classes known from training; then a class may be absent, but none may be new.

    Returns:
        (names, (n,) int64 labels).

    Raises:
        InputError: labels that are missing, not whole numbers, or out of range, with the first row that is wrong.
    """
    feature = dataset.features[column]
    where = f"label column '{column}' of {origin}"
    values = dataset.with_format(None)[column][:]
    missing = next((row for row, value in enumerate(values) if value is None), None)
    if missing is not None:
        raise InputError(f"{where} is empty in row {missing} (counted from 0)")
    if _is_text(feature):
        return _text_labels(values, where, expected)
    if not (_is_class(feature) or _is_integer(feature)):
        raise InputError(f"{where} holds {_describe(feature)}, not whole numbers or names")
    labels = np.array(values, np.int64)
    names = expected or (tuple(feature.names or ()) if _is_class(feature) else ())
    limit = len(names) or MAX_CLASSES
    outside = np.flatnonzero((labels < 0) | (labels >= limit))
    if outside.size:
        row = int(outside[0])
        raise InputError(f"{where} is {labels[row]} in row {row} (counted from 0); classes are 0 to {limit - 1}")
    names = names or tuple(str(i) for i in range(int(labels.max(initial=-1)) + 1))
    absent = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)
    if absent.size and not expected:
        raise InputError(
            f"{where} has no image of class {names[absent[0]]}; it needs some of each of its {len(names)} classes"
        )
    return names, labels


def _text_labels(values: list[str], where: str, expected: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    names = expected or tuple(sorted(set(values)))
    index = {name: i for i, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in index:
            raise InputError(f"{where} is '{value}' in row {row} (counted from 0){did_you_mean(value, names)}")
    return names, np.array([index[value] for value in values], np.int64)
