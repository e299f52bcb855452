"""Locks and files that others hold or take away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.system.files import Presence, locked_folder
from spaces import InputError

HOLD = "import sys; from pathlib import Path; from search.system.files import locked_folder\n" + (
    "with locked_folder(Path(sys.argv[1]), 1):\n    print(flush=True)\n    input()"
)


def test_a_folder_that_another_process_holds_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(TimeoutError, match="another process has held"), locked_folder(tmp_path, 0.1):
        pass
    holder.communicate("\n")
    with locked_folder(tmp_path, 10):
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_taken_away_or_replaced_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "study.db", tmp_path / "other.db"
    path.touch()
    present = Presence(path)
    path.write_text("more")
    present.check()
    other.touch()
    other.replace(path)
    with pytest.raises(InputError, match="was deleted or replaced"):
        present.check()
    path.unlink()
    with pytest.raises(InputError, match="was deleted or replaced"):
        present.check()
    Presence(None).check()
