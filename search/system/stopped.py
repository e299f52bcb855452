"""Processes that somebody has stopped: by Ctrl-Z, by SIGSTOP, or in a debugger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

PATIENCE_S = 60.0
"""How long a process may be stopped before it is told."""


class StoppedProcesses:
    """Finds processes that have been stopped for a while, each once for as long as it stays so."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._told: set[int] = set()

    def look(self, pids: Iterable[int]) -> list[int]:
        """Those of the processes that have been stopped for `PATIENCE_S` and have not been told yet."""
        now = time.monotonic()
        stopped = {pid for pid in pids if _is_stopped(pid)}
        self._since = {pid: self._since.get(pid, now) for pid in stopped}
        self._told &= stopped
        found = [pid for pid in sorted(stopped - self._told) if now - self._since[pid] >= PATIENCE_S]
        self._told |= {*found}
        return found


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # it has ended, or the system does not say
        return False
    return state in ("T", "t")
