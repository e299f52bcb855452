"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port of the loopback address, with a password."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PASSWORD = "open-sesame-4711"


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`; Debian keeps it off the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


class Server:
    """A server that can be stopped, killed and started again on the same data."""

    def __init__(self) -> None:
        programs = find_programs()
        if programs is None:
            pytest.skip("PostgreSQL is not installed")
        self._programs = programs
        self.folder = Path(
            tempfile.mkdtemp(prefix="postgres-", dir="/tmp")
        )  # a short path: that of a socket is bounded
        # the server refuses to run as root
        self._user = "nobody" if os.geteuid() == 0 else None
        (self.folder / "password").write_text(PASSWORD)
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            os.chown(self.folder / "password", account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._run(
            programs / "initdb", "-D", self.folder / "data", "-U", "team", "-A", "scram-sha-256", "--pwfile",
            self.folder / "password", "-N",
        )  # fmt: skip
        self.start()

    @property
    def url(self) -> str:
        """Without the password: that is in the environment."""
        return f"postgresql+psycopg://team@127.0.0.1:{self.port}/postgres"

    @property
    def environment(self) -> dict[str, str]:
        """What clients need besides the URL."""
        return {"PGPASSWORD": PASSWORD}

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [
            self._programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd="/", start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        """Ends the server and its sessions as a crash does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the server and takes its data away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: object) -> None:
        subprocess.run([str(part) for part in command], check=True, capture_output=True, user=self._user, cwd="/")
