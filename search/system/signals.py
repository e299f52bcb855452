"""Ctrl-C wherever it falls: a KeyboardInterrupt comes between any two instructions, and some lose it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def interruptible() -> Iterator[None]:
    """Hears a Ctrl-C in its block also where the interrupt is dropped or replaced.

    Python drops what a destructor or a weak reference's callback raises: there the signal comes again. Where what a library
    cleans up fails in its turn, that error takes the place of the interrupt, and would be told as the user's mistake.

    Raises:
        KeyboardInterrupt: an interrupt was dropped, or the block's error followed from one.
    """
    before = sys.unraisablehook
    again: list[threading.Timer] = []

    def send_again(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            before(dropped)
            return
        # not from here, where it would be dropped once more
        again.append(threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)))
        again[-1].start()

    sys.unraisablehook = send_again
    try:
        yield
        if again:
            raise KeyboardInterrupt
    except Exception as error:
        if again or _follows_from_interrupt(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = before


def _follows_from_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def leave_terminal() -> None:
    """Sends what is printed from here on nowhere, where it went to a terminal that has been closed: writing there fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        with suppress(OSError):
            if os.isatty(stream) or not _is_open(stream):
                os.dup2(nowhere, stream)
    os.close(nowhere)


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True
