"""The tracer, held against PyTorch's exporter: what a runtime makes of both models, operator by operator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from search.latency.profiler import block_in_context
from search.latency.runtimes import export, export_by_torch
from search.latency.table import block_keys
from search.latency.tracing import UntraceableError, trace
from spaces import load_space


def optimised(model: bytes, folder: Path, inputs: list[Tensor]) -> tuple[Counter[str], np.ndarray]:
    """The operators that run when ONNX Runtime has optimised a model, and its output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "model.onnx")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {argument.name: x.numpy() for argument, x in zip(session.get_inputs(), inputs, strict=True)}
    [output] = session.run(None, feed)
    graph = onnx.load(folder / "model.onnx").graph
    return Counter(node.op_type for node in graph.node), output


def both(module: nn.Module, shapes: list, folder: Path) -> None:
    inputs = [torch.randn(shape) for shape in shapes]
    ours, found = optimised(trace(module.eval(), inputs), folder, inputs)
    theirs, expected = optimised(export_by_torch(module, tuple(inputs)), folder, inputs)
    assert ours == theirs
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["shuffle_agg", "mobilenet_v2", "shufflenet_v2", "ghostnet", "inception", "dicenet"],
)
def test_the_runtime_runs_what_the_exporter_writes(name: str, tmp_path: Path) -> None:
    space, rng = load_space(name, in_channels=3, num_classes=10, resolution=32), np.random.default_rng(1)
    keys = {(key.block, key.stride): key for _ in range(3) for key in block_keys(space.random(rng).architecture)}
    for key in keys.values():
        both(*block_in_context(key, 1), tmp_path)


class Overwriting(nn.Module):
    """Reads a view of what was written over."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        half = y[:, :2]
        y.relu_()
        return half + 1


class Exported(nn.Module):
    """Takes a way of its own under a tracer, as blocks do that run faster in other operators than can be exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x.erfc() if torch.jit.is_tracing() else x.relu()


class MixedTypes(nn.Module):
    """Adds whole numbers, which ONNX does not convert by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(5)


class OneMean(nn.Module):
    """Averages everything, where the operator has no dimensions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


def test_what_is_not_translated_is_left_to_the_exporter(tmp_path: Path) -> None:
    x = torch.randn(1, 4, 5, 5)
    for module in (nn.Softplus(), Overwriting(), Exported(), MixedTypes(), OneMean()):
        with pytest.raises(UntraceableError):
            trace(module, [x])
    _, found = optimised(export(nn.Softplus(), [(1, 4, 5, 5)], torch.float32), tmp_path, [x])
    np.testing.assert_allclose(found, nn.Softplus()(x), rtol=1e-5)


def test_weights_are_those_of_the_module(tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.PReLU(6), nn.Flatten(), nn.Linear(54, 2)
    )
    for parameter in [*module.parameters(), module[1].running_mean]:
        nn.init.normal_(parameter)
    both(module, [(2, 4, 5, 5)], tmp_path)
