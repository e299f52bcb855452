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
        before = signal.getsignal(signal.SIGINT)
        if before is signal.default_int_handler:  # not where Ctrl-C is ignored, as in the background of a shell script
            # a KeyboardInterrupt amid an import may be swallowed there, or leave a module half made
            signal.signal(signal.SIGINT, _end_at_once)
        # first of all: what the workers import takes as long as what is imported here, and goes on beside it
        start_server()
        from search.run.session import command

        signal.signal(signal.SIGINT, before)
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
