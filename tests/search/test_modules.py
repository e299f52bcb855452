"""Profiles of networks of one's own, and the page of a profile."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plotly.offline import get_plotlyjs
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from search import profile as profile_command
from search.latency import call_times
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
    with pytest.raises(InputError, match=r"of \(3, 16, 16\): AssertionError \(.*test_modules.py, line \d+\)"):
        profile_module(Net(_refuses), 16)
    with pytest.raises(InputError, match="module=Net: it cannot be copied"):
        profile_module(Net(lambda net, x: x, lock=threading.Lock()), 16)
    with pytest.raises(InputError, match=r"device='onnxruntime': .*; device='torch' runs what PyTorch runs"):
        profile_module(Net(lambda net, x: torch.fft.fft2(x).real), 16, device="onnxruntime")


def _refuses(net: nn.Module, x: Tensor) -> Tensor:
    raise AssertionError  # as Python's own assert, which says nothing either


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


class Net(nn.Module):
    """A network of parts, parameters or anything else by name, and what its forward does with them."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self._does = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self._does(self, x)


class Repeated(nn.Module):
    """A block with a keyword of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 3)

    def forward(self, x: Tensor, times: int = 1) -> Tensor:
        for _ in range(times):
            x = self.conv(x)
        return x


class Joined(nn.Module):
    """Takes a list of maps, as the layers of DenseNet do."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.conv = conv(sum(channels), 4)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.conv(torch.cat(maps, 1))


class OwnSequential(nn.Sequential):
    """A container that computes something itself."""

    def __init__(self) -> None:
        super().__init__(conv(3, 8))
        self.weight = weight(4, 8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(super().forward(x), self.weight)


class ViT(nn.Module):
    """A vision transformer written out: patches, a class token and positions, two blocks of attention, by `@` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.positions = weight(1, 1, 16), weight(1, 5, 16)
        self.qkv = nn.ParameterList([weight(16, 48) for _ in range(2)])
        self.outs = nn.ModuleList([nn.Linear(16, 16) for _ in range(2)])
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        for qkv, out in zip(self.qkv, self.outs, strict=True):
            q, k, v = (x @ qkv).chunk(3, -1)
            x = x + out((q @ k.transpose(1, 2)).softmax(-1) @ v)
        return self.head(x[:, 0])


def conv(in_channels: int, out_channels: int, kernel_size: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def unet() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        high = net.high(x)
        return net.end(torch.cat([high, net.up(net.low(high))], 1))

    up = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=2)
    return Net(forward, high=conv(3, 8, 3), low=nn.Conv2d(8, 8, 3, 2, 1, bias=False), up=up, end=conv(12, 2))


def densenet() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        maps = [x]
        for layer in net.layers:
            maps.append(layer(maps))
        return torch.cat(maps, 1)

    return Net(forward, layers=nn.ModuleList([Joined(3), Joined(3, 4), Joined(3, 4, 4)]))


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (N, H W, C)


def tied() -> nn.Module:
    network = nn.Sequential(conv(3, 8), conv(8, 3), conv(3, 8))
    network[2].weight = network[0].weight
    return network


def scripted() -> nn.Module:
    inner = torch.jit.script(nn.Sequential(conv(3, 8), nn.ReLU()))
    return Net(lambda net, x: net.end(net.inner(x)), inner=inner, end=conv(8, 2))


def through_a_method() -> nn.Module:
    backbone = Net(lambda net, x: net.end(net.features(x)), features=nn.Sequential(conv(3, 8)), end=conv(8, 4))
    return Net(lambda net, x: net.head(net.backbone.features(x)), backbone=backbone, head=conv(8, 2))


def remembered(stacked: bool) -> nn.Module:
    recurrent = nn.LSTM(12, 8, 2, batch_first=True, bidirectional=True) if stacked else nn.GRU(12, 8, batch_first=True)
    width = 16 if stacked else 8
    return Net(
        lambda net, x: net.end(net.cell(x.flatten(1, 2)[:, :, :8].repeat(1, 1, 2)[:, :, :12])[0][:, -1]),
        cell=recurrent,
        end=nn.Linear(width, 5),
    )


# on 3 x 8 x 8: multiply-adds and parameters, by hand
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "convolution at the root": (
        lambda: Net(lambda net, x: F.conv2d(net.stem(x), net.w), stem=conv(3, 8), w=weight(4, 8, 3, 3)),
        64 * 24 + 36 * 9 * 32,
        24 + 288,
    ),
    "product at the root": (
        lambda: Net(lambda net, x: net.stem(x).mean((2, 3)) @ net.w, stem=conv(3, 8), w=weight(8, 10)),
        64 * 24 + 80,
        24 + 80,
    ),
    "a vision transformer": (
        ViT,
        4 * 48 * 16 + 2 * (5 * 16 * 48 + 2 * 5 * 5 * 16 + 5 * 16 * 16) + 160,
        48 * 16 + 16 + 6 * 16 + 2 * (16 * 48 + 16 * 16 + 16) + 170,
    ),
    "one layer three times": (
        lambda: Net(lambda net, x: net.b(net.b(net.b(net.a(x)))), a=conv(3, 8), b=conv(8, 8, 3)),
        64 * (24 + 3 * 576),
        24 + 576,
    ),
    "one layer by two names": (
        lambda: Net(lambda net, x: net.b(net.a(x)), **dict.fromkeys("ab", conv(3, 3))),
        2 * 64 * 9,
        9,
    ),
    "tied weights": (tied, 3 * 64 * 24, 48),
    "a keyword of a block": (lambda: Net(lambda net, x: net.block(x, times=4), block=Repeated()), 4 * 64 * 9, 9),
    "all by keyword": (lambda: Net(lambda net, x: net.conv(input=x), conv=conv(3, 8)), 64 * 24, 24),
    "transposed convolutions": (
        unet,
        64 * 216 + 16 * 576 + 16 * 8 * 2 * 9 + 64 * 24,
        216 + 576 + 8 * 2 * 9 + 4 + 24,
    ),
    "lists of maps": (densenet, 64 * 4 * (3 + 7 + 11), 4 * (3 + 7 + 11)),
    "outputs by name": (lambda: Net(lambda net, x: {"a": net.a(x), "b": [net.a(x)]}, a=conv(3, 8)), 2 * 64 * 24, 24),
    "a layer with a dict": (
        lambda: Net(lambda net, x: net.a(x)["y"], a=Net(lambda net, x: {"y": net.c(x)}, c=conv(3, 8))),
        64 * 24,
        24,
    ),
    "a layer that gives nothing": (
        lambda: Net(lambda net, x: (net.note(x), net.c(x))[1], note=Net(lambda net, x: None), c=conv(3, 8)),
        64 * 24,
        24,
    ),
    "one number an image": (
        lambda: Net(lambda net, x: net.mean(net.c(x)), mean=Net(lambda net, x: x.mean((1, 2, 3))), c=conv(3, 8)),
        64 * 24,
        24,
    ),
    "plain tensors": (
        lambda: Net(
            lambda net, x: net.c(x * net.scale + net.shifts["a"][0] + torch.arange(8)),
            c=conv(3, 8),
            scale=torch.randn(3, 1, 1, requires_grad=True) * 2,
            shifts={"a": [torch.randn(1)]},
        ),
        64 * 24,
        24,
    ),
    "lazy layers": (
        lambda: nn.Sequential(nn.LazyConv2d(8, 1), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10)),
        64 * 24 + 5120,
        32 + 16 + 5130,
    ),
    "half precision": (lambda: nn.Sequential(conv(3, 8), nn.BatchNorm2d(8)).half(), 64 * 24, 40),
    "bfloat16": (lambda: nn.Sequential(conv(3, 8), nn.ReLU()).bfloat16(), 64 * 24, 24),
    "a scripted layer": (scripted, 64 * (24 + 16), 24 + 16),
    "a scripted network": (lambda: torch.jit.script(nn.Sequential(conv(3, 8), conv(8, 2))), 64 * 40, 40),
    "a traced network": (lambda: torch.jit.trace(conv(3, 8), torch.randn(1, 3, 8, 8)), 64 * 24, 24),
    "attention": (
        lambda: Net(lambda net, x: net.a(*[tokens(x)] * 3, need_weights=False)[0], a=nn.MultiheadAttention(3, 1)),
        64 * 36 + 2 * 64 * 3,  # 64 sequences of length 1
        12 * 3 + 12,
    ),
    "an encoder": (
        lambda: Net(
            lambda net, x: net.e(tokens(net.c(x))),
            c=conv(3, 8),
            e=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        ),
        64 * 24 + 2 * (64 * (4 * 64 + 2 * 128) + 2 * 64 * 64 * 8),
        24 + 2 * (4 * 64 + 32 + 2 * 128 + 24 + 32),
    ),
    "a GRU": (lambda: remembered(False), 24 * 3 * 8 * 20 + 40, 3 * 8 * 22 + 45),
    "an LSTM": (
        lambda: remembered(True),
        2 * 24 * 32 * (20 + 24) + 80,
        2 * 32 * (22 + 26) + 85,
    ),
    "a container that computes": (OwnSequential, 64 * (24 + 32), 56),
    "parts of a layer": (through_a_method, 64 * (24 + 16), 24 + 32 + 16),
    "weights of a layer that is not called": (
        lambda: Net(lambda net, x: F.conv2d(x, net.c.weight), c=conv(3, 8)),
        64 * 24,
        24,
    ),
    "weights as arguments": (
        lambda: Net(
            lambda net, x: net.f(x, weight=net.w),
            f=type("F", (nn.Module,), {"forward": _convolves})(),
            w=weight(8, 3, 1, 1),
        ),
        64 * 24,
        24,
    ),
    "a branch that does not run": (
        lambda: Net(lambda net, x: net.a(x) + (net.b(x) if net.training else 0), a=conv(3, 8), b=conv(3, 8)),
        64 * 24,
        48,
    ),
    "a path that values decide": (
        lambda: Net(lambda net, x: net.a(x) if x.sum().item() > -1e9 else net.b(x), a=conv(3, 8), b=conv(3, 8)),
        64 * 24,
        48,
    ),
    "normalised weights": (
        lambda: nn.Sequential(parametrizations.weight_norm(conv(3, 8)), nn.ReLU()),
        64 * 24,
        24 + 8,
    ),
    "other numbers of dimensions": (
        lambda: Net(
            lambda net, x: net.b(net.a(x[:, None]).flatten(3)[:, 0]), a=nn.Conv3d(1, 2, 1), b=nn.Conv1d(3, 4, 3)
        ),
        192 * 2 + 62 * 36,
        4 + 40,
    ),
    "no layers": (lambda: conv(3, 8), 64 * 24, 24),
    "no work": (nn.Sequential, 0, 0),
}


def _convolves(self: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight)


@pytest.mark.parametrize("name", NETWORKS)
def test_totals_are_those_of_the_whole_network(name: str) -> None:
    make, flops, params = NETWORKS[name]
    profile = profile_module(make(), 8)
    assert (profile.totals["flops"], profile.totals["params"]) == (flops, params)
    assert profile.totals["flops"] == sum(row.flops for row in profile.rows)
    assert [row.position for row in profile.rows] == list(range(len(profile.rows)))
    assert not any("leave out" in note for note in profile.notes)
    assert str(profile)


@pytest.mark.parametrize("name", ["a vision transformer", "transposed convolutions", "lists of maps", "an LSTM"])
def test_totals_are_those_of_pytorchs_counter(name: str) -> None:
    network = NETWORKS[name][0]()
    totals = profile_module(network, 8).totals
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        copy.deepcopy(network).to("meta").eval()(torch.empty(1, 3, 8, 8, device="meta"))
    assert totals["flops"] == counter.get_total_flops() // 2
    assert totals["params"] == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("product at the root", [("stem Conv2d", 1536, 24), ("Net (own operations)", 80, 80)]),
        ("one layer three times", [("a Conv2d", 1536, 24), ("b Conv2d", 36864, 576)] + 2 * [("b Conv2d", 36864, 0)]),
        ("tied weights", [("0 Conv2d", 1536, 24), ("1 Conv2d", 1536, 24), ("2 Conv2d", 1536, 0)]),
        ("a container that computes", [("0 Conv2d", 1536, 24), ("OwnSequential (own operations)", 2048, 32)]),
        (
            "parts of a layer",
            [
                ("backbone.features.0 Conv2d", 1536, 24),
                ("head Conv2d", 1024, 16),
                ("backbone.end Conv2d (not run)", 0, 32),
            ],
        ),
        ("a branch that does not run", [("a Conv2d", 1536, 24), ("b Conv2d (not run)", 0, 24)]),
        ("weights of a layer that is not called", [("Net (own operations)", 1536, 24)]),
        ("no layers", [("Conv2d", 1536, 24)]),
    ],
)
def test_every_count_stands_in_one_row(name: str, rows: list[tuple[str, int, int]]) -> None:
    profile = profile_module(NETWORKS[name][0](), 8)
    assert [(row.name, row.flops, row.params) for row in profile.rows] == rows


def test_parameters_that_a_layer_does_not_use_are_marked() -> None:
    inner = Net(lambda net, x: net.a(x), a=conv(3, 8), b=conv(3, 8))
    [row] = profile_module(Net(lambda net, x: net.inner(x), inner=inner), 8).rows
    assert row.name == "inner Net (24 parameters not used)"
    assert (row.params, row.details["unused_params"]) == (48, 24)


@pytest.mark.parametrize(
    ("network", "operator"),
    [
        (Net(lambda net, x: x.flatten(0, 2) @ net.w, w=weight(8)), "mv"),
        (Net(lambda net, x: net.b(x.mean((2, 3)), x.mean((2, 3))), b=nn.Bilinear(3, 3, 4)), "_trilinear"),
        (Net(lambda net, x: torch.fft.fft2(x).real), "_fft_c2c"),
        (Net(lambda net, x: torch.ops.mine.product(x)), "mine::product"),
    ],
)
def test_what_pytorchs_counter_cannot_count_is_told(network: nn.Module, operator: str) -> None:
    profile = profile_module(network, 8)
    assert f"FLOPs and bytes moved leave out what PyTorch's counter has no formula for: {operator}." in profile.notes
    assert profile.rows[0].details["uncounted"] == {operator: 1}
    assert f"{operator}." in str(profile)
    assert profile.to_dict()["notes"] == list(profile.notes)


@torch.library.custom_op("mine::product", mutates_args=())
def _product(x: Tensor) -> Tensor:
    return x @ x


def test_a_path_that_values_decide_is_told() -> None:
    [note] = [n for n in profile_module(NETWORKS["a path that values decide"][0](), 8).notes if "random" in n]
    assert note.startswith("Counted on one random image, since the network cannot run without values:")


def test_memory_is_counted_by_operators() -> None:
    profile = profile_module(NETWORKS["convolution at the root"][0](), 8)
    stem, own = profile.rows
    assert stem.memory_access == 4 * (64 * (3 + 8) + 24)
    assert own.memory_access == 4 * (64 * 8 + 36 * 4 + 9 * 32)
    assert (stem.activation_bytes, own.activation_bytes) == (4 * 64 * 11, 4 * (64 * 8 + 36 * 4))
    low, up = profile_module(unet(), 8).rows[1:3]
    assert up.memory_access == 4 * (16 * 8 + 64 * 4 + 8 * 2 * 9)
    assert (low.activation_bytes, up.activation_bytes) == (4 * (64 * 8 + 16 * 8), 4 * (16 * 8 + 64 * 4))
    # at the end: the first map and the one beside it, and both concatenated
    assert profile_module(unet(), 8).totals["activation_bytes"] == 4 * 64 * 24
    assert profile_module(NETWORKS["an LSTM"][0](), 8).rows[1].memory_access == 4 * (16 + 80 + 5)


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("a layer that gives nothing", 0, ()),
        ("a layer with a dict", 8, (8, 8)),
        ("an encoder", 8, (8, 8)),
        ("other numbers of dimensions", 2, (3, 8, 8)),
        ("an LSTM", 16, (24, 1)),
    ],
)
def test_the_first_rows_output(name: str, channels: int, size: tuple[int, ...]) -> None:
    row = profile_module(NETWORKS[name][0](), 8).rows[0]
    assert (row.channels, row.size) == (channels, size)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_left_as_it_is(name: str) -> None:
    network = NETWORKS[name][0]()
    network.train()
    state, generator = torch.random.get_rng_state(), _tells(network)
    profile_module(network, 8)
    assert _tells(network) == generator
    assert torch.equal(torch.random.get_rng_state(), state)


def _tells(network: nn.Module) -> list[Any]:
    """All that profiling could change."""
    told: list[Any] = []
    for part in network.modules():
        hooks = (
            0 if isinstance(part, torch.jit.ScriptModule) else len(part._forward_hooks) + len(part._forward_pre_hooks)
        )
        told.append((type(part), part.training, hooks))
    for parameter in network.parameters():
        lazy = nn.parameter.is_lazy(parameter)
        told.append((id(parameter), parameter.device, parameter.dtype, parameter.requires_grad, lazy))
        told.append(None if lazy else parameter.detach().double().sum().item())
    return told


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("product at the root", [True, False]),
        ("one layer three times", [True, True, True, True]),
        ("a keyword of a block", [True]),
        ("all by keyword", [True]),
        ("transposed convolutions", [True, True, True, True]),
        ("lists of maps", [True, True, True]),
        ("a layer with a dict", [True]),
        ("outputs by name", [True, True]),
        ("plain tensors", [True]),
        ("lazy layers", [True, True, True, True]),
        ("half precision", [True, True]),
        ("a scripted layer", [True, True]),
        ("a scripted network", [True]),
        ("a traced network", [True]),
        ("attention", [True]),
        ("an LSTM", [True, True]),
        ("a branch that does not run", [True, False]),
    ],
)
def test_a_layer_is_timed_as_it_was_called_or_not_at_all(name: str, known: list[bool], runtime: str) -> None:
    profile = profile_module(NETWORKS[name][0](), 8, device=runtime, batch=2, budget_s=0.001)
    assert profile.latency is not None
    assert profile.latency.network.median_ms > 0
    assert [layer is not None for layer in profile.latency.layers] == known
    assert ("unknown" in str(profile)) == (False in known)
    assert [layer["latency"] is not None for layer in profile.to_dict()["layers"]] == known


def test_what_random_inputs_cannot_stand_for_has_no_latency(tmp_path: Path) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net.a(x)
        return net.gate(y.float()).flatten(2).transpose(1, 2) + net.embed(torch.arange(64))

    gate = Net(lambda net, x: x if x.sum().item() > -1e9 else x + 1)  # values decide
    network = Net(forward, a=conv(3, 8), gate=gate, embed=nn.Embedding(64, 8))  # numbers of rows are no random ones
    profile = profile_module(network, 8, device="torch", budget_s=0.001)
    assert profile.latency is not None
    assert list(profile.latency.layers) == [None, None, None]
    profile.write_page(tmp_path / "page.html")
    assert "unknown" in (tmp_path / "page.html").read_text()


def test_equal_calls_are_timed_once_and_others_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def measure(runs: list[Any], budget_s: float) -> list[Measurement]:
        timed.append(len(runs) - 1)  # the last is the network
        return [Measurement(1.0, 0.0, 1)] * len(runs)

    monkeypatch.setattr(call_times, "measure", measure)
    times = Net(lambda net, x: net.block(net.block(net.block(x), times=4), times=4), block=Repeated())
    for module in (NETWORKS["one layer three times"][0](), times):
        profile_module(module, 8, device="torch")
    assert timed == [2, 2]


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
