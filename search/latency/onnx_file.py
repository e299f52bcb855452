"""A network as an ONNX file: exported with a batch of any size, and held against PyTorch on real images."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.data import Data
from spaces import Architecture, InputError, Size
from spaces.costs import build_block, walk

TOLERANCE = 1e-4
"""How far an output of the file may be from PyTorch's, which sums in another order: so much, or so much of the image's greatest
output where that is above 1. Outputs of an image come from the same sums, and float32 is no nearer to the small ones among them."""

ROUNDING = 4.0
"""A trained network can amplify rounding beyond the tolerance: a channel that was all but dead in training has a variance near
zero, by which it is divided. There PyTorch in float32 is itself far from PyTorch in float64, and the file may be so many times as
far from that: the greatest errors of two orders of summation over thousands of images are of one size, not equal."""

VERIFY_PIXELS = 2**19
"""Pixels of one batch in verification."""


class OnnxFile:
    """An exported network.

    Args:
        content: of the file.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    @cached_property
    def opset(self) -> int:
        """The version of ONNX's own operators that the file uses."""
        model = onnx.load_from_string(self.content)
        return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """images: (N, C, H, W), any N. Returns (N, classes) logits, by ONNX Runtime."""
        [logits] = self._session.run(["logits"], {"image": images})
        return logits


def export_network(architecture: Architecture, network: nn.Module, metadata: Mapping[str, str]) -> bytes:
    """The network as an ONNX file, its batch dimension free.

    Args:
        architecture: what it was built from, by which an operator that ONNX lacks is traced to its layer.
        network: in evaluation mode, on the CPU.
        metadata: what the file says of itself.

    Raises:
        InputError: ONNX cannot express a layer, which is named.
    """
    shape = (architecture.in_channels, *architecture.resolution)
    try:
        content = _export(network, [shape])
        model = onnx.load_from_string(content)
        onnxruntime.InferenceSession(content, _quiet(), providers=["CPUExecutionProvider"])
    except Exception as error:  # the exporter and the runtime have many exceptions, some of them private
        raise InputError(_blame(architecture, error)) from error
    _strip(model)
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def verify(file: OnnxFile, network: nn.Module, data: Data, resolution: Size) -> dict[str, Any]:
    """Holds the file against the network on all test images, in batches of several sizes, one image among them.

    Returns:
        `images`: how many; `difference`: the greatest between two outputs; `relative`: the greatest as `TOLERANCE` counts it;
        `rounding`: None where that is within the tolerance, else how far the `file` and `torch` are from PyTorch in float64,
        counted likewise; `accuracy` of the file, `accuracy_torch`; `ties`: images of which they guess differently, since the best
        two outputs are equal within the difference: by no more can the accuracies differ.

    Raises:
        InputError: an output differs by more than `TOLERANCE`, and by more than rounding explains.
    """
    largest = max(2, min(256, VERIFY_PIXELS // (resolution[0] * resolution[1])))
    right = right_torch = ties = images = 0
    difference = relative = 0.0
    doubtful = []
    for x, labels in data.batches("test", largest, resolution=resolution):
        for part, known in ((x[:1], labels[:1].numpy()), (x[1:], labels[1:].numpy())):
            if not len(part):
                continue
            ours, theirs = _logits(network, part), file(part.contiguous().numpy())
            gap = _relative(theirs, ours)
            if not gap <= TOLERANCE:
                doubtful.append(part)
            difference = float(np.maximum(difference, np.abs(ours - theirs).max()))  # unlike max, it keeps a NaN
            relative = float(np.maximum(relative, gap))
            guesses_torch, guesses = ours.argmax(1), theirs.argmax(1)
            right_torch += int((guesses_torch == known).sum())
            right += int((guesses == known).sum())
            ties += int((guesses != guesses_torch).sum())
            images += len(part)
    rounding = _rounding(file, network, doubtful) if doubtful else None
    if rounding is not None and not rounding["file"] <= max(TOLERANCE, ROUNDING * rounding["torch"]):
        raise InputError(
            f"the exported file differs from PyTorch by {difference:.2g} on the test images, {relative:.2g} of their outputs' size "
            f"and more than {TOLERANCE:g}; from PyTorch in float64 by {rounding['file']:.2g}, where rounding makes "
            f"{rounding['torch']:.2g}; it was not written"
        )
    return {
        "images": images,
        "difference": difference,
        "relative": relative,
        "rounding": rounding,
        "accuracy": right / images,
        "accuracy_torch": right_torch / images,
        "ties": ties,
    }


def _relative(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """The greatest difference of two (N, classes) arrays, as `TOLERANCE` counts it."""
    return float((np.abs(outputs - reference) / np.maximum(np.abs(reference).max(1, keepdims=True), 1)).max())


def _rounding(file: OnnxFile, network: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """How far the `file` and `torch`, both in float32, are from the network in float64 on these images at most."""
    exact = copy.deepcopy(network).double()
    errors = {"file": 0.0, "torch": 0.0}
    for images in batches:
        with torch.inference_mode():
            reference = exact(images.double()).numpy()
        for name, outputs in (("file", file(images.contiguous().numpy())), ("torch", _logits(network, images))):
            errors[name] = float(np.maximum(errors[name], _relative(outputs, reference)))
    return errors


@torch.inference_mode()
def _logits(network: nn.Module, images: Tensor) -> NDArray[np.float32]:
    return network(images).float().numpy()


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


def _export(module: nn.Module, shapes: list[tuple[int, ...]]) -> bytes:
    """A module of (N, *shape) inputs as an ONNX model, by PyTorch's default exporter, which says nothing unless it fails."""
    # two images: an example of one would be taken for a batch that is always one
    inputs = tuple(torch.zeros(2, *shape) for shape in shapes)
    batch = torch.export.Dim("batch", min=1)
    names = ["image"] if len(shapes) == 1 else [f"image_{i}" for i in range(len(shapes))]
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            verbose=False,
        )
    assert program is not None
    logger.setLevel(level)
    return program.model_proto.SerializeToString()


def _strip(model: onnx.ModelProto) -> None:
    """Takes out the exporter's notes: the paths and source lines of the machine it ran on, as long as a small network's weights."""
    graph = model.graph
    for part in (
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
        *model.functions,
    ):
        part.ClearField("metadata_props")


def _blame(architecture: Architecture, error: Exception) -> str:
    """What to say of an export that failed: the layer that fails by itself, or the error as it came."""
    for position, (layer, read, _) in enumerate(walk(architecture)):
        several = len(layer.inputs) > 1
        channels: Any = layer.in_channels if several else [layer.in_channels]
        shapes = [(count, *size) for count, size in zip(channels, read if several else [read], strict=True)]
        try:
            onnxruntime.InferenceSession(
                _export(build_block(layer, read).eval(), shapes), _quiet(), providers=["CPUExecutionProvider"]
            )
        except Exception as inner:
            return (
                f"ONNX cannot express layer {position}, block '{layer.block}' ({_reason(inner)}); "
                "write its forward with operators that ONNX has, or choose a network without it"
            )
    return f"the network cannot be exported to ONNX: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """The innermost cause in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:240]
