"""The training of one candidate: the same network, settings and seed give the same accuracy, whatever ran before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.data import Data
from search.evaluation import checkpoint as checkpoints
from search.evaluation.settings import TrainSettings
from spaces.errors import InputError
from spaces.sizes import Size

TOP5_CLASSES = 20
"""Number of classes from which on the five best guesses are counted too."""

EVALUATION_PIXELS = 2**20
"""Pixels of one batch in evaluation, where nothing is kept for a backward pass."""


class Diverged(RuntimeError):  # noqa: N818
    """The loss or the network's output is no longer a finite number."""


class OutOfMemory(RuntimeError):  # noqa: N818
    """The network and its batch do not fit in memory."""


class Epoch(NamedTuple):
    """What is known after an epoch."""

    epoch: int
    """Counted from 1."""
    accuracy: float
    """Share of validation images classified rightly, 0..1; where none are held out, of training images as they came by."""
    accuracy_top5: float | None
    """Share whose class is among the five best guesses; None below `TOP5_CLASSES` classes, and of training images."""
    loss: float
    """Mean training loss of the epoch."""
    seconds: float
    """Since training began."""


@dataclass(frozen=True)
class Result:
    """A finished (or stopped) training."""

    accuracy: float
    """That of the last epoch."""
    accuracy_top5: float | None
    epochs: int
    """Epochs run."""
    seconds: float
    curve: tuple[float, ...]
    """Accuracy after every epoch."""
    stopped: bool
    """Whether `on_epoch` ended it before its last epoch."""


def train(
    network: nn.Module,
    data: Data,
    settings: Mapping[str, Any],
    *,
    resolution: Size,
    seed: int,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], bool] | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Trains a network from scratch on the training split and measures it on the validation split, if any, after every epoch.

    The network is initialised anew from `seed`; it is left trained, in evaluation mode, on `device`.

    Args:
        settings: the keys of `TrainSettings`, every value decided; absent ones take their defaults.
        resolution: (height, width) in pixels of the images it is given.
        on_epoch: told of every epoch, those of the checkpoint too; False ends the training.
        checkpoint: a file that holds the training after its last finished epoch. Where it exists, training goes on from it and
            ends as if it had never been interrupted, to the bit on the same machine. It stays when training has ended.

    Raises:
        Diverged: a loss or an output that is NaN or infinite.
        OutOfMemory: on the device or in main memory.
        InputError: as `TrainSettings.from_mapping`; a checkpoint that cannot be read or is of another training.
    """
    decided = TrainSettings.from_mapping(settings)
    with _reproducible(seed, device), memory_errors():
        start = time.perf_counter()
        initialise(network, seed)
        network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = _Run(network, data, decided, resolution, seed, device)
        saved = None if checkpoint is None else checkpoints.load(checkpoint)
        reached = [] if saved is None else run.restore(saved, f"{checkpoint}")
        start -= reached[-1].seconds if reached else 0.0
        history: list[Epoch] = []
        for number in range(1, decided.epochs + 1):
            if number <= len(reached):
                epoch = reached[number - 1]
            else:
                loss, accuracy = run.train_epoch()
                top5 = None
                if "validation" in data.splits:
                    accuracy, top5 = evaluate(network, data, "validation", resolution=resolution, device=device)
                epoch = Epoch(number, accuracy, top5, loss, time.perf_counter() - start)
            history.append(epoch)
            if checkpoint is not None and number > len(reached):
                checkpoints.save(checkpoint, run.state(history))
            if on_epoch is not None and not on_epoch(epoch):
                break
        curve = tuple(epoch.accuracy for epoch in history)
        stopped = len(curve) < decided.epochs
        return Result(curve[-1], epoch.accuracy_top5, len(curve), time.perf_counter() - start, curve, stopped)


class _Run:
    """What the epochs of one training share."""

    def __init__(
        self, network: nn.Module, data: Data, settings: TrainSettings, resolution: Size, seed: int, device: str
    ) -> None:
        self.network = network
        self.settings = settings
        self.device = device
        self.identity = {
            "settings": asdict(settings),
            "seed": seed,
            "resolution": list(resolution),
            "data": data.fingerprint,
            "weights": {name: list(value.shape) for name, value in network.state_dict().items()},
        }
        self.generator = torch.Generator().manual_seed(seed)
        batch_size = min(settings.batch_size, data.sizes["train"])
        self.batches = lambda: data.batches(
            "train", batch_size, resolution=resolution, generator=self.generator, train=True, device=device
        )
        full, rest = divmod(data.sizes["train"], batch_size)
        self.steps = full + (rest > 1)
        self.rates = iter(learning_rates(settings, settings.epochs * self.steps))
        self.optimizer = make_optimizer(network, settings)

    def state(self, history: Sequence[Epoch]) -> dict[str, Any]:
        """All that the next epoch depends on, and what the ones before came to."""
        on_cuda = self.device.startswith("cuda")
        return {
            "identity": self.identity,
            "history": [list(epoch) for epoch in history],
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if on_cuda else None,
        }

    def restore(self, state: Mapping[str, Any], where: str) -> list[Epoch]:
        """Takes up a training that was interrupted; returns its epochs.

        Raises:
            InputError: the state is of another training.
        """
        saved = state.get("identity")
        known = dict(saved) if isinstance(saved, Mapping) else {}
        if isinstance(known.get("settings"), Mapping):  # a key that was added since had its default
            known["settings"] = {**asdict(TrainSettings()), **known["settings"]}
        if known != self.identity:
            other = [key for key, value in self.identity.items() if known.get(key) != value]
            raise InputError(
                f"{where} is the checkpoint of a training with another {' and another '.join(other)}; "
                "delete it to begin anew"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["order"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.device.startswith("cuda"):
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        history = [Epoch(*values) for values in state["history"]]
        for _ in range(len(history) * self.steps):
            next(self.rates)
        return history

    def train_epoch(self) -> tuple[float, float]:
        """Runs one epoch; returns its mean loss, and the share of its images classified rightly as they came by."""
        self.network.train()
        smoothing = self.settings.label_smoothing
        total, steps = torch.zeros((), device=self.device), 0
        right, images = torch.zeros((), dtype=torch.int64, device=self.device), 0
        for x, labels in self.batches():
            rate = next(self.rates)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with precision(self.device):
                logits = self.network(x)
                loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            # read once an epoch: a NaN or infinity of any step stays in the sum, and reading each would wait for the device
            total += loss.detach()
            right += (logits.detach().argmax(1) == labels).sum()
            steps += 1
            images += len(labels)
        mean = float(total) / steps
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean}")
        return mean, int(right) / images


@torch.inference_mode()
def evaluate(
    network: nn.Module, data: Data, split: str, *, resolution: Size, device: str = "cpu", exact: bool = False
) -> tuple[float, float | None]:
    """Accuracy and top-5 accuracy of a network on a split, 0..1; top-5 is None below `TOP5_CLASSES` classes.

    Args:
        exact: in full float32 on CUDA too, as the network will be used elsewhere.

    Raises:
        Diverged: an output that is NaN or infinite.
    """
    network.eval()
    batch_size = max(16, min(1024, EVALUATION_PIXELS // (resolution[0] * resolution[1])))
    guesses = 5 if data.num_classes >= TOP5_CLASSES else 1
    right = torch.zeros(guesses, dtype=torch.int64, device=device)
    for x, labels in data.batches(split, batch_size, resolution=resolution, device=device):
        kernels = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=not exact)
        with precision(device, exact), kernels:
            logits = network(x).float()
        if not torch.isfinite(logits).all():
            raise Diverged("the network's output became NaN or infinite")
        best = logits.topk(guesses, dim=1).indices  # (N, guesses)
        right += (best == labels.unsqueeze(1)).sum(0)
    accuracies = right.cumsum(0).double() / data.sizes[split]
    return float(accuracies[0]), float(accuracies[4]) if guesses == 5 else None


def precision(device: str, exact: bool = False) -> torch.autocast:
    """bfloat16 where the hardware is made for it (CUDA), full precision elsewhere, or everywhere if `exact`."""
    enabled = device.startswith("cuda") and not exact
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)


def learning_rates(settings: TrainSettings, steps: int) -> list[float]:
    """The learning rate of every step: rising over the share `warmup`, then falling along half a cosine towards zero.

    "cosine" rises linearly from zero; "one_cycle" (Smith and Topin, Super-convergence, 2018, https://arxiv.org/abs/1708.07120)
    rises along a cosine too, from a 25th of `lr`, as PyTorch's OneCycleLR does.
    """
    peak, rise = settings.lr, settings.warmup * steps
    rates = []
    for step in range(steps):
        at = step + 0.5
        if at < rise and settings.schedule == "one_cycle":
            rates.append(peak * (1 - 0.96 * (1 + math.cos(math.pi * at / rise)) / 2))
        elif at < rise:
            rates.append(peak * at / rise)
        else:
            rates.append(peak * (1 + math.cos(math.pi * (at - rise) / (steps - rise))) / 2)
    return rates


def make_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer by name; weight decay acts on weights of convolutions and linear layers, never on norms, slopes and biases."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    # fused: one call updates all parameters; a loop over them costs as much as the network when it is small
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True)
    momentum = settings.momentum
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def initialise(network: nn.Module, seed: int) -> None:
    """Draws all parameters anew from `seed`, wherever and whenever the network was made.

    Convolutions as He et al., Delving deep into rectifiers (2015), https://arxiv.org/abs/1502.01852, equation 10 (the fan counts
    the inputs of one group); linear layers with the variance 1 / inputs; biases zero; norms the identity. Other modules are asked
    for their `reset_parameters()`; parameters of a module without one are drawn like linear weights, unless they are all equal (a
    constant start, such as a layer's scale, is kept).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in network.modules():
            _initialise_module(module, generator)


def _initialise_module(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
        gain = 1.0 if isinstance(module, nn.Linear) else math.sqrt(2)
        _draw(module.weight, gain, generator)
        if module.bias is not None:
            module.bias.zero_()
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()
    else:
        for parameter in module.parameters(recurse=False):
            if parameter.numel() > 1 and not bool((parameter == parameter.flatten()[0]).all()):
                _draw(parameter, 1.0, generator)


def _draw(weight: Tensor, gain: float, generator: torch.Generator) -> None:
    """Normal values with the standard deviation gain / sqrt(inputs of one output)."""
    inputs = weight[0].numel()
    values = torch.empty(weight.shape).normal_(0, gain / math.sqrt(inputs), generator=generator)
    weight.copy_(values)


@contextmanager
def _reproducible(seed: int, device: str) -> Iterator[None]:
    """Random numbers (dropout) from `seed` alone, deterministic kernels, and the caller's generators untouched."""
    cuda = [torch.device(device).index or 0] if device.startswith("cuda") else []
    # denormal numbers are a hundred times slower to work with, and mean nothing
    torch.set_flush_denormal(True)
    with (
        torch.random.fork_rng(devices=cuda),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns every way in which memory runs out into `OutOfMemory`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(str(error).splitlines()[0] if str(error) else "out of memory") from error
    except (RuntimeError, InputError) as error:
        # the CPU's allocator has no exception of its own, and a block that is being built is named before it
        if "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory(str(error).splitlines()[0]) from error
        raise
