"""A bundle, run as on a device: by Python with NumPy and ONNX Runtime, nothing of this project installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from search.latency import profiler
from search.latency.bundle import write_bundle
from search.latency.device import Device
from search.latency.profiler import sample
from search.latency.table import Table
from spaces import InputError, SearchSpace

RUN = """
import runpy, sys
sys.argv = ["bundle.pyz", *sys.argv[1:]]
try:
    runpy.run_path("bundle.pyz", run_name="__main__")
finally:
    assert not {"torch", "spaces", "optuna", "pandas"} & set(sys.modules)
"""


@pytest.fixture
def there(tmp_path: Path, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the device with the bundle in it."""
    monkeypatch.setattr(profiler, "NUM_MET", 60)
    monkeypatch.setattr(profiler, "NUM_BLOCKS", 5)
    monkeypatch.setattr(profiler, "NUM_NETWORKS", 2)
    assert write_bundle(tmp_path / "bundle.pyz", Device("onnxruntime"), *sample(small_space)) > 1000
    return tmp_path


def run(there: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN, *arguments], cwd=there, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_leaves_a_table_that_predicts(there: Path, small_space: SearchSpace) -> None:
    said = run(there)
    assert "7 models to measure" in said
    assert "device.table=bundle.csv" in said
    table = Table(there / "bundle.csv")
    keys, networks = sample(small_space)
    assert set(table.blocks) == set(keys)
    assert set(table.networks) == {network.digest for network in networks}
    assert table.identity == {**table.identity, "threads": "1", "batch": "1", "dtype": "float32"}
    assert table.identity["runtime"].startswith("onnxruntime ")
    assert "0 models to measure" in run(there)  # it goes on where it was
    assert "another device or with other settings" in run(there, "--threads", "2", status=2)
    (there / "bundle.csv").write_text("words")
    assert "error: bundle.csv is no table" in run(there, status=2)
    assert (there / "bundle.csv").read_text() == "words"


def test_models_are_small_whatever_their_weights(there: Path) -> None:
    with zipfile.ZipFile(there / "bundle.pyz") as files:
        models = [info for info in files.infolist() if info.filename.endswith(".onnx")]
    assert len(models) == 7
    assert np.median([info.compress_size for info in models]) < 4000


@pytest.mark.parametrize(
    ("path", "runtime", "words"),
    [("/proc/nowhere/x.pyz", "onnxruntime", "cannot write"), ("x.pyz", "torch", "ONNX Runtime")],
)
def test_what_cannot_be_is_one_clear_error(tmp_path: Path, path: str, runtime: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_bundle(tmp_path / path, Device(runtime), [], [])
