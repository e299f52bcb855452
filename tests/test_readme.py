"""What the README promises a newcomer: its commands run as they are written, and its tables are the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.reporting.tables import LEARNT_COLUMNS, TRIAL_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_column_of_the_tables_is_explained() -> None:
    explained = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section("What a search leaves"), re.MULTILINE))
    columns = {**TRIAL_COLUMNS, **LEARNT_COLUMNS}
    assert {name: explained.get(name) for name in columns} == columns


def test_four_commands_lead_from_a_search_to_a_verified_onnx_file(tmp_path: Path) -> None:
    """As they are written, but for their length."""
    shorter = {
        "run": [
            "trials=4",
            "workers=1",
            "train.epochs=1",
            "tracker=tensorboard",
            "study=shuffle_agg-digits",
            "device=none",
        ]
    }
    shorter["train"] = ["train.epochs=2", "seeds=[0, 1]", "device=none"]
    fenced = re.search(r"```sh\n(.*?)```", section("From a search to a file that ships"), re.DOTALL)
    assert fenced is not None
    commands = [shlex.split(line) for line in fenced[1].splitlines()]
    assert [words[2] for words in commands] == ["search.run", "search.pick", "search.train", "search.export"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for _, *words in commands:
        command = [sys.executable, *words, *shorter.get(words[1].removeprefix("search."), [])]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "trained" / "digits"
    exported = json.loads((folder / "results.json").read_text())["export"]
    assert exported["accuracy"] == exported["accuracy_torch"]
    assert exported["images"] == 359
    onnx.checker.check_model(onnx.load(folder / "model.onnx"))
    assert "python -m search.export folder=trained/digits" in (folder / "model_card.md").read_text()
    events = EventAccumulator(str(tmp_path / "results" / "shuffle_agg-digits" / "tensorboard")).Reload()
    assert len(events.Scalars("study/accuracy")) == 4
