"""What a process needs before it can load its libraries, which would fail in words of their own: a place, and address space."""

from __future__ import annotations

import os
import resource
import sys

NEEDED_BYTES = 2**30
"""With less address space (`ulimit -v`), PyTorch cannot be loaded."""


def check_surroundings() -> None:
    """Ends a command that could not load its libraries, in one line; at that point it has no other way to tell."""
    reason = _missing()
    if reason is not None:
        print(f"error: {reason}", file=sys.stderr)
        raise SystemExit(2)


def _missing() -> str | None:
    try:
        os.getcwd()
    except OSError as error:
        return f"the current directory cannot be used ({error.strerror}); change to one that exists"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= NEEDED_BYTES:
        return None
    return (
        f"memory: this process may use {limit / 2**20:.0f} MiB of address space, and loading PyTorch takes more than "
        f"{NEEDED_BYTES / 2**20:.0f}; raise the limit (ulimit -v)"
    )
