"""`python -m search.run space=shuffle_agg`: searches, and says what it found."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from search.backends.processes import start_server, stop_server


def main() -> int:
    """The command."""
    try:
        # some of what is imported swallows a KeyboardInterrupt, and the search would begin in spite of it
        signal.signal(signal.SIGINT, _end_at_once)
        # first of all: what the workers import takes as long as what is imported here, and goes on beside it
        start_server()
        from search.session import command

        signal.signal(signal.SIGINT, signal.default_int_handler)
        return command()
    except KeyboardInterrupt:
        return 130
    finally:
        stop_server()


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C before there is anything to lose."""
    stop_server()
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
