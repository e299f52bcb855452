"""What runs networks: each runtime is one small class.

A runtime takes a module and the shapes of its inputs, and gives a function without arguments that runs it once, and returns when
the result is there. How often and how long that takes is measured elsewhere, for all of them alike.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from search.latency import sessions
from search.latency.tracing import OPSET, UntraceableError, trace
from spaces.errors import InputError, reason

DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Types of weights and activations by name."""

Shape = tuple[int, int, int, int]
"""(N, C, H, W)."""


class Runtime(Protocol):
    """Runs networks on this machine."""

    def __init__(self, threads: int, dtype: str) -> None: ...

    def load(self, module: nn.Module, shapes: Sequence[Shape]) -> Callable[[], object]:
        """A function that runs the module once on random inputs of these shapes and returns when it is done.

        Raises:
            UnsupportedError: the runtime cannot run the module.
        """

    def version(self) -> str:
        """The runtime's version."""

    def hardware(self) -> str:
        """The model of the processor that does the work."""


class UnsupportedError(InputError):
    """The runtime lacks an operator that a network needs."""


class OnnxRuntime:
    """ONNX Runtime on the CPU; modules are exported block by block."""

    def __init__(self, threads: int, dtype: str) -> None:
        try:
            import onnx  # noqa: F401  what PyTorch's exporter writes with
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"device=onnxruntime needs the package '{error.name}': pip install onnx onnxruntime, or device=torch"
            ) from error
        self._threads, self._dtype = threads, DTYPES[dtype]

    def load(self, module: nn.Module, shapes: Sequence[Shape]) -> Callable[[], object]:
        """As `Runtime.load`."""
        try:
            model = export(module, shapes, self._dtype)
        except Exception as error:
            why = " ".join(reason(error).split())[:200]
            raise UnsupportedError(f"onnxruntime cannot run it: {why}") from error
        return self.load_file(model, shapes)

    def load_file(self, model: bytes, shapes: Sequence[Shape]) -> Callable[[], object]:
        """As `Runtime.load`, of a module that is an ONNX file already."""
        try:
            return sessions.open_model(model, self._threads, shapes)
        except Exception as error:
            why = " ".join(reason(error).split())[:200]
            raise UnsupportedError(f"onnxruntime cannot run it: {why}") from error

    def version(self) -> str:
        """Of ONNX Runtime."""
        return sessions.version()

    def hardware(self) -> str:
        """The CPU's model."""
        return sessions.cpu_model()


class TorchCpu:
    """PyTorch itself on the CPU, without gradients."""

    def __init__(self, threads: int, dtype: str) -> None:
        self._threads, self._dtype = threads, DTYPES[dtype]

    def load(self, module: nn.Module, shapes: Sequence[Shape]) -> Callable[[], object]:
        """As `Runtime.load`."""
        module, inputs = module.eval().to(self._dtype), _random_inputs(shapes, self._dtype)

        def run() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads)
            with torch.inference_mode():
                module(*inputs)
            torch.set_num_threads(before)

        return _tried(run)

    def version(self) -> str:
        """Of PyTorch."""
        return torch.__version__

    def hardware(self) -> str:
        """The CPU's model."""
        return sessions.cpu_model()


class Cuda:
    """PyTorch on the first CUDA GPU, without gradients."""

    def __init__(self, threads: int, dtype: str) -> None:
        if not torch.cuda.is_available():
            raise InputError("device=cuda needs a CUDA GPU, and PyTorch finds none; device=onnxruntime runs on the CPU")
        self._dtype = DTYPES[dtype]

    def load(self, module: nn.Module, shapes: Sequence[Shape]) -> Callable[[], object]:
        """As `Runtime.load`."""
        module = module.eval().to("cuda", self._dtype)
        inputs = [x.cuda() for x in _random_inputs(shapes, self._dtype)]

        def run() -> None:
            with torch.inference_mode():
                module(*inputs)
            torch.cuda.synchronize()

        return _tried(run)

    def version(self) -> str:
        """Of PyTorch and CUDA."""
        return f"{torch.__version__} cuda {torch.version.cuda}"

    def hardware(self) -> str:
        """The GPU's model."""
        return torch.cuda.get_device_name()


RUNTIMES: dict[str, type[Runtime]] = {"onnxruntime": OnnxRuntime, "torch": TorchCpu, "cuda": Cuda}
"""The runtimes by name: a new one is a class and a line in this table."""


def _random_inputs(shapes: Sequence[Shape], dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def export(module: nn.Module, shapes: Sequence[Shape], dtype: torch.dtype) -> bytes:
    """The module as an ONNX model with inputs of these shapes.

    By our own tracer, or where that lacks an operator by the older of PyTorch's two exporters, which takes thirty times as long;
    the newer takes twenty times as long again. Whatever it raises for what it cannot express passes.
    """
    inputs = tuple(_random_inputs(shapes, dtype))
    module = module.eval().to(dtype)
    with attention_written_out():
        try:
            return trace(module, inputs)
        except UntraceableError:
            return export_by_torch(module, inputs)


@contextmanager
def attention_written_out() -> Iterator[None]:
    """Lets PyTorch's attention layers run operator by operator, instead of as one that neither ONNX nor its counter knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def export_by_torch(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> bytes:
    """The module as PyTorch exports it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, inputs, buffer, dynamo=False, opset_version=OPSET)  # type: ignore[arg-type]
    return buffer.getvalue()


def _tried(run: Callable[[], None]) -> Callable[[], None]:
    """The function itself, after it has run once."""
    try:
        run()
    except Exception as error:  # a stranger's module may raise anything
        raise UnsupportedError(f"PyTorch cannot run it: {' '.join(reason(error).split())[:200]}") from error
    return run
