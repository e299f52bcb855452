"""What the machine or a database refuses, as one sentence for a command's user instead of a traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from search.system.printable import printable
from spaces.errors import InputError

_WHOLE = "what is in the study's storage is whole, and the same command goes on"


@contextmanager
def refusals() -> Iterator[None]:
    """While it lasts, what is neither a mistake in the code nor in the settings is raised as an InputError.

    Raises:
        InputError: memory, a disk, the output, a character set, or a database is at fault.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refused = _in_words(error)
        if refused is None:
            raise
        raise InputError(refused) from error


def check_temporary_folder() -> None:
    """Raises InputError where nothing can be written to a temporary folder."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise InputError(f"there is no folder for temporary files ({error.strerror}); TMPDIR names one") from error


def drop_unwritten_output() -> None:
    """Where what was printed cannot be written, lets it go: the interpreter would try once more at its end, and tell of it."""
    if not _output_works():
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def say_error(text: str) -> None:
    """Prints an error, where anybody listens."""
    with suppress(OSError, ValueError):
        print(f"error: {printable(text)}", file=sys.stderr, flush=True)


def _in_words(error: Exception) -> str | None:
    if isinstance(error, MemoryError):
        return (
            "memory: this process may not have as much as it needs; raise its limit (ulimit -v), or take fewer workers="
        )
    if isinstance(error, UnicodeEncodeError):
        return (
            f"the locale's character set, {error.encoding}, has no sign for {error.object[error.start : error.end]!a} in a path; "
            "LC_ALL=C.UTF-8 or PYTHONUTF8=1 brings one that has"
        )
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_database(error)


def _of_system(error: OSError) -> str | None:
    if not _output_works():
        return f"the output cannot be written ({error.strerror}); {_WHOLE}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN):
        where = f" at {error.filename}" if error.filename else ""
        return f"the system refuses{where}: {error.strerror}; {_WHOLE}"
    return None


def _of_database(error: Exception) -> str | None:
    if "sqlalchemy.exc" not in sys.modules:  # then nothing can have raised such an error
        return None
    from search.trials.refusals import DATABASE_ERRORS, refusal

    return str(refusal(error)) if isinstance(error, DATABASE_ERRORS) else None


def _output_works() -> bool:
    if sys.stdout is None:  # closed by whoever started this process; what is printed then goes nowhere
        return True
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True
