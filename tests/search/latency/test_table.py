"""The table on disk: round trips, damage, other devices, full disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

import spaces
from search.latency.measuring import Measurement
from search.latency.table import BlockKey, Table, block_keys
from spaces import BLOCKS, InputError, decode
from tests.search.latency.fake import IDENTITY, empty_table

NETWORKS = ["nasnet_a_mobile", "espnetv2", "googlenet", "dicenet", "mobilenet_v3_small", "squeezenext_23"]


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_come_back_from_their_line(name: str) -> None:
    for key in block_keys(spaces.network(name)):
        assert BlockKey.from_json(key.to_json()) == key
        assert BlockKey.of(key.layer, key.size) == key
        assert "\n" not in key.to_json()


def test_a_table_comes_back_from_disk(tmp_path: Path) -> None:
    table, architecture = empty_table(tmp_path), spaces.network("espnetv2", resolution=64)
    table.blocks = {key: Measurement(0.125 * i, 0.5, 60) for i, key in enumerate(block_keys(architecture), 1)}
    table.networks[architecture.digest] = architecture, Measurement(12.5, 0.25, 80)
    table.save()
    back = Table(table.path)
    assert (back.identity, back.blocks) == (IDENTITY, table.blocks)
    assert back.networks == {architecture.digest: (architecture, Measurement(12.5, 0.25, 80))}


def test_equal_blocks_of_different_networks_are_one(tmp_path: Path) -> None:
    keys = block_keys(spaces.network("mobilenet_v2"))
    assert len(keys) == 20
    assert len(set(keys)) == 15


def saved(folder: Path) -> Path:
    table = empty_table(folder)
    table.blocks = dict.fromkeys(block_keys(spaces.network("resnet20_cifar")), Measurement(1.0, 0.1, 50))
    table.save()
    return table.path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("median_ms", "speed", "is no table of latencies"),
        (",1,0.1,50", ",fast,0.1,50", "line 2 is damaged"),
        (",1,0.1,50", ",-1,0.1,50", "a latency is above zero"),
        (",1,0.1,50", ",nan,0.1,50", "a latency is above zero"),
        (",1,0.1,50", "", "line 2 is damaged \\(it has 7 of 10 columns"),
        (",block,", ",brick,", "no kind of measurement is called 'brick'"),
        ('""block""', '""blck""', "line 2 is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = saved(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        Table(path)


def test_half_a_file_is_damage(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is damaged"):
        Table(path)


def test_another_devices_table_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(InputError, match="another device: threads is '1' instead of '4'"):
        Table(path, IDENTITY | {"threads": "4"})


def test_two_devices_are_never_mixed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1].replace("made up", "a phone")]))
    with pytest.raises(InputError, match="another device"):
        Table(path)


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        Table(tmp_path / "nowhere.csv")


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    table = Table(path)
    table.blocks.clear()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*No space left on device.*unharmed"):
        table.save()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_keep_what_each_has_measured(tmp_path: Path) -> None:
    keys = block_keys(spaces.network("mobilenet_v2"))
    one, other = Table(tmp_path / "table.csv", IDENTITY), Table(tmp_path / "table.csv", IDENTITY)
    one.blocks = dict.fromkeys(keys[:3], Measurement(1.0, 0.1, 60))
    one.save()
    other.blocks = dict.fromkeys(keys[3:5], Measurement(2.0, 0.1, 60))
    other.save()
    one.blocks[keys[0]] = Measurement(3.0, 0.1, 60)
    one.save()
    assert Table(one.path).blocks.keys() == set(keys[:5])
    assert Table(one.path).blocks[keys[0]].median_ms == 3
    assert list(tmp_path.iterdir()) == [one.path]


def user_block(kernel_size: int) -> type[nn.Module]:
    class Own(nn.Conv2d):
        def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
            super().__init__(in_channels, out_channels, kernel_size, stride)

    Own.__qualname__ = f"Own{kernel_size}"
    return Own


def test_a_users_block_that_was_changed_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"layers": [{"block": "own", "channels": 4}], "in_channels": 3, "num_classes": 2, "resolution": 8}
    monkeypatch.setitem(BLOCKS, "own", user_block(1))
    first, table = decode(described), Table(tmp_path / "table.csv", IDENTITY)
    table.blocks = {key: Measurement(1.0, 0.1, 50) for key in block_keys(first)}
    table.networks[first.digest] = first, Measurement(2.0, 0.1, 50)
    table.save()
    assert len(Table(table.path).blocks) == 2
    monkeypatch.setitem(BLOCKS, "own", user_block(3))
    changed = Table(table.path)
    assert [key.block for key in changed.blocks] == ["head"]
    assert not changed.networks
    assert block_keys(decode(described))[0] not in changed.blocks
    changed.save()
    monkeypatch.delitem(BLOCKS, "own")
    Table(table.path).save()  # nor does a table suffer where the block is not imported
    monkeypatch.setitem(BLOCKS, "own", user_block(1))
    back = Table(table.path)
    assert back.blocks.keys() == table.blocks.keys()
    assert back.networks.keys() == {first.digest}
