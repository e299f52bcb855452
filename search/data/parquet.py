"""Parquet files as Hugging Face data sets have them, and data sets on the hub: a column of images, a column of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.data.columns import find_columns, read_labels
from search.data.files import PassedOver, listed, shown, walk
from search.data.parts import assign, in_words, part_of
from search.data.table import Encoded, Known, Opener, Source, Table
from spaces.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, Features


def parquet_source(path: Path, settings: Mapping[str, Any]) -> Source:
    """The tables of one parquet file, or of a folder of them.

    A file belongs to the part that its name begins with, else to the part that a folder between it and `path` is named after.

    Raises:
        InputError: no files, or files whose part cannot be told.
    """
    passed, where = PassedOver(), f"'{shown(path)}'"
    files = [path] if path.is_file() else _parquet_files(path, passed)
    if not files:
        raise InputError(f"data.path {where} holds no .parquet files")
    if path.is_file():
        return Source({"train": partial(_open_parquet, files, path, path.parent, settings)})
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(_part_name(file, path), []).append(file)
    unnamed = by_name.pop("", [])
    _check_collections(files, path)
    if unnamed and any(part_of(name) == "train" for name in by_name):
        names = listed(str(file.relative_to(path)) for file in unnamed)
        raise InputError(
            f"data.path {where}: {names} is neither training, validation nor test images by its name, and lies beside others that "
            "are; rename it, or move it away"
        )
    if unnamed:
        by_name["train"] = unnamed
    taken = assign(list(by_name), f"data.path {where}")
    notes = list(passed.sentences(where))
    if len(taken) > 1:
        said = {part: listed(file.name for file in by_name[name]) for part, name in taken.items()}
        notes.insert(0, in_words(said, where))
    training = by_name[taken["train"]][0]
    parts = {part: partial(_open_parquet, by_name[name], training, path, settings) for part, name in taken.items()}
    return Source(parts, tuple(notes))


def _parquet_files(folder: Path, passed: PassedOver) -> list[Path]:
    """Every parquet file below a folder; FIFOs and devices are none."""
    found = sorted(Path(file) for file in walk(folder, passed) if file.lower().endswith(".parquet"))
    for file in found:
        if shown(file) != str(file):
            raise InputError(f"'{shown(file)}' has characters that are not printable or not UTF-8; rename it")
    return [file for file in found if file.is_file()]


def _part_name(file: Path, root: Path) -> str:
    """The word that names the part of a file, as in test.parquet, test-00000-of-00001.parquet, test/0000.parquet; empty: none."""
    first = file.stem.replace("_", "-").replace(".", "-").split("-")[0]
    folders = file.relative_to(root).parts[:-1]
    return next((name for name in (first, *reversed(folders)) if part_of(name)), "")


def _check_collections(files: Sequence[Path], root: Path) -> None:
    """Raises InputError where files lie in several folders that are not named after parts."""
    folders = {tuple(n for n in file.relative_to(root).parts[:-1] if not part_of(n)): file.parent for file in files}
    if len(folders) > 1:
        first, second, *_ = (str(folder.relative_to(root)) for folder in folders.values())
        raise InputError(
            f"data.path '{shown(root)}' holds parquet files in several folders ({shown(first)}, {shown(second)}), which may be "
            "several data sets; data.path= names one of them"
        )


def _open_parquet(
    files: Sequence[Path], training: Path, root: Path, settings: Mapping[str, Any], known: Known
) -> Table:
    origin = f"'{shown(files[0])}'" if len(files) == 1 else f"'{shown(files[0].parent)}'"
    version = known.version or _content_digest(files)
    with quiet():
        import datasets
        from datasets.exceptions import DatasetGenerationError
        from pyarrow.parquet import read_schema

        # Hugging Face tells files by their times; a place of its own for each content does not
        cache = Path(settings.get("cache_dir") or datasets.config.HF_DATASETS_CACHE).expanduser() / f"parquet-{version}"
        try:
            dataset = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(cache))
        except (DatasetGenerationError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(f"cannot read {origin} as parquet: {reason}") from error
    features = datasets.Features.from_arrow_schema(read_schema(training))
    return table_of(dataset, origin, settings, (root,), version, known, features)


def _content_digest(files: Sequence[Path]) -> str:
    """A digest of the content of parquet files, read in pieces.

    Raises:
        InputError: a file cannot be read, or its end is not a parquet file's; then the rest, of any size, is not read.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    digest = hashlib.sha256()
    for file in files:
        try:
            read_metadata(file)
            with open(file, "rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        except (ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"cannot read '{shown(file)}' as parquet: {reason}") from error
    return digest.hexdigest()[:16]


def hub_source(settings: Mapping[str, Any]) -> Source:
    """The tables of a data set on the Hugging Face hub.

    Raises:
        InputError: no name is given, or the data set cannot be loaded.
    """
    name = settings.get("hub")
    if not name:
        raise InputError("data.hub is empty; it needs the name of a data set on the Hugging Face hub")
    origin = f"'{name}' on the Hugging Face hub"
    with quiet():
        import datasets
        from huggingface_hub import constants

        try:
            found = datasets.load_dataset(str(name), cache_dir=settings.get("cache_dir"))
        except Exception as error:  # a network has too many ways to fail to list; all have the same remedy
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"cannot load {origin} ({reason}); data.path= takes a local folder of its parquet files"
            ) from error
    stores = (settings.get("cache_dir"), datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)
    roots = tuple(Path(store).expanduser() for store in stores if store)
    taken = assign([part for part in found if part_of(part)], origin)
    others = [part for part in found if part not in taken.values()]
    notes = [in_words(taken, origin)]
    if others:
        notes.append(f"Left out in {origin}: other parts ({listed(others)}).")

    def opener(part: str) -> Opener:
        named = origin if part == "train" else f"part '{taken[part]}' of {origin}"
        features = found[taken["train"]].features
        return lambda known: table_of(found[taken[part]], named, settings, roots, "", known, features)

    return Source({part: opener(part) for part in taken}, tuple(notes))


def table_of(
    dataset: Dataset,
    origin: str,
    settings: Mapping[str, Any],
    roots: tuple[Path, ...],
    version: str,
    known: Known,
    training: Features,
) -> Table:
    """The table of a data set's image and label column, as settings name them or as they can be told from the others.

    Args:
        training: the columns of the training images, whose class names number the classes of all parts.
    """
    from datasets import Image as ImageFeature

    columns = find_columns(dataset, origin, settings.get("image"), settings.get("label"))
    labels = read_labels(dataset, columns.label, origin, known.class_names, training.get(columns.label))
    images = dataset.select_columns(columns.image)
    if isinstance(dataset.features[columns.image], ImageFeature):
        images = images.cast_column(columns.image, ImageFeature(decode=False))
    if columns.image != "image":
        images = images.rename_column(columns.image, "image")
    notes = (*columns.notes, *labels.notes)
    return Table(origin, labels.class_names, labels.labels, Encoded(images, roots), notes, version)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Hugging Face's progress bars and notices out of ours, and leaves its settings as they were."""
    import datasets

    verbosity, bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()
