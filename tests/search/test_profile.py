"""The profile command: every network as the library gives it, overrides, both formats, one clear error each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from search import profile
from search.config import ProfileSettings, compose, run_command
from search.latency import profiler
from search.latency.table import Table
from search.reporting.layers import Profile
from spaces import cost, network, networks


def chosen(*arguments: str):
    [config] = compose(arguments, "profile")
    settings = ProfileSettings.from_mapping(config)
    return profile.chosen_network(settings.architecture, settings.network, settings.choices.get("network"))[1]


def command(*arguments: str) -> int:
    return run_command(
        profile.run_profile, ProfileSettings.from_mapping, description="", config_name="profile", argv=arguments
    )


def test_every_network_is_the_librarys() -> None:
    for name in networks():
        assert chosen(f"network={name}").digest == network(name).digest, name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["network=mobilenet_v2", "network.width_multiplier=0.5"], network("mobilenet_v2", width_multiplier=0.5)),
        (["network=vgg11", "network.resolution=[64, 96]"], network("vgg11", resolution=(64, 96))),
        (
            ["network=resnet18", "network.in_channels=1", "network.num_classes=10"],
            network("resnet18", in_channels=1, num_classes=10),
        ),
        (["network=espnet_c", "network.p=3", "network.q=4"], network("espnet_c", p=3, q=4)),
        (["network=espnet_c", "network.parameters.p=3"], network("espnet_c", p=3)),
    ],
)
def test_overrides_mean_what_they_mean_in_the_library(arguments: list[str], expected) -> None:
    assert chosen(*arguments).digest == expected.digest


def test_json_adds_up_to_the_networks_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("network=mobilenet_v2", "format=json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["flops"], data["params"]) == (300_774_272, 3_504_872)
    assert (sum(layer["flops"] for layer in data["layers"]), data["layers"][-1]["block"]) == (300_774_272, "head")
    assert (data["layers"][0]["size"], data["layers"][0]["stride"]) == ([112, 112], 2)


def test_table_shows_layers_and_totals_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("network=mobilenet_v2") == 0
    out = capsys.readouterr().out
    assert "300,774,272" in out
    assert "3,504,872" in out
    assert out.count("inverted_residual") == 17
    assert "112x112" in out


def test_an_architecture_file_is_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = network("shufflenet_v2", width_multiplier=0.5, resolution=64, num_classes=7)
    path = tmp_path / "0007.yaml"
    path.write_text(yaml.safe_dump(architecture.to_dict(), sort_keys=False))
    assert command(f"architecture={path}", "format=json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["network"], data["digest"], data["num_classes"]) == ("0007", architecture.digest, 7)


def test_bytes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("network=mobilenet_v2", "format=json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["activation_bytes"] == 4 * 96 * (112**2 + 56**2)
    assert data["memory_access"] == sum(layer["memory_access"] for layer in data["layers"])
    assert data["layers"][0]["memory_access"] == 4 * (3 * 224**2 + 32 * 112**2 + 27 * 32)
    assert command("network=mobilenet_v2") == 0
    assert "6.02" in capsys.readouterr().out  # megabytes


def test_latency_is_measured_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiler, "BLOCK_BUDGET_S", 0.002)
    monkeypatch.setattr(profiler, "NETWORK_BUDGET_S", 0.002)
    table = tmp_path / "table.csv"
    arguments = ["network=resnet20_cifar", "device=torch", f"device.table={table}"]
    assert command(*arguments, "format=json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["latency"]["median_ms"] > 0
    assert data["latency"]["predicted_ms"] > 0
    assert len([layer["latency"]["median_ms"] for layer in data["layers"]]) == 11
    before = Table(table).blocks
    assert command(*arguments) == 0
    assert "Predicted: what each layer adds to the network" in capsys.readouterr().out
    assert Table(table).blocks == before  # taken from the table, not measured again
    assert command(*arguments, "device.threads=2") == 2
    assert "another device" in capsys.readouterr().err


def test_a_spaces_table_is_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BLOCK_BUDGET_S": 0.002,
        "NETWORK_BUDGET_S": 0.002,
        "NUM_MET": 60,
        "NUM_BLOCKS": 12,
        "NUM_NETWORKS": 2,
    }.items():
        monkeypatch.setattr(profiler, name, value)
    table = tmp_path / "table.csv"
    assert command("space=mobilenet_v2", "resolution=16", "device=torch", f"device.table={table}") == 0
    assert "14 of 14 blocks and networks" in capsys.readouterr().out
    assert (len(Table(table).blocks), len(Table(table).networks)) == (12, 2)


def test_rows_are_the_layers_in_order() -> None:
    architecture = network("resnet20_cifar")
    rows = Profile.of("x", architecture).rows
    assert [row.name for row in rows] == [layer.block for layer in architecture.layers]
    assert sum(row.flops for row in rows) == cost(architecture).flops


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "network must be given"),
        (["network=mobilenet_v4"], "did you mean 'mobilenet_v2'?"),
        (["network=mobilenet_v2", "network.widh_multiplier=1"], "did you mean 'width_multiplier'?"),
        (["network=mobilenet_v2", "network.width_multiplier=0"], "width_multiplier must be a number above zero"),
        (["network=mobilenet_v2", "network.resolution=2"], "leaves a side below one pixel"),
        (["network=mobilenet_v2", "network.resolution=big"], "resolution is one side in pixels or [height, width]"),
        (["network=espnet_c", "network.p=many"], "repeat must be a whole number"),
        (["network.width_multiplier=2"], "no network is chosen"),
        (["network=mobilenet_v2", "format=xml"], "there is no format 'xml'"),
        (["architecture=nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["network=mobilenet_v2", "architecture=nowhere.yaml"], "both given"),
        (["architecture=[7]"], "[7]: there is no such file"),
        (["-m", "architecture=[7]"], "must be the path of a YAML file"),
        (["space=shuffle_agg"], "takes a device"),
        (["space=shuffle_agg", "device=torch", "budget_s=soon"], "budget_s='soon': must be a number of seconds"),
        (["space=shuffle_agg", "device=torch", "network=vgg11"], "both given"),
        (["network=vgg11", "device=torch", "device.threads=0"], "device.threads=0: must be a whole number"),
        (["network=vgg11", "device=torch", "device.table=/proc/1/none.csv", "network.resolution=32"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
