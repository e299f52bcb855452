"""Filling a table on this machine: what is measured, resumed, refused. Times themselves are never asserted."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import search.latency.profiler as profiler
import spaces
from search.latency.device import Device
from search.latency.profiler import InContext, Profiler, Progress, sample
from search.latency.runtimes import RUNTIMES, UnsupportedError, export
from search.latency.table import Table, block_keys
from spaces import SearchSpace


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "BLOCK_BUDGET_S", 0.002)
    monkeypatch.setattr(profiler, "NETWORK_BUDGET_S", 0.002)
    monkeypatch.setattr(profiler, "NUM_MET", 60)
    monkeypatch.setattr(profiler, "NUM_BLOCKS", 14)
    monkeypatch.setattr(profiler, "NUM_NETWORKS", 3)


def make_profiler(folder: Path, runtime: str = "torch") -> Profiler:
    return Profiler(Device(runtime, table=str(folder / "table.csv")))


def test_sample_is_the_same_every_time_and_distinct(small_space: SearchSpace) -> None:
    keys, networks = sample(small_space)
    assert len(set(keys)) == len(keys) == 14
    assert len({network.digest for network in networks}) == 3
    assert (keys, networks) == sample(small_space)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_space_is_measured_and_kept(small_space: SearchSpace, tmp_path: Path, runtime: str) -> None:
    seen: list[Progress] = []
    first = make_profiler(tmp_path, runtime)
    end = first.extend(sample(small_space), watch=seen.append)
    assert (end.done, end.total) == (17, 17)
    assert seen[-1] == end
    table = Table(first.table.path)
    keys, networks = sample(small_space)
    assert set(table.blocks) == set(keys)
    assert set(table.networks) == {network.digest for network in networks}
    assert all(one.median_ms > 0 for one in table.blocks.values())


def test_a_table_is_extended_where_it_ended(small_space: SearchSpace, tmp_path: Path) -> None:
    first = make_profiler(tmp_path)
    assert first.extend(sample(small_space), budget_s=0).done == 0
    keys, _ = sample(small_space)
    first.measure_blocks(keys[:5])
    first.table.save()
    before = dict(first.table.blocks)
    seen: list[Progress] = []
    second = make_profiler(tmp_path)
    second.extend(sample(small_space), watch=seen.append)
    assert seen[0].done == 5
    for key in keys[:5]:
        assert second.table.blocks[key].median_ms == pytest.approx(before[key].median_ms, rel=1e-4)
    seen.clear()
    assert make_profiler(tmp_path).extend(sample(small_space), watch=seen.append) == Progress(17, 17, 0)
    assert [progress.done == progress.total for progress in seen] == [True]  # nothing was left to do


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", ["espnetv2", "nasnet", "dicenet", "shuffle_agg", "googlenet"])
def test_blocks_of_every_kind_run(runtime: str, name: str, tmp_path: Path) -> None:
    space = spaces.load_space(name, in_channels=3, num_classes=10, resolution=64)
    architecture = sample(space)[1][0]
    keys = list({key.block: key for key in block_keys(architecture)}.values())
    assert len(make_profiler(tmp_path, runtime).measure_blocks(keys)) == len(keys)


def test_a_block_stands_between_cheap_layers() -> None:
    block = nn.Conv2d(8, 6, 3, padding=1)
    module = InContext(block, [8])
    assert module(torch.randn(2, 1, 5, 5)).shape == (2, 6, 1, 1)
    stem = InContext(nn.Conv2d(3, 6, 3, padding=1), [3])
    assert stem(torch.randn(2, 3, 5, 5)).shape == (2, 6, 1, 1)
    assert sum(p.numel() for p in stem.before.parameters()) == 0


class Unknown(nn.Module):
    """A block with an operator that no exporter knows."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.special.i1(x)


def test_an_operator_the_runtime_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spaces.BLOCKS, "unknown", Unknown)
    described = {"in_channels": 8, "num_classes": 2, "resolution": 8, "layers": [{"block": "unknown"}]}
    key = block_keys(spaces.decode(described))[0]
    with pytest.raises(UnsupportedError, match=r"block 'unknown' .*: onnxruntime cannot run it"):
        make_profiler(tmp_path, "onnxruntime").measure_blocks([key])


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_runtimes_take_batches_and_types(runtime: str, dtype: str) -> None:
    seen = []

    class Noting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((tuple(x.shape), x.dtype))
            return x.relu()

    RUNTIMES[runtime](1, dtype).load(Noting(), [(3, 4, 5, 6)])()
    assert set(seen) == {((3, 4, 5, 6), getattr(torch, dtype))}
    network = spaces.build(spaces.network("resnet20_cifar"))
    RUNTIMES[runtime](1, dtype).load(network, [(3, 3, 32, 32)])()
    if runtime == "onnxruntime":
        model = onnx.load_from_string(export(network, [(3, 3, 32, 32)], getattr(torch, dtype)))
        [image] = model.graph.input
        assert [side.dim_value for side in image.type.tensor_type.shape.dim] == [3, 3, 32, 32]
        kinds = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16}
        assert image.type.tensor_type.elem_type == kinds[dtype]
