"""What processes leave in the temporary folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.system.scratch import Scratch

MAKE = "from search.system.scratch import Scratch; made = Scratch(); print(made.path, flush=True); input()"


def test_what_a_killed_process_leaves_goes_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    living, killed = (
        subprocess.Popen([sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    assert living.stdout is not None
    assert killed.stdout is not None
    kept, left = Path(living.stdout.readline().strip()), Path(killed.stdout.readline().strip())
    (left / "state.pt").touch()
    killed.kill()
    killed.communicate()
    assert left.exists()
    own = Scratch()
    assert sorted(tmp_path.iterdir()) == sorted([kept, own.path])
    own.remove()
    living.communicate("\n")
    assert list(tmp_path.iterdir()) == [kept]  # it ended without a word
    Scratch().remove()
    assert list(tmp_path.iterdir()) == []
