"""Processes that somebody has stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from search.system import stopped
from search.system.stopped import StoppedProcesses


def test_a_worker_that_is_stopped_for_a_while_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopped, "PATIENCE_S", 0.5)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        watch = StoppedProcesses()
        assert watch.look([process.pid]) == []
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while not (found := watch.look([process.pid])):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert found == [process.pid]
        assert watch.look([process.pid]) == []
    finally:
        process.kill()
        process.communicate()
