"""The device that a search is for: here or elsewhere, and the same predictions whenever the study goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.latency import profiler
from search.latency.device import Device, describe
from search.latency.profiler import Progress
from search.latency.table import Table
from search.latency.target import Target, identify
from spaces import InputError, SearchSpace
from tests.search.latency.fake import fill

ELSEWHERE = {"device": "a phone", "runtime": "torch 1.0", "threads": "1", "batch": "1", "dtype": "float32"}


@pytest.fixture
def brought(tmp_path: Path, small_space: SearchSpace) -> Device:
    """A device whose table comes from another machine."""
    table = fill(Table(tmp_path / "phone.csv", ELSEWHERE), small_space)
    table.save()
    return Device("torch", table=str(tmp_path / "phone.csv"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOCK_BUDGET_S", "NETWORK_BUDGET_S"):
        monkeypatch.setattr(profiler, name, 0.002)
    monkeypatch.setattr(profiler, "NUM_MET", 60)
    monkeypatch.setattr(profiler, "NUM_BLOCKS", 14)
    monkeypatch.setattr(profiler, "NUM_NETWORKS", 4)


def prepare(device: Device, space: SearchSpace, watch: Callable[[Progress], None] = lambda progress: None) -> Target:
    return Target.prepare(device, identify(device), space, watch)


def test_a_table_of_another_machine_stands_for_it(brought: Device, small_space: SearchSpace) -> None:
    target = prepare(brought, small_space)
    assert not target.is_here
    assert target.identity == ELSEWHERE
    assert target.covers.count(" of the ") == 2
    architecture = small_space.random(np.random.default_rng(5)).architecture
    assert target.predictor.predict([architecture]).latency_ms[0] > 0


def test_its_runtime_need_not_run_here(brought: Device, small_space: SearchSpace) -> None:
    path = Path(str(brought.table))
    path.write_text(path.read_text().replace("torch 1.0", "cuda 13"))
    assert identify(Device("cuda", table=str(path))).is_here is False


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"threads": 4}, "give device.threads=1"),
        ({"batch": 8}, "give device.batch=1"),
        ({"dtype": "float16"}, "give device.dtype=float32"),
        ({"runtime": "onnxruntime"}, "give device=torch"),
    ],
)
def test_other_settings_than_the_tables_are_refused(brought: Device, changed: dict[str, Any], hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        identify(Device(**{"runtime": "torch", "table": brought.table, **changed}))


def test_a_table_that_says_nothing_is_refused(tmp_path: Path, small_space: SearchSpace) -> None:
    table = fill(Table(tmp_path / "phone.csv", ELSEWHERE), small_space)
    table.blocks.clear()
    table.save()
    with pytest.raises(InputError, match="holds no block"):
        prepare(Device("torch", table=str(tmp_path / "phone.csv")), small_space)


def test_a_new_table_is_this_machines(tmp_path: Path, small_space: SearchSpace, quick: None) -> None:
    device, told = Device("torch", table=str(tmp_path / "new.csv")), []
    target = prepare(device, small_space, told.append)
    assert target.is_here
    assert target.identity == describe(device, device.open()) == Table(tmp_path / "new.csv").identity
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 18, 18)
    architecture = small_space.random(np.random.default_rng(5)).architecture
    [(measured_of, measured)] = target.measure([architecture])
    assert measured_of == architecture
    assert measured.median_ms > 0
    assert architecture.digest in Table(tmp_path / "new.csv").networks


def test_what_was_packed_predicts_the_same(brought: Device, small_space: SearchSpace) -> None:
    before = prepare(brought, small_space)
    packed = before.pack()
    table = Table(Path(str(brought.table)))  # the table learns on
    for key, measured in list(table.blocks.items())[::2]:
        table.blocks[key] = measured._replace(median_ms=2 * measured.median_ms)
    table.save()
    after = Target.unpack(brought, packed)
    rng = np.random.default_rng(5)
    architectures = [small_space.random(rng).architecture for _ in range(10)]
    np.testing.assert_allclose(
        after.predictor.predict(architectures).latency_ms, before.predictor.predict(architectures).latency_ms, rtol=1e-3
    )
    assert after.pack() == packed
    # on another machine, whatever that has: the study's device stays what it is
    for device in (Device("torch"), Device("cuda"), Device("onnxruntime")):
        elsewhere = Target.unpack(device, packed)
        assert (elsewhere.identity, elsewhere.is_here) == (ELSEWHERE, False)


def test_time_that_is_up_leaves_a_table_to_go_on_with(tmp_path: Path, small_space: SearchSpace, quick: None) -> None:
    device = Device("torch", table=str(tmp_path / "new.csv"), budget_s=1e-9)
    with pytest.raises(InputError, match=r"device\.budget_s"):
        prepare(device, small_space)
    assert prepare(Device("torch", table=str(tmp_path / "new.csv")), small_space).is_here
