"""Writing a file so that a reader never sees half of it."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spaces.errors import InputError


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a file by replacing it whole, text as UTF-8; its folder is made where it is missing.

    Whoever reads, or interrupts, finds the old content or the new one. No file of another name stays behind.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    written = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(written)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private; a result is as readable as any other
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def replace_folder(folder: Path, files: Mapping[str, str], pattern: str) -> None:
    """Makes a folder hold these text files, by name, and no others that match the pattern; what a user put beside them stays.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        replace_file(folder / name, text)
    for path in folder.glob(pattern):
        if path.name not in files:
            path.unlink()


@contextmanager
def locked_folder(folder: Path, timeout_s: float) -> Iterator[None]:
    """Keeps other processes out that lock the folder in the same way; no file is made for it, so none can be another user's.

    Raises:
        TimeoutError: another process holds it for longer than `timeout_s`.
        OSError: the folder cannot be opened or locked.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has held {folder} for {timeout_s:g} s") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)  # which ends the lock


class Presence:
    """A file that must stay where it is, such as the database of a study that a search is writing.

    Args:
        path: of the file, which exists; None: of nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._place = self._find()

    def check(self) -> None:
        """Raises InputError where the file was taken away, or another one put in its place."""
        if self._find() != self._place:
            raise InputError(
                f"{self._path} was deleted or replaced while the search was writing it: what has been found since then is lost; "
                "the same command starts anew"
            )

    def _find(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
