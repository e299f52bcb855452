"""Files as people keep them: tells those that count from those that are passed over, and opens no others than regular files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search.data.decoding import suffixes
from spaces.errors import InputError

MAX_FILE_BYTES = 512 * 2**20
"""More than an image within Pillow's bound on pixels takes without compression; a larger file is not read."""

SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "thumbnails", "thumbs", "@eadir", "$recycle.bin", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
"""Files and folders, in lower case, that a system or a viewer of images leaves behind."""

NAMED = 3
"""Names listed in a sentence before the rest are only counted."""

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def shown(path: object) -> str:
    """A path as it can be printed: what is not printable or not UTF-8 is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def read_file(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        ValueError: it is not a regular file, or larger than `MAX_FILE_BYTES`.
        OSError: it cannot be read.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
    if found.st_size > MAX_FILE_BYTES:
        raise ValueError(
            f"{found.st_size / 2**20:,.0f} MiB, above {MAX_FILE_BYTES // 2**20} MiB, the most for an image"
        )
    with open(path, "rb") as file:
        return file.read()


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by a system."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def is_image_name(name: str) -> bool:
    """Whether a file name has an image's ending."""
    return os.path.splitext(name)[1].lower() in suffixes()


@dataclass
class PassedOver:
    """Files and folders that a walk did not take, counted for `sentences`."""

    hidden: Counter[str] = field(default_factory=Counter)
    """Files by the hidden name that they have or lie below."""
    endings: Counter[str] = field(default_factory=Counter)
    """Files that have no image's ending."""
    links: list[str] = field(default_factory=list)
    """Links to folders, which are not followed."""
    outside: list[str] = field(default_factory=list)
    """Images beside the class folders."""

    def hide(self, entry: os.DirEntry[str]) -> None:
        """Counts a hidden file, or all files below a hidden folder."""
        name = "._*" if entry.name.startswith("._") else shown(entry.name)
        is_folder = entry.is_dir(follow_symlinks=False)
        self.hidden[name] += sum(len(files) for _, _, files in os.walk(entry.path)) if is_folder else 1

    def leave(self, name: str) -> None:
        """Counts a file without an image's ending."""
        self.endings[shown(os.path.splitext(name)[1].lower()) or "no ending"] += 1

    def sentences(self, origin: str) -> Iterator[str]:
        """One sentence for each kind that was found."""
        if count := self.hidden.total():
            yield f"Passed over in {origin}: {number_of(count, 'hidden or system file')} ({_counted(self.hidden)})."
        if count := self.endings.total():
            yield f"Left out in {origin}: {number_of(count, 'file')} without an image's ending ({_counted(self.endings)})."
        if self.outside:
            count = len(self.outside)
            yield f"Left out in {origin}: {number_of(count, 'image')} beside the class folders ({listed(self.outside)})."
        if self.links:
            yield f"Not followed in {origin}: links to folders inside class folders ({listed(self.links)})."


def number_of(count: int, noun: str) -> str:
    """A count with its noun: "1 image", "1,234 images"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(counts: Counter[str]) -> str:
    return listed([f"{name}: {count:,}" for name, count in counts.most_common()], 8)


def listed(names: Sequence[str] | Iterable[str], most: int = NAMED) -> str:
    """Names with commas, the first `most` of them."""
    names = list(names)
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def entries(folder: str | Path, passed: PassedOver) -> list[os.DirEntry[str]]:
    """The files and folders in a folder, by name, without those that are passed over.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            everything = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(error) from error
    for entry in everything:
        if is_passed_over(entry.name):
            passed.hide(entry)
    return [entry for entry in everything if not is_passed_over(entry.name)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def walk(folder: str | Path, passed: PassedOver) -> Iterator[str]:
    """Every file below a folder that is not passed over; links to folders are not followed.

    Raises:
        InputError: a folder that cannot be read.
    """
    for entry in entries(folder, passed):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, passed)
        elif not is_folder(entry):
            yield entry.path


def unreadable(error: OSError) -> InputError:
    """The error for a file or folder that the system does not give."""
    return InputError(f"data: cannot read '{shown(error.filename)}': {error.strerror}")
