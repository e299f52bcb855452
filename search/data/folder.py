"""Class folders: one folder of images for each class, below a folder or below folders named train, validation and test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from search.data.files import (
    PassedOver,
    entries,
    is_folder,
    is_image_name,
    listed,
    shown,
    walk,
)
from search.data.parts import assign, in_words, part_of
from search.data.table import Files, Known, Source, Table
from spaces.errors import InputError, did_you_mean


def folder_source(root: Path) -> Source:
    """The tables of a folder of images.

    Folders named after parts are parts if they hold folders; if they hold images they are classes, as `train` beside `car` and
    `bus`.

    Raises:
        InputError: folders whose meaning cannot be told.
    """
    if not root.is_dir():
        raise InputError(f"data.path '{shown(root)}' is a file; data=folder needs a folder with one folder per class")
    passed = PassedOver()
    where = f"'{shown(root)}'"
    folders = [entry for entry in entries(root, passed) if is_folder(entry)]
    named = [entry for entry in folders if part_of(entry.name)]
    parts = [entry.name for entry in named if _is_part(entry.path)]
    if not parts:
        if named and len(named) == len(folders):
            raise InputError(
                f"data.path {where} holds {listed(entry.name for entry in named)}, which holds no class folders; each needs one "
                "folder of images per class"
            )
        return Source({"train": partial(open_folder, root)})
    others = [entry for entry in folders if entry.name not in parts]
    for entry in others:
        if not _has_images(entry.path):
            continue
        what = "is neither training, validation nor test images by its name"
        if part_of(entry.name):
            what = "holds images without class folders"
        raise InputError(
            f"'{shown(entry.path)}' {what}, and lies beside {listed(parts)}; a part is named train, val or test and holds one "
            "folder of images per class; move away what is none"
        )
    taken = assign(parts, f"data.path {where}")
    notes = [in_words(taken, where), *passed.sentences(where)]
    if others:
        notes.append(f"Left out in {where}: folders without images ({listed(entry.name for entry in others)}).")
    return Source({part: partial(open_folder, root / name) for part, name in taken.items()}, tuple(notes))


def _is_part(folder: str) -> bool:
    """Whether a folder holds class folders: folders with images, or folders and no images."""
    found = entries(folder, PassedOver())
    folders = [entry for entry in found if is_folder(entry)]
    images = any(is_image_name(entry.name) for entry in found if entry not in folders)
    return any(_has_images(entry.path) for entry in folders) if images else bool(folders)


def _has_images(folder: str) -> bool:
    return any(is_image_name(path) for path in walk(folder, PassedOver()))


def open_folder(root: Path, known: Known) -> Table:
    """The table of a folder with one folder per class, the classes in the order of their names.

    Raises:
        InputError: no classes, one without images, with folders of images, or that training does not have.
    """
    passed = PassedOver()
    found = entries(root, passed)
    classes = [entry for entry in found if is_folder(entry)]
    passed.outside += [entry.name for entry in found if entry not in classes and is_image_name(entry.name)]
    class_names = tuple(entry.name for entry in classes)
    if not class_names:
        raise InputError(f"'{shown(root)}' holds no class folders; data=folder needs one folder of images per class")
    expected = known.class_names or class_names
    paths: list[str] = []
    labels: list[int] = []
    for name in class_names:
        _check_class(root, name, expected)
        images = _class_images(root, name, class_names, passed)
        paths += images
        labels += [expected.index(name)] * len(images)
    notes = tuple(passed.sentences(f"'{shown(root)}'"))
    return Table(f"'{shown(root)}'", expected, np.array(labels, np.int64), Files(root, paths), notes)


def _check_class(root: Path, name: str, expected: Sequence[str]) -> None:
    if shown(name) != name:
        raise InputError(f"'{shown(root / name)}' is no name of a class, which is printable and in UTF-8; rename it")
    if name not in expected:
        raise InputError(f"'{shown(root / name)}' is a class that training does not have{did_you_mean(name, expected)}")


def _class_images(root: Path, name: str, class_names: Sequence[str], passed: PassedOver) -> list[str]:
    """The absolute paths of a class's images."""
    folder = root / name
    images = []
    for entry in entries(folder, passed):
        if entry.is_symlink() and is_folder(entry):
            passed.links.append(os.path.join(name, entry.name))
        elif is_folder(entry):
            _refuse_nested(entry, root, name, class_names)
            for path in walk(entry.path, passed):
                passed.leave(path)
        elif is_image_name(entry.name):
            images.append(os.path.abspath(entry.path))
        else:
            passed.leave(entry.name)
    if not images:
        raise InputError(f"'{shown(folder)}' holds no images that can be read (.png, .jpg, ...)")
    return images


def _refuse_nested(entry: os.DirEntry[str], root: Path, name: str, class_names: Sequence[str]) -> None:
    """Raises InputError where a folder inside a class folder holds images."""
    if not _has_images(entry.path):
        return
    raise InputError(
        f"'{shown(entry.path)}' is a folder of images inside the class folder '{shown(name)}', one level too deep for a class "
        f"({listed(class_names)}); data.path={shown(root / name)} if the classes lie there, else move its images up or away"
    )
