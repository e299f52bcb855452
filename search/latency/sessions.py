"""ONNX models in ONNX Runtime: what runs them here, and on a device that has no more than this, NumPy and ONNX Runtime."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_model(model: bytes, threads: int, shapes: Sequence[Sequence[int]] | None = None) -> Callable[[], object]:
    """A function that runs an ONNX model once on random inputs.

    Whatever ONNX Runtime raises for a model it cannot run passes.

    Args:
        model: the file's content.
        threads: of a run.
        shapes: of its inputs; None: as the model states them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # random weights can shrink activations to denormal numbers, a hundred times slower than any a trained network makes
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # idle threads that spin would take time from whatever else is measured or trained
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    # bound once, so that nothing is copied or converted in the runs that are timed
    binding = session.io_binding()
    arguments = session.get_inputs()
    for argument, shape in zip(arguments, shapes or [argument.shape for argument in arguments]):
        binding.bind_cpu_input(argument.name, generator.standard_normal(shape).astype(_TYPES[argument.type]))
    for result in session.get_outputs():
        binding.bind_output(result.name)
    return lambda: session.run_with_iobinding(binding)


def version() -> str:
    """Of ONNX Runtime."""
    import onnxruntime

    return str(onnxruntime.__version__)


def machine() -> str:
    """The processor and the system: "Cortex-A72, Linux aarch64"."""
    return f"{cpu_model()}, {platform.system()} {platform.machine()}"


def cpu_model() -> str:
    """The name the CPU, or the board around it, gives itself, and the numbers of its generation, which names leave out."""
    lines = _read("/proc/cpuinfo").splitlines()[::-1]  # of several processors the first counts
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [fields.get("model name"), fields.get("Model"), fields.get("Hardware"), _read("/proc/device-tree/model")]
    name = next(filter(None, names), platform.processor() or platform.machine())
    keys = ("cpu family", "model", "stepping", "CPU implementer", "CPU part")
    numbers = " ".join(f"{key.split()[-1]} {fields[key]}" for key in keys if key in fields)
    return f"{name} ({numbers})" if numbers else name


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip("\0\n")
    except (OSError, UnicodeDecodeError):
        return ""
