"""How worker processes are started: forked from a server that has imported everything once, where the system can."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from pathlib import Path

from search.system.scratch import claim, clear_left

# This module imports nothing heavy: a command calls `start_server` before its own imports, which take as long.

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a search: a terminal, also one that is closed, `timeout` and batch systems send them to the whole process group, and
the driver decides."""
PRELOADED = ["search.backends.local"]
"""What the server imports, and so every worker has: all that training needs."""
_LONGEST_FOLDER = 70
"""Bytes of a temporary folder's path in which the server's socket still finds room: systems allow about 104 for all of its path."""


def start_server() -> None:
    """Starts the server, whose imports then go on beside those of this process; nothing where it runs, or cannot."""
    if not _has_server():
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # before signals are blocked: where the server starts it, that unblocks them
    clear_left()
    claim(Path(util.get_temp_dir()))  # where the server's socket is
    with deaf():
        forkserver.ensure_running()


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started here do not hear `SIGNALS`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_server() -> None:
    """Ends the server at once, even amid its imports: it holds this process's output open, and a pipe's reader would wait."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def make_context() -> BaseContext:
    """What starts workers."""
    start_server()
    return multiprocessing.get_context("forkserver" if _has_server() else "spawn")


def _has_server() -> bool:
    has_room = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    return has_room and "forkserver" in multiprocessing.get_all_start_methods()
