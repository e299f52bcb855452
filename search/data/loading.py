"""Loads a data set: the training and validation images for a search, the test images for a network that has been chosen.

The search sees two splits: `train` and `validation`, which is ready-made or held out of the training images. Only `load_test` opens
ready-made test images. Where there are none, some are held out before anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from search.data.broken import naming_broken
from search.data.dataset import Data
from search.data.decoding import Form
from search.data.findings import SAMPLE, Marked, class_counts, equal_images, find_form
from search.data.images import Held, Images, Section, Streamed, pixel_marks
from search.data.settings import check_settings
from search.data.sources import open_source
from search.data.splitting import split_rows
from search.data.table import Known
from spaces.errors import InputError
from spaces.sizes import Size


def load(settings: Mapping[str, Any]) -> Data:
    """Loads the training and the validation images of a data set.

    Which images are held out is fixed by a seed of its own, class by class, so it depends on nothing but the data and the shares.
    Equal images are told by their pixels where both splits are in memory, else by the bytes of their files.

    Args:
        settings: as in conf/data/*.yaml; missing keys have the defaults of `search.data.settings.DEFAULTS`.

    Raises:
        InputError: settings or data that cannot be used. Every image is looked at: decoded where the set is held in memory,
            else, and where it is held out for testing, opened (one whose inside is broken is named when it is reached).
    """
    settings = check_settings(settings)
    source = open_source(settings)
    table = source.parts["train"](Known())
    if len(table.class_names) < 2:
        raise InputError(f"{table.origin} has {len(table.class_names)} class; data for training needs two or more")
    rows = split_rows(table, settings, source.parts)
    sections = {part: Section("train", table, own) for part, own in rows.items()}
    notes = [*source.notes, *table.notes]
    if "validation" in source.parts:
        validation = source.parts["validation"](Known(table.class_names))
        sections["validation"] = Section("validation", validation, np.arange(len(validation.labels)))
        notes += validation.notes
    with naming_broken([(section.table, section.rows) for section in sections.values()]):
        if "test" in sections:
            table.scan(rows["test"])  # names one that is none; nothing else of them is looked at
        form, splits, found = _training_splits(sections, settings)
        mean, std = _statistics(splits["train"])
        fingerprint = _fingerprint(table.class_names, form, splits)
    notes += [*found, *_equal_images(sections, splits, table.class_names)]
    notes += class_counts(table.class_names, np.concatenate([images.labels for images in splits.values()]))
    return Data(
        name=str(settings["name"] or settings["source"]),
        class_names=table.class_names,
        in_channels=form.channels,
        resolution=form.size,
        mean=mean,
        std=std,
        augment=settings["augment"],
        fingerprint=fingerprint,
        splits=splits,
        depth=form.depth,
        backdrop=form.backdrop,
        notes=tuple(dict.fromkeys(notes)),
    )


def _training_splits(
    sections: Mapping[str, Section], settings: Mapping[str, Any]
) -> tuple[Form, dict[str, Images], list[str]]:
    """The form of all images, the images of "train" and "validation", and sentences on what was found."""
    train, validation = sections["train"], sections["validation"]
    is_ready_made = validation.table is not train.table
    used = train.rows if is_ready_made else np.concatenate([train.rows, validation.rows])
    count = len(train.rows) + len(validation.rows)
    bound = settings["in_memory_mb"] * 2**20
    alike = train.table.decode_alike(used, _stated_size(settings), bound * len(used) / count)
    if alike is None:
        form, notes = find_form(train.table, used, _stated_size(settings))
        return form, {part: _images(sections[part], form, settings, count) for part in ("train", "validation")}, notes
    form, pixels = alike
    rest = validation.table.decode(validation.rows, form) if is_ready_made else pixels[len(train.rows) :]
    splits: dict[str, Images] = {
        "train": Held(pixels[: len(train.rows)], train.table.labels[train.rows]),
        "validation": Held(rest, validation.table.labels[validation.rows]),
    }
    return form, splits, []


def load_test(settings: Mapping[str, Any], data: Data) -> Data:
    """`data` with its split "test" added, brought to the same shape and normalised as training was.

    Nothing in the search calls this: it is for the last word on a network that has been chosen.

    Args:
        settings: the ones `data` was loaded with.

    Returns:
        The data; its notes tell which test images equal training or validation images.

    Raises:
        InputError: as `load`, and classes that training does not have.
    """
    settings = check_settings(settings)
    source = open_source(settings)
    if "test" in source.parts:
        table = source.parts["test"](Known(data.class_names))
        section, notes = Section("test", table, np.arange(len(table.labels))), list(table.notes)
    else:
        table = source.parts["train"](Known())
        section, notes = Section("train", table, split_rows(table, settings, source.parts)["test"]), []
    with naming_broken([(table, section.rows)]):
        images = _images(section, data.form, settings, len(section.rows))
        # held-out test images have been compared by their files
        if section.part == "test" or _are_held({**data.splits, "test": images}):
            notes += _equal_test_images(data, section, images)
    return replace(data, splits={**data.splits, "test": images}, notes=tuple(dict.fromkeys([*data.notes, *notes])))


def join_training(data: Data) -> Data:
    """`data` with all images that are not test images in its split "train", normalised as before, and nothing held out.

    For a network that has been chosen: what was held out to choose it by serves to train it.
    """
    joined = data.splits["train"].join(data.splits["validation"])
    others = {name: images for name, images in data.splits.items() if name not in ("train", "validation")}
    return replace(data, splits={"train": joined, **others})


def _images(section: Section, form: Form, settings: Mapping[str, Any], needed: int) -> Images:
    """The images of a section, in memory if the `needed` ones together fit."""
    if needed * form.channels * form.size[0] * form.size[1] <= settings["in_memory_mb"] * 2**20:
        return Held(section.table.decode(section.rows, form), section.table.labels[section.rows])
    return Streamed([section], form, settings)


def _equal_images(
    sections: Mapping[str, Section], splits: Mapping[str, Images], class_names: tuple[str, ...]
) -> list[str]:
    """Sentences on equal images among the splits, and the test images that were held out."""
    marks = {part: section.table.marks[section.rows] for part, section in sections.items()}
    if _are_held(splits):
        by_pixels = {part: pixel_marks(images) for part, images in splits.items()}
        known = np.concatenate([marks[part] for part in splits])
        if "test" in marks:  # those of the test images are not known: a file's that equals another's is that one's
            marks["test"] = _translate(marks["test"], known, np.concatenate(list(by_pixels.values())))
        marks |= by_pixels
    # validation and test images are named, as copies of training images
    order = [part for part in ("train", "validation", "test") if part in marks]
    return equal_images({part: _marked(sections[part], marks[part]) for part in order}, class_names)


def _translate(marks: np.ndarray, known: np.ndarray, meant: np.ndarray) -> np.ndarray:
    """`marks` with those among `known` replaced by what is meant by them."""
    order = np.argsort(known)
    places = order[np.searchsorted(known, marks, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[places] == marks, meant[places], marks)


def _equal_test_images(data: Data, section: Section, test: Images) -> list[str]:
    """Sentences on ready-made test images that equal training or validation images."""
    if _are_held(data.splits):
        marks = {part: pixel_marks(images) for part, images in (*data.splits.items(), ("test", test))}
    else:
        streamed = {**data.splits, "test": Streamed([section], data.form, {})}
        marks = {part: images.file_marks() for part, images in streamed.items() if isinstance(images, Streamed)}
    seen = np.concatenate([marks["train"], marks["validation"]])
    labels = np.concatenate([data.splits["train"].labels, data.splits["validation"].labels])
    unnamed = Marked(seen, labels, lambda place: "a training image")
    return equal_images({"training or validation": unnamed, "test": _marked(section, marks["test"])}, data.class_names)


def _are_held(splits: Mapping[str, Images]) -> bool:
    return all(isinstance(images, Held) for images in splits.values())


def _marked(section: Section, marks: np.ndarray) -> Marked:
    table, rows = section.table, section.rows
    return Marked(marks, table.labels[rows], lambda place: table.short_name(int(rows[place])))


def _stated_size(settings: Mapping[str, Any]) -> Size | None:
    resolution = settings["resolution"]
    return (resolution, resolution) if isinstance(resolution, int) else resolution and (resolution[0], resolution[1])


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to 0..1."""
    # from counts of the 256 values: exact whatever the order of summation
    counts = sum(_histogram(piece) for piece in images.sample(SAMPLE))  # (C, 256)
    values = np.arange(256) / 255
    share = counts / np.sum(counts, axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
    # a channel of one single value carries nothing and must not be blown up
    std = np.where(std < 1e-3, 1.0, std)
    return tuple(map(float, mean)), tuple(map(float, std))


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """(C, 256) counts of (N, C, H, W) uint8."""
    return np.stack([np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])])


def _fingerprint(class_names: tuple[str, ...], form: Form, splits: Mapping[str, Images]) -> str:
    digest = hashlib.sha256(json.dumps([class_names, form.channels, form.size]).encode())
    for name, images in splits.items():
        digest.update(f"{name} {len(images)}".encode())
        digest.update(images.labels.astype("<i8").tobytes())
        for piece in images.sample(SAMPLE):
            digest.update(piece.tobytes())
    return digest.hexdigest()[:16]
