"""Devices from their config, what identifies them, and where their tables lie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from search.config import CONF
from search.latency.device import Device, describe, table_path
from spaces import InputError


class Made:
    """A runtime that runs nothing."""

    def __init__(self, version: str = "1.0", hardware: str = "a processor") -> None:
        self._version, self._hardware = version, hardware

    def load(self, module, shapes):
        raise NotImplementedError

    def version(self) -> str:
        return self._version

    def hardware(self) -> str:
        return self._hardware


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "device").glob("*.yaml"))])
def test_every_file_describes_a_device(name: str) -> None:
    device = Device.from_config(OmegaConf.to_container(OmegaConf.load(CONF / "device" / f"{name}.yaml")))
    if name == "none":
        assert device is None
    else:
        assert device == Device(name, threads=1, batch=1, dtype="float32", table=None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"runtime": "onxruntime"}, "device.runtime: there is no runtime 'onxruntime'; did you mean 'onnxruntime'?"),
        ({"runtime": "torch", "dtype": "float23"}, "device.dtype: there is no dtype 'float23'; did you mean"),
        ({"runtime": "torch", "threads": 0}, "device.threads=0: must be a whole number of at least 1"),
        ({"runtime": "torch", "batch": 1.5}, "device.batch=1.5: must be a whole number"),
        ({"runtime": "torch", "batch": True}, "device.batch=True: must be a whole number"),
        ({"runtime": "torch", "thread": 2}, "device.thread: there is no such setting; did you mean 'threads'?"),
        ({"runtime": "torch", "table": 7}, "device.table=7: must be the path"),
    ],
)
def test_mistakes_are_named(config: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Device.from_config(config)
    assert message in str(caught.value)


def test_a_runtime_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs the package 'onnxruntime': pip install .*device=torch"):
        Device("onnxruntime").open()


def test_cuda_without_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device=cuda needs a CUDA GPU"):
        Device("cuda").open()


def test_each_device_has_a_table_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    devices = [
        (Device("torch"), Made()),
        (Device("torch", threads=2), Made()),
        (Device("torch", batch=8), Made()),
        (Device("torch", dtype="float16"), Made()),
        (Device("torch"), Made(version="1.1")),
        (Device("torch"), Made(hardware="another")),
        (Device("onnxruntime"), Made()),
    ]
    paths = [table_path(device, describe(device, runtime)) for device, runtime in devices]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path / "smallnets") for path in paths)
    assert table_path(Device("torch"), describe(Device("torch"), Made())) == paths[0]


def test_a_table_of_ones_own_is_taken() -> None:
    assert table_path(Device("torch", table="/data/phone.csv"), {}) == Path("/data/phone.csv")
