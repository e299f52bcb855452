"""A temporary folder that goes with its process, or, where that is killed, with the next one that asks for such a folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "smallnets-"
_LOCK = "in-use"


class Scratch:
    """A folder of this process's own; what processes that are gone have left is taken away first.

    A lock in it, which the system ends with the process, says that it is in use.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
            with suppress(Timeout, OSError), FileLock(left, timeout=0):  # OSError: another user's
                shutil.rmtree(left.parent, ignore_errors=True)
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
