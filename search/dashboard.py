"""`python -m search.dashboard`: one study or several in a browser, live."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from werkzeug.serving import make_server

from search.config import DashboardSettings, run_command
from search.reporting.console import Terminal
from search.reporting.dashboard import Studies, make_app
from search.reporting.dashboard.app import LOOPBACK
from spaces import InputError

EXAMPLES = [
    "python -m search.dashboard",
    "python -m search.dashboard study=shuffle_agg-digits",
    "python -m search.dashboard 'studies=[shuffle_agg-digits-seed=1, shuffle_agg-digits-seed=2]' port=8051",
]


def serve_dashboard(settings: DashboardSettings) -> None:
    """Serves the dashboard until it is interrupted.

    Raises:
        InputError: a study that does not exist, no study at all, or an address that cannot be served.
    """
    studies = Studies(Path(settings.results_dir), settings.storage)
    chosen = chosen_studies(settings, studies)
    host = settings.host
    taken = listen(host, settings.port)
    app = make_app(studies, chosen, hosts=LOOPBACK if host in LOOPBACK else ())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for every request
    server = make_server(host, settings.port, app.server, threaded=True, fd=taken.fileno())
    signal.signal(signal.SIGTERM, _interrupt)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{taken.getsockname()[1]}/"
    console = Terminal()
    console.print(f"The dashboard is at {address} until you press Ctrl-C.", highlight=False, soft_wrap=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def chosen_studies(settings: DashboardSettings, studies: Studies) -> list[str]:
    """What is shown first.

    Raises:
        InputError: a study that does not exist or was not made by this project, or no study at all.
    """
    names = [*([settings.study] if settings.study is not None else []), *settings.studies]
    for name in names:
        studies.check(name)
    if names:
        return list(dict.fromkeys(names))
    known = studies.names()
    if not known:
        raise InputError(f"results_dir: there is no study in {settings.results_dir} yet; search.run makes one")
    return known[:1]


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address.

    Raises:
        InputError: it cannot be had.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen()
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port={port} is in use, maybe by another dashboard; choose another by port=") from error
        raise InputError(f"host={host} port={port}: cannot be served ({error.strerror})") from error
    return taken


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """The command."""
    return run_command(
        serve_dashboard,
        DashboardSettings.from_mapping,
        config_name="dashboard",
        description="Shows one study or several in a browser while they run. It only reads.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
