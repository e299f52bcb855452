"""Exported networks do what PyTorch's do: every block, any batch, real images; and what ONNX lacks is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from search.data import Data, load, load_test
from search.latency.onnx_file import ROUNDING, TOLERANCE, OnnxFile, export_network, verify
from spaces import BLOCKS, Architecture, InputError, build, decode, load_space, network, networks
from spaces.reference import CONF

EVERY_BLOCK: list[dict[str, Any]] = [
    {"block": "conv", "channels": 16, "kernel_size": 2},
    {"block": "local_response_norm"},
    {"block": "depthwise_separable", "channels": 16, "kernel_size": 5},
    {"block": "inverted_residual", "channels": 16, "kernel_size": 2, "expand_ratio": 3},
    {"block": "mobilenet_v3", "channels": 24, "stride": 2, "squeeze_ratio": 0.25, "activation": "h_swish"},
    {"block": "mbconv", "channels": 24, "squeeze_ratio": 0.25, "activation": "swish"},
    {"block": "mnasnet_conv", "channels": 24},
    {"block": "shuffle_agg", "channels": 32, "groups": 4, "kernel_size": 2, "aggregate": "max"},
    {"block": "shuffle_agg", "channels": 32, "groups": 8, "aggregate": "mean", "widen": 2},
    {"block": "shufflenet_v1", "channels": 48, "groups": 4, "stride": 2},
    {"block": "shufflenet_v2", "channels": 48, "kernel_size": 2},
    {"name": "wide", "block": "fire", "channels": 48, "squeeze_ratio": 0.25},
    {"block": "squeezenext", "channels": 48},
    {"block": "dice", "channels": 48, "fuse": "dim_fuse"},
    {"block": "dice", "channels": 48, "fuse": "shuffle_agg", "fuse_groups": 4},
    {"block": "esp", "channels": 48, "branches": 4, "kernel_size": 3},
    {"block": "eesp", "channels": 48, "branches": 4},
    {"block": "ghost_bottleneck", "channels": 48, "squeeze_ratio": 0.25, "kernel_size": 2, "cheap_kernel_size": 2},
    {"block": "ghost_module", "channels": 48, "ratio": 3},
    {"block": "xception", "channels": 48},
    {"block": "separable_conv", "channels": 48},
    {"block": "resnet_basic", "channels": 48, "activation": "prelu"},
    {"block": "resnet_bottleneck", "channels": 64, "groups": 2},
    {"block": "concat", "inputs": [-1, "wide"]},
    {
        "block": "nasnet_cell",
        "channels": 96,
        "inputs": [-1, -2],
        "steps": [[["sep5", "h"], ["dil3", "p"]], [["fac7", "h"], ["identity", "a"]], [["max3", "p"], ["avg3", "b"]]],
        "concat": ["p", "b", "c"],
    },
    {
        "block": "inception",
        "channels": 80,
        "branches": [[{"1x1": 32}], [{"1x1": 16}, {"1x3": 16}, {"3x1": 32}], ["max", {"1x1": 16}]],
    },
    {
        "block": "inception_residual",
        "channels": 80,
        "base_channels": 80,
        "branches": [[{"1x1": 16}], [{"1x1": 16}, {"3x3": 24}]],
    },
    {"block": "pool", "kind": "max", "kernel_size": 3},
    {"block": "pool", "kind": "avg", "kernel_size": 2},
    {"block": "dropout", "rate": 0.5},
    {"block": "activation", "activation": "relu6"},
]
"""Each block of the library once at least, with options that change its operators: even kernels, gates, both aggregations."""


def shaken(architecture: Architecture) -> nn.Module:
    """The network with statistics and weights as training leaves them: none of them zero or one."""
    generator = torch.Generator().manual_seed(0)
    module = build(architecture).eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.dim() == 1:
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return module


def check_parity(architecture: Architecture, batches: tuple[int, ...] = (1, 3)) -> None:
    module = shaken(architecture)
    file = OnnxFile(export_network(architecture, module, {}))
    for batch in batches:
        images = torch.randn(batch, architecture.in_channels, *architecture.resolution)
        with torch.no_grad():
            ours = module(images).numpy()
        theirs = file(images.numpy())
        assert theirs.shape == ours.shape
        assert theirs.shape[:2] == (batch, architecture.num_classes)
        assert np.ptp(ours) > 0.01, "a network that says the same of everything shows nothing"
        np.testing.assert_allclose(theirs, ours, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("pool", ["avg", "pyramid"])
def test_every_block_is_exported_as_it_is(pool: str) -> None:
    layers = EVERY_BLOCK if pool == "avg" else EVERY_BLOCK[:3]
    described = {"in_channels": 3, "num_classes": 10, "resolution": [12, 14], "layers": layers, "head": {"pool": pool}}
    architecture = decode(described)
    if pool == "avg":
        assert {layer.block for layer in architecture.layers} == set(BLOCKS) - {"identity"}, "which leaves no layer"
    check_parity(architecture)


class Sorting(nn.Module):
    """A block of the user's own with an operator that ONNX has not."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(self.conv(x))


@pytest.fixture
def sorting() -> Iterator[None]:
    BLOCKS["sorting"] = Sorting
    yield
    del BLOCKS["sorting"]


def small(block: str = "conv") -> Architecture:
    layers = [{"block": "conv", "channels": 8, "stride": 2}, {"block": block, "channels": 8}]
    return decode({"in_channels": 1, "num_classes": 10, "resolution": 8, "layers": layers, "head": {}})


@pytest.mark.usefixtures("sorting")
def test_an_operator_that_onnx_lacks_is_traced_to_its_layer() -> None:
    architecture = small("sorting")
    with pytest.raises(
        InputError, match=r"cannot express layer 1, block 'sorting' \(.*bessel_j0.*\); write its forward"
    ):
        export_network(architecture, build(architecture).eval(), {})


@pytest.fixture(scope="module")
def digits() -> Data:
    settings = {"source": "digits", "limit": 200}
    return load_test(settings, load(settings))


@pytest.fixture(scope="module")
def exported() -> tuple[nn.Module, bytes]:
    module = shaken(small())
    return module, export_network(small(), module, {"mean": "[0.5]", "class_names": '["a|b"]'})


def test_the_file_says_what_it_is_told_and_nothing_of_the_machine(exported: tuple[nn.Module, bytes]) -> None:
    model = onnx.load_from_string(exported[1])
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"mean": "[0.5]", "class_names": '["a|b"]'}
    assert b"site-packages" not in exported[1]
    assert OnnxFile(exported[1]).opset >= 18
    [image] = model.graph.input
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_it_is_verified_on_all_test_images(exported: tuple[nn.Module, bytes], digits: Data) -> None:
    module, content = exported
    checked = verify(OnnxFile(content), module, digits, (8, 8))
    assert checked["images"] == digits.sizes["test"]
    assert checked["difference"] < TOLERANCE
    assert checked["accuracy"] == checked["accuracy_torch"]


def test_large_outputs_are_compared_by_their_size(exported: tuple[nn.Module, bytes], digits: Data) -> None:
    module, content = exported

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1000 * module(x) + 3e-3

    class File(OnnxFile):
        def __call__(self, images: Any) -> Any:
            return 1000 * super().__call__(images)

    checked = verify(File(content), Scaled(), digits, (8, 8))
    assert checked["difference"] > TOLERANCE > checked["relative"] > 0


def test_a_file_that_does_something_else_is_found_out(exported: tuple[nn.Module, bytes], digits: Data) -> None:
    module, content = exported
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        next(module.parameters()).mul_(1.01)
    try:
        with pytest.raises(InputError, match=r"differs from PyTorch by .*it was not written"):
            verify(OnnxFile(content), module, digits, (8, 8))
    finally:
        module.load_state_dict(state)


class Amplified(nn.Module):
    """A network that adds the difference of two sums, equal but for their order, many times over: rounding, and nothing else."""

    def __init__(self, gain: float, wrong: float = 0.0) -> None:
        super().__init__()
        self.gain = gain
        self.wrong = wrong
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        noise = (1e3 * flat).cumsum(1)[:, -1:] - 1e3 * flat.sum(1, keepdim=True)
        return self.linear(flat) + self.gain * noise + self.wrong


def test_what_rounding_explains_is_said_and_no_more_is_let_through(digits: Data) -> None:
    torch.manual_seed(0)
    module = Amplified(1.0).eval()
    file = OnnxFile(export_network(small(), module, {}))
    checked = verify(file, module, digits, (8, 8))
    assert checked["relative"] > TOLERANCE, "otherwise this shows nothing"
    assert checked["rounding"]["file"] <= ROUNDING * checked["rounding"]["torch"]
    wrong = Amplified(1.0, wrong=10 * checked["rounding"]["torch"]).eval()
    wrong.linear.load_state_dict(module.linear.state_dict())
    with pytest.raises(InputError, match=r"from PyTorch in float64 by .*, where rounding makes .*; it was not written"):
        verify(file, wrong, digits, (8, 8))


def test_outputs_that_are_no_numbers_are_found_out(exported: tuple[nn.Module, bytes], digits: Data) -> None:
    module, content = exported

    class File(OnnxFile):
        def __call__(self, images: Any) -> Any:
            outputs = super().__call__(images)
            return np.where(np.arange(len(outputs))[:, None] == 3, np.nan, outputs)

    with pytest.raises(InputError, match="by nan on the test images"):
        verify(File(content), module, digits, (8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("space", sorted(path.stem for path in (CONF / "space").glob("*.yaml")))
def test_networks_of_every_space_are_exported_as_they_are(space: str) -> None:
    check_parity(
        load_space(space, in_channels=3, num_classes=10, resolution=32).random(np.random.default_rng(1)).architecture
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", networks())
def test_networks_of_the_literature_are_exported_as_they_are(name: str) -> None:
    architecture = network(name)
    if architecture.num_classes > 100:
        architecture = network(name, num_classes=100)
    check_parity(architecture, batches=(2,))
