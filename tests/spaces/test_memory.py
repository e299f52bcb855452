"""Memory moved and held, against sums done by hand and against a whole network that is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import spaces
from spaces import Architecture, Layer
from spaces.blocks.ops import SymmetricPad2d
from spaces.memory import activation_bytes, held_values, layer_memory, memory_access, traced
from spaces.operation import Operations


def one(
    block: str, in_channels: int, out_channels: int, stride: int = 1, side: int = 8, **options: Any
) -> Architecture:
    """A network of one block and a head."""
    layer = {"block": block, "channels": out_channels, "stride": stride, **options}
    described = {"in_channels": in_channels, "num_classes": 10, "resolution": side, "layers": [layer]}
    return spaces.decode(described)


@pytest.mark.parametrize(
    ("block", "arguments", "options", "accesses"),
    [
        ("conv", (6, 10), {"kernel_size": 1}, 64 * (6 + 10) + 60),  # the paper's formula
        ("conv", (6, 10, 2), {"kernel_size": 3}, 64 * 6 + 16 * 10 + 9 * 60),
        ("conv", (6, 10), {"kernel_size": 3, "groups": 2}, 64 * 16 + 9 * 30),
        ("conv", (6, 10), {"kernel_size": 2}, 64 * 16 + 4 * 60),  # read before padding
        ("conv", (6, 10), {"kernel_size": 3, "bias": True}, 64 * 16 + 9 * 60),  # biases are left out
        ("pool", (6, 6, 2), {}, 0),
        ("depthwise_separable", (6, 10), {}, (64 * 12 + 54) + (64 * 16 + 60)),
        ("inverted_residual", (6, 6), {"expand_ratio": 2}, (64 * 18 + 72) + (64 * 24 + 108) + (64 * 18 + 72)),
        (
            "inverted_residual",
            (6, 8),
            {"expand_ratio": 1, "squeeze_ratio": 1},
            (64 * 12 + 54) + 2 * (14 + 48) + 64 * 14 + 48,
        ),
    ],
)
def test_accesses_are_those_of_the_formula(
    block: str, arguments: tuple[int, ...], options: dict[str, Any], accesses: int
) -> None:
    architecture = one(block, *arguments, **options)
    body, head = layer_memory(architecture)
    features = architecture.layers[-1].in_channels
    assert isinstance(features, int)
    assert (body.accesses, head.accesses) == (accesses, features + 10 + 10 * features)
    assert memory_access(architecture) == 4 * (accesses + features + 10 + 10 * features)
    assert memory_access(architecture, 2) == 2 * (accesses + features + 10 + 10 * features)


@pytest.mark.parametrize(
    ("block", "arguments", "options", "values"),
    [
        ("conv", (6, 10), {}, 64 * 16),
        ("conv", (6, 10, 2), {}, 64 * 6 + 16 * 10),
        ("conv", (6, 10), {"activation": "h_swish"}, 64 * 16),  # normalised and activated in place
        (
            "inverted_residual",
            (6, 8),
            {"expand_ratio": 4},
            64 * 48,
        ),  # both sides of the depthwise one; the input is gone
        ("inverted_residual", (6, 6), {"expand_ratio": 4}, 64 * (48 + 6)),  # the input waits to be added
        ("resnet_basic", (6, 6), {}, 64 * 18),  # input and both sides of the second convolution
        ("resnet_basic", (6, 8, 2), {}, 64 * 6 + 16 * 16),  # input, shortcut, first convolution; more than what follows
        ("fire", (6, 8), {"squeeze_ratio": 0.5}, 64 * 16),  # parts and their concatenation
        ("shufflenet_v2", (8, 8), {}, 64 * 20),  # input with its left half, right half, both concatenated
        ("activation", (6, 6), {}, 64 * 12),  # a layer never overwrites its input
    ],
)
def test_peaks_are_those_found_by_hand(
    block: str, arguments: tuple[int, ...], options: dict[str, Any], values: int
) -> None:
    assert held_values(one(block, *arguments, **options))[0] == values


def test_maps_wait_for_their_last_reader() -> None:
    described = {
        "in_channels": 2,
        "num_classes": 10,
        "resolution": 8,
        "layers": [
            {"name": "first", "block": "conv", "channels": 4},
            {"block": "conv", "channels": 6, "stride": 2},
            {"name": "last", "block": "conv", "channels": 4, "stride": 2},
            {"name": "small", "block": "pool", "stride": 4, "kernel_size": 4, "inputs": ["first"]},
            {"block": "concat", "inputs": ["last", "small"]},
        ],
    }
    held = held_values(spaces.decode(described))
    assert held == [
        64 * 2 + 64 * 4,
        64 * 4 + 16 * 6,
        64 * 4 + 16 * 6 + 4 * 4,  # `first` waits
        64 * 4 + 4 * 4 + 4 * 4,  # so does `last`
        2 * 4 * 8,  # both parts and their concatenation
        4 * 8 + 8,  # pooled
    ]


def test_mobilenet_v2_is_widest_in_its_first_strided_unit() -> None:
    architecture = spaces.network("mobilenet_v2")
    held = held_values(architecture)
    assert held.index(max(held)) == 2
    assert activation_bytes(architecture) == 4 * 96 * (112**2 + 56**2)
    assert activation_bytes(architecture, 1) == 96 * (112**2 + 56**2)


@pytest.mark.parametrize("name", ["shuffle_agg", "shufflenet_v1", "espnetv2", "nasnet", "ghostnet"])
def test_accesses_are_those_of_the_network_that_runs(name: str) -> None:
    space = spaces.load_space(name, in_channels=3, num_classes=10, resolution=64)
    rng = np.random.default_rng(0)
    for _ in range(3):
        architecture = space.random(rng).architecture
        assert memory_access(architecture, 1) == _accesses_when_run(architecture)


def _accesses_when_run(architecture: Architecture) -> int:
    """By hooks on the whole network."""
    with torch.device("meta"):
        network = spaces.build(architecture).eval()
    total = 0
    before_padding: dict[int, int] = {}

    def remember(_: nn.Module, inputs: Any, output: Tensor) -> None:
        before_padding[id(output)] = inputs[0].numel()

    def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        read = before_padding.pop(id(inputs[0]), inputs[0].numel())
        total += read + output.numel() + sum(p.numel() for n, p in module.named_parameters() if n == "weight")

    for module in network.modules():
        if isinstance(module, SymmetricPad2d):
            module.register_forward_hook(remember)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.empty(1, architecture.in_channels, *architecture.resolution, device="meta"))
    return total


class Doubled(nn.Module):
    """A user's block that states nothing."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.relu(y) + torch.sigmoid(y)


def test_a_users_block_needs_no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spaces.BLOCKS, "doubled", Doubled)
    architecture = one("doubled", 3, 5)
    assert layer_memory(architecture)[0].accesses == 64 * 8 + 15
    assert held_values(architecture)[0] == 64 * 10  # the relu cannot overwrite what the sigmoid still reads


def test_a_layer_that_cannot_be_built_is_named() -> None:
    architecture = Architecture(3, (8, 8), (Layer("conv", 3, 4, options=(("groups", 2),)), Layer("head", 4, 10)))
    with pytest.raises(spaces.InputError, match="groups 2 do not divide the 3 input channels"):
        layer_memory(architecture)


def test_what_a_users_block_moves_is_counted_whether_or_not_it_states_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stated(Doubled):
        @staticmethod
        def operations(in_channels: int, out_channels: int, stride: int, size: Any) -> Operations:
            ops = Operations(in_channels, size)
            ops.convolution("conv", ops.input, out_channels, 1, stride, bias=True)
            return ops

    for block in (Doubled, Stated):
        monkeypatch.setitem(spaces.BLOCKS, "doubled", block)
        assert memory_access(one("doubled", 6, 6), 1) == _accesses_when_run(one("doubled", 6, 6))


@pytest.mark.parametrize(
    "module",
    [
        nn.ConvTranspose2d(4, 6, 2, 2),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, (3, 5), (2, 3), (1, 2), dilation=(2, 1)),
        nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(4, 6, 3, 2)),
        nn.Sequential(nn.Unflatten(1, (4, 1)), nn.ConvTranspose3d(4, 6, 2, 2)),
    ],
)
def test_transposed_convolutions_make_the_maps_that_pytorch_makes(module: nn.Module) -> None:
    image = torch.randn(1, 4, 5, 7)
    made, weights = module(image).numel(), sum(p.numel() for p in module.parameters() if p.dim() > 1)
    memory = traced(module.to("meta"), [image.to("meta")])
    assert (memory.accesses, memory.peak) == (image.numel() + made + weights, image.numel() + made)


class Upsampled(nn.Module):
    """A user's block with a transposed convolution, called by keyword, and a convolution that is no layer."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels, 2, 2, bias=False)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.up(input=x), self.weight, stride=2)


def test_a_users_block_may_compute_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spaces.BLOCKS, "upsampled", Upsampled)
    architecture = one("upsampled", 3, 5)
    body = spaces.layer_costs(architecture)[0]
    assert body[:3] == (64 * 9 * 4 + 64 * 60, 36 + 60, (8, 8))
    moved = (64 * 3 + 256 * 3 + 36) + (256 * 3 + 64 * 5 + 60)
    assert memory_access(architecture, 1) == moved + 5 + 10 + 50
    assert held_values(architecture)[0] == 256 * 3 + 64 * 5
