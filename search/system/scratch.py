"""Temporary folders that go with their process, or, where that is killed, with the next one that asks for such a folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "smallnets-"
_LOCK = "in-use"
_CLAIM = "smallnets-in-use"
_LEFT = (f"{_PREFIX}*/{_LOCK}", f"pymp-*/{_CLAIM}")
"""What is looked for in the temporary folder: folders of this project, and those of `multiprocessing` that it claimed."""


class Scratch:
    """A folder of this process's own; what processes that are gone have left is taken away first.

    A lock in it, which the system ends with the process, says that it is in use.
    """

    def __init__(self) -> None:
        clear_left()
        # under its name only when the lock is held, or another process would take it for left behind
        making = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
        self._lock = FileLock(making / _LOCK, timeout=0)
        self._lock.acquire()
        self.path = making.rename(making.with_name(making.name.removeprefix(".")))

    def remove(self) -> None:
        """Takes it away."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self._lock.release()


def claim(folder: Path) -> None:
    """Marks a temporary folder that `multiprocessing` has made as in use by this process, for `clear_left` of a later one."""
    if str(folder) not in _claimed:
        lock = FileLock(folder / _CLAIM, timeout=0)
        lock.acquire()
        _claimed[str(folder)] = lock


_claimed: dict[str, FileLock] = {}
"""Held until the process ends: a lock that nothing refers to is released."""


def clear_left() -> None:
    """Takes away the folders of processes that are gone."""
    for pattern in _LEFT:
        for left in Path(tempfile.gettempdir()).glob(pattern):
            with suppress(Timeout, OSError), FileLock(left, timeout=0):  # OSError: another user's
                shutil.rmtree(left.parent, ignore_errors=True)
