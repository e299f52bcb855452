"""Connections to SQLite files: to write, or to read a file without changing it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

TIMEOUT_S = 60.0
"""How long a connection waits for another one that is writing."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads and writes; the file is made if it is missing."""
    # not by a URL: in a study's name, `?`, `#`, `%` and braces mean something to SQLAlchemy or Optuna
    return sqlite3.connect(path, timeout=TIMEOUT_S, check_same_thread=False)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes neither the file nor its folder, to be closed after one transaction.

    Where no log lies beside the file, nobody has it open: as `immutable`, SQLite makes no log of its own there. A writer that
    comes meanwhile writes to its log first, so one transaction reads the file as it was.
    """
    is_in_use = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    options = "mode=ro" if is_in_use else "mode=ro&immutable=1"
    uri = f"file://{quote(os.fsencode(path.absolute()))}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S, check_same_thread=False)
