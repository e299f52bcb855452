"""Profiles of networks of one's own, and the page of a profile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plotly.offline import get_plotlyjs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search import profile as profile_command
from search.latency.guidelines import GUIDELINES, SCALES, SIDE
from search.latency.measuring import Measurement
from search.modules import profile_module
from search.reporting.layers import Profile
from spaces import InputError, build, cost, network
from spaces.memory import activation_bytes, memory_access
from tests.search.conftest import readme_example


class Own(nn.Module):
    """Two convolutions, one of them in a container, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.body = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 1, bias=False))
        self.end = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(self.stem(x)).mean((2, 3)))


def test_layers_of_any_module_are_priced_in_order() -> None:
    own = Own()
    profile = profile_module(own, 16)
    assert [row.name for row in profile.rows] == [
        "stem Conv2d",
        "body.0 BatchNorm2d",
        "body.1 ReLU",
        "body.2 Conv2d",
        "end Linear",
    ]
    assert [row.flops for row in profile.rows] == [64 * 27 * 8, 0, 0, 64 * 8 * 16, 16 * 5]
    assert [row.params for row in profile.rows] == [27 * 8, 16, 0, 8 * 16, 85]
    assert profile.rows[0].memory_access == 4 * (3 * 256 + 8 * 64 + 27 * 8)
    assert profile.totals["params"] == sum(p.numel() for p in own.parameters())
    assert next(own.parameters()).device.type == "cpu"


def test_a_built_network_costs_what_its_architecture_does() -> None:
    architecture = network("mobilenet_v2", resolution=64)
    totals = profile_module(build(architecture), 64).totals
    assert (totals["flops"], totals["params"]) == cost(architecture)[:2]
    assert totals["memory_access"] == memory_access(architecture)
    assert totals["activation_bytes"] == activation_bytes(architecture)


def test_a_module_is_timed_layer_by_layer() -> None:
    profile = profile_module(Own(), 16, device="torch", budget_s=0.002)
    assert profile.latency is not None
    assert len(profile.latency.layers) == 5
    assert profile.to_dict()["latency"]["median_ms"] > 0
    assert "predicted_ms" not in profile.to_dict()["latency"]


def test_what_cannot_be_profiled_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="does not run on images of"):
        profile_module(Own(), 16, in_channels=4)


def test_a_page_holds_the_profile_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    latency = profile_module(Own(), 16, device="torch", budget_s=0.002).latency
    assert latency is not None
    profile = Profile.of("a <b>network</b>", network("resnet20_cifar"))
    profile.write_page(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text().replace(get_plotlyjs(), "")
    assert "a &lt;b&gt;network" in text
    assert text.count("<tr>") == 1 + len(profile.rows) + 1
    assert 'src="http' not in text
    assert 'href="http' not in text


def test_the_example_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(readme_example("profile_module"), {})
    said = capsys.readouterr().out
    for whole in ("Conv2d", "AdaptiveAvgPool2d", "measured (ms)"):
        assert whole in said
    assert (tmp_path / "network.html").exists()


class Positions(nn.Module):
    """Ends in numbers of classes, as deployed classifiers do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1)


def test_outputs_need_not_be_maps() -> None:
    profile = profile_module(
        nn.Sequential(nn.Conv2d(3, 8, 3), Positions()), 16, device="torch", dtype="float16", budget_s=0.01
    )
    assert [row.flops for row in profile.rows] == [14 * 14 * 27 * 8, 0]


@pytest.mark.parametrize("resolution", [0, (3,), "a", (8, 8, 8)])
def test_a_resolution_that_is_none_is_said(resolution: object) -> None:
    with pytest.raises(InputError, match="resolution="):
        profile_module(Own(), resolution)  # type: ignore[arg-type]


@pytest.mark.parametrize("guideline", GUIDELINES[:3], ids=lambda guideline: guideline.title[:2])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_guidelines_blocks_cost_alike(guideline: object, on_gpu: bool) -> None:
    counts = []
    for case in guideline.cases:  # type: ignore[attr-defined]
        counter = FlopCounterMode(display=False)
        with torch.device("meta"), torch.no_grad(), counter:
            module, channels = case.network(SCALES[0], on_gpu)
            assert module.eval()(torch.empty(1, channels, SIDE, SIDE)).shape == (1, channels, SIDE, SIDE)
        counts.append(counter.get_total_flops())
    assert max(counts) / min(counts) < 1.07  # whole channels


def test_guidelines_are_printed_beside_the_papers_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(profile_command, "measure", lambda runs, budget_s: [Measurement(2.0, 0.0, 50)] * len(runs))
    monkeypatch.setattr(profile_command.Profiler, "load", lambda self, module, shapes: lambda: None)
    assert command("guidelines=true", "device=torch", f"device.table={tmp_path / 't.csv'}") == 0
    said = capsys.readouterr().out
    for figure in ("500.0", "57.6", "748", "2842", "66.3"):
        assert figure in said
    assert command("guidelines=true") == 2
    assert "device=onnxruntime" in capsys.readouterr().err


def command(*arguments: str) -> int:
    run, check = profile_command.run_profile, profile_command.ProfileSettings.from_mapping
    return profile_command.run_command(run, check, description="", config_name="profile", argv=arguments)
