"""The sources of images: digits, the Hugging Face hub, class folders, parquet files; each a table of images with labels."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.data.files import shown, unreadable
from search.data.folder import folder_source
from search.data.parquet import hub_source, parquet_source
from search.data.table import Known, Source, Table
from spaces.errors import InputError, did_you_mean


def open_source(settings: Mapping[str, Any]) -> Source:
    """The tables of the data set that `settings` name.

    Raises:
        InputError: nothing there, or not a data set.
    """
    source = settings["source"]
    if not isinstance(source, str) or source not in SOURCES:
        raise InputError(f"data.source is '{source}'{did_you_mean(source, SOURCES)}")
    if source == "hub" and settings.get("path"):
        source = "parquet"  # a local copy
    try:
        return SOURCES[source](settings)
    except OSError as error:
        raise unreadable(error) from error


def _digits(known: Known) -> Table:
    """scikit-learn's bundled part of the UCI set "Optical recognition of handwritten digits": 1,797 scans, values 0 to 16."""
    values = _digits_table()
    pixels = np.round(values[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return Table("scikit-learn's digits", tuple("0123456789"), values[:, -1].astype(np.int64), pixels)


def _digits_table() -> np.ndarray:
    """(1797, 65): 64 pixels and the digit."""
    # importing sklearn.datasets takes two seconds, reading its file a twentieth of one
    package = importlib.util.find_spec("sklearn")
    if package and package.origin:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            with gzip.open(file, "rt") as lines:
                return np.loadtxt(lines, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _existing_path(settings: Mapping[str, Any]) -> Path:
    path = settings.get("path")
    if not path:
        raise InputError(f"data={settings['source']} needs data.path=, the place of the images")
    path = Path(str(path)).expanduser()
    if shown(path) != str(path):
        raise InputError(f"data.path '{shown(path)}' has characters that are not printable or not UTF-8; rename it")
    if not path.exists():
        raise InputError(f"data.path '{path}' does not exist")
    if not (path.is_dir() or path.is_file()):
        raise InputError(f"data.path '{path}' is neither a folder nor a file")
    return path


SOURCES: dict[str, Callable[[Mapping[str, Any]], Source]] = {
    "digits": lambda settings: Source({"train": _digits}),
    "hub": hub_source,
    "folder": lambda settings: folder_source(_existing_path(settings)),
    "parquet": lambda settings: parquet_source(_existing_path(settings), settings),
}
"""Sources by name."""
