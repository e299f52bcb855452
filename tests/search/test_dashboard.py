"""The dashboard's command: where it is served, and what it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from search import dashboard
from tests.search.reporting.dashboard.test_app import start_study


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["search.dashboard", *arguments])
    return dashboard.main()


def test_it_is_served_on_this_machine_until_it_is_stopped(tmp_path: Path) -> None:
    start_study(tmp_path, "small", 0)
    command = [sys.executable, "-u", "-m", "search.dashboard", f"results_dir={tmp_path}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found is not None
        assert requests.get(found[0], timeout=20).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study=smal"], "did you mean 'small'?"),
        (["studies=[small, smal]"], "did you mean 'small'?"),
        (["studies=small"], "studies='small': must be a list of names"),
        (["port=70000"], "port=70000: must be a whole number from 0 to 65535"),
        (["host=no.such.host.invalid"], "host=no.such.host.invalid port=8050: cannot be served"),
        (["results_dir=elsewhere"], "there is no study in"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    start_study(tmp_path / "results", "small", 0)
    assert run(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_study(tmp_path, "small", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, f"results_dir={tmp_path}", f"port={port}") == 2
    assert f"port={port} is in use" in capsys.readouterr().err
