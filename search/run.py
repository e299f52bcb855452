"""`python -m search.run space=shuffle_agg`: searches, and says what it found."""

from __future__ import annotations

import sys

from search.backends.processes import start_server, stop_server


def main() -> int:
    """The command."""
    try:
        # first of all: what the workers import takes as long as what is imported here, and goes on beside it
        start_server()
        from search.session import command

        return command()
    except KeyboardInterrupt:
        return 130
    finally:
        stop_server()


if __name__ == "__main__":
    sys.exit(main())
