"""Training: it learns, it is repeatable to the bit, and every way of failing is told apart."""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

import conf
from search.data import Data, join_training, load
from search.data.images import Held
from search.evaluation.settings import TrainSettings
from search.evaluation.training import (
    Diverged,
    Epoch,
    OutOfMemory,
    Result,
    evaluate,
    initialise,
    learning_rates,
    make_optimizer,
    train,
)
from spaces.blocks.ops import conv_norm_act
from spaces.errors import InputError

SHORT = {
    "epochs": 3,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "one_cycle",
    "warmup": 0.2,
    "label_smoothing": 0.1,
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load({"source": "digits", "limit": 300})


def small(classes: int = 10, dropout: float = 0.2) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_act(1, 16, 3, 2),
        conv_norm_act(16, 16, 3, groups=16),
        conv_norm_act(16, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(32, classes),
    )


def run(data: Data, network: nn.Module | None = None, seed: int = 0, **changes: Any) -> Result:
    return train(network or small(), data, {**SHORT, **changes}, resolution=(8, 8), seed=seed)


def made_of(**changes: Any) -> TrainSettings:
    return TrainSettings.from_mapping({**SHORT, **changes})


def measured(result: Result) -> tuple[float, ...]:
    return result.curve


# --- what it gives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup": 0}])
def test_it_learns_and_reports_every_epoch(digits: Data, changes: dict[str, Any]) -> None:
    told: list[Epoch] = []

    def tell(epoch: Epoch) -> bool:
        told.append(epoch)
        return True

    settings = {**SHORT, "epochs": 8, "batch_size": 32, **changes}
    network = small()
    result = train(network, digits, settings, resolution=(8, 8), seed=0, on_epoch=tell)
    assert result.accuracy > 0.5, "chance is 0.1"
    assert [epoch.epoch for epoch in told] == list(range(1, 9))
    assert tuple(epoch.accuracy for epoch in told) == result.curve
    assert told[-1].loss < told[0].loss
    assert [epoch.seconds for epoch in told] == sorted(epoch.seconds for epoch in told)
    assert (result.epochs, result.stopped, result.accuracy_top5) == (8, False, None)
    assert evaluate(network, digits, "validation", resolution=(8, 8)) == (result.accuracy, None)


def test_the_callers_word_ends_it(digits: Data) -> None:
    result = train(small(), digits, SHORT, resolution=(8, 8), seed=0, on_epoch=lambda epoch: epoch.epoch < 2)
    assert (result.epochs, len(result.curve), result.stopped) == (2, 2, True)
    assert result.curve == run(digits).curve[:2], "stopping changes nothing before it"


def test_a_lower_resolution_reaches_the_network(digits: Data) -> None:
    seen: set[tuple[int, ...]] = set()
    network = small()
    network.register_forward_pre_hook(lambda _, inputs: seen.add(tuple(inputs[0].shape[2:])))
    train(network, digits, SHORT, resolution=(5, 6), seed=0)
    assert seen == {(5, 6)}


def test_top5_from_twenty_classes_on(digits: Data) -> None:
    class Ranked(nn.Module):
        """Ranks class 3 first and class 0 fourth, whatever it sees."""

        def forward(self, x: Tensor) -> Tensor:
            logits = -torch.arange(20.0).repeat(len(x), 1)
            logits[:, 3] = 1
            logits[:, 0] = -2.5
            return logits

    images = np.zeros((10, 1, 4, 4), np.uint8)
    labels = np.array([3] * 5 + [0] * 3 + [19] * 2)
    names = tuple(str(i) for i in range(20))
    data = replace(digits, class_names=names, splits={"validation": Held(images, labels)})
    assert evaluate(Ranked(), data, "validation", resolution=(4, 4)) == (0.5, 0.8)


def test_batch_of_one_image_is_survived(digits: Data) -> None:
    assert run(load({"source": "digits", "limit": 33}), batch_size=32, epochs=1).epochs == 1
    assert run(load({"source": "digits", "limit": 33}), batch_size=512, epochs=1).epochs == 1


def test_where_nothing_is_held_out_accuracy_is_that_of_the_training_images(digits: Data) -> None:
    told: list[Epoch] = []
    data = join_training(digits)
    settings = {**SHORT, "epochs": 6}
    result = train(small(), data, settings, resolution=(8, 8), seed=0, on_epoch=lambda epoch: not told.append(epoch))
    assert 0.3 < result.accuracy <= 1
    assert result.accuracy == told[-1].accuracy
    assert told[-1].accuracy > told[0].accuracy
    assert result.accuracy_top5 is None


# --- repeatable -------------------------------------------------------------------------------------------------------


def test_same_seed_same_curve_whatever_ran_before(digits: Data) -> None:
    first = run(digits)
    torch.manual_seed(1234)
    run(digits, seed=5)
    other = train(small(), digits, SHORT, resolution=(4, 4), seed=2)
    torch.rand(17)
    assert measured(run(digits)) == measured(first)
    assert measured(run(digits, seed=1)) != measured(first)
    assert other.curve != first.curve


def test_weights_end_up_the_same_to_the_bit(digits: Data) -> None:
    a, b = small(), small()
    run(digits, a)
    torch.rand(5)
    run(digits, b)
    for (name, ours), theirs in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_callers_generator_is_left_alone(digits: Data) -> None:
    network = small()
    before = torch.random.get_rng_state()
    run(digits, network)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- interrupted and taken up -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for whatever ends a process between two epochs."""


def interrupted(data: Data, path: Path, settings: dict[str, Any], after: int) -> None:
    def kill(epoch: Epoch) -> bool:
        if epoch.epoch == after:
            raise Killed
        return True

    with pytest.raises(Killed):
        train(small(), data, settings, resolution=(8, 8), seed=3, on_epoch=kill, checkpoint=path)


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine"}, {"momentum": 0.0, "batch_size": 299}]
)
def test_a_resumed_training_ends_as_if_uninterrupted(digits: Data, tmp_path: Path, changes: dict[str, Any]) -> None:
    settings, data = {**SHORT, "epochs": 5, **changes}, replace(digits, augment=True)
    whole, parts = small(), small()
    expected = train(whole, data, settings, resolution=(8, 8), seed=3)
    told: list[Epoch] = []

    def tell(epoch: Epoch) -> bool:
        told.append(epoch)
        return True

    path = tmp_path / "training.checkpoint"
    for after in (2, 4):
        interrupted(data, path, settings, after)
        torch.rand(7)
    result = train(parts, data, settings, resolution=(8, 8), seed=3, on_epoch=tell, checkpoint=path)
    assert (result.curve, result.epochs, result.stopped) == (expected.curve, 5, False)
    assert [epoch.epoch for epoch in told] == [1, 2, 3, 4, 5], "those before the interruption too"
    assert [epoch.seconds for epoch in told] == sorted(epoch.seconds for epoch in told)
    for (name, ours), theirs in zip(parts.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    again = small()
    finished = train(again, data, settings, resolution=(8, 8), seed=3, checkpoint=path)
    assert finished.curve == expected.curve, "a finished training is not run again"
    assert torch.equal(again.state_dict()["0.0.weight"], whole.state_dict()["0.0.weight"])


def test_a_checkpoint_of_another_training_is_refused(digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "training.checkpoint"
    run_it = {"resolution": (8, 8), "seed": 3, "checkpoint": path}
    interrupted(digits, path, SHORT, 1)
    for network, data, changes, word in (
        (small(), digits, {"seed": 4}, "other seed"),
        (small(), digits, {"resolution": (6, 6)}, "other resolution"),
        (small(classes=9), digits, {}, "other weights"),
        (small(), replace(digits, fingerprint="another"), {}, "other data"),
    ):
        with pytest.raises(InputError, match=word):
            train(network, data, SHORT, **{**run_it, **changes})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other settings"):
        train(small(), digits, {**SHORT, "lr": 0.3}, **run_it)  # type: ignore[arg-type]


def test_a_file_that_is_no_checkpoint_is_refused_and_not_run(digits: Data, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "has run",)

    path = tmp_path / "training.checkpoint"
    for content in (b"", b"nonsense", None):
        if content is None:
            torch.save({"network": Hostile()}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match="delete it to begin anew"):
            train(small(), digits, SHORT, resolution=(8, 8), seed=3, checkpoint=path)
    assert not (tmp_path / "has run").exists()


# --- initialisation, optimizer, schedule ------------------------------------------------------------------------------


class Own(nn.Module):
    """Parameters that no standard module holds: a drawn one, and a scale that starts constant."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = nn.Parameter(torch.randn(64, 25))
        self.scale = nn.Parameter(torch.full((64, 1), 1e-5))


def test_initialisation_depends_on_the_seed_alone() -> None:
    def made(seed: int, before: int) -> dict[str, Tensor]:
        torch.manual_seed(before)
        network = nn.ModuleList([small(), Own(), nn.PReLU(8), nn.LSTM(3, 4)])
        initialise(network, seed)
        return network.state_dict()

    first, again, other = made(0, before=1), made(0, before=2), made(1, before=1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in ("0.0.0.weight", "0.6.weight", "1.drawn", "3.weight_ih_l0"):
        assert not torch.equal(first[key], other[key]), key
    assert torch.equal(first["1.scale"], torch.full((64, 1), 1e-5))


def test_initialisation_keeps_the_variance_of_every_group() -> None:
    conv, linear = nn.Conv2d(256, 512, 3, groups=32), nn.Linear(1000, 100)
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, 7)
    norm.running_mean.add_(3)  # type: ignore[union-attr]
    initialise(nn.ModuleList([conv, linear, norm]), 0)
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / (8 * 9)), rel=0.02), "a group has 8 inputs"
    assert float(linear.weight.detach().std()) == pytest.approx(1 / math.sqrt(1000), rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()
    assert norm.weight.tolist() == [1] * 4
    assert norm.running_mean.tolist() == [0] * 4  # type: ignore[union-attr]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_spares_norms_and_biases(optimizer: str) -> None:
    network = small()
    made = make_optimizer(network, made_of(optimizer=optimizer, weight_decay=0.5, lr=0.1))
    before = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for (name, now), then in zip(network.named_parameters(), before.parameters()):
        if now.ndim > 1:
            assert torch.allclose(now, then * 0.95) or optimizer == "sgd"
            assert float(now.detach().abs().sum()) < float(then.detach().abs().sum()), name
        else:
            assert torch.equal(now, then), name


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_schedule_rises_then_falls_to_nothing(schedule: str) -> None:
    rates = learning_rates(made_of(schedule=schedule, lr=0.5, warmup=0.25), 400)
    peak = rates.index(max(rates))
    assert peak in (99, 100)
    assert max(rates) == pytest.approx(0.5, rel=1e-3)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 1e-4
    assert rates[250] == pytest.approx(0.25, rel=0.01), "half way down"
    assert all(rate > 0 for rate in learning_rates(made_of(schedule=schedule, warmup=0), 1))


def test_one_cycle_is_pytorchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=2000, pct_start=0.3, final_div_factor=1e9)
    ours = learning_rates(made_of(lr=0.4, warmup=0.3), 2000)
    for rate in ours:
        assert rate == pytest.approx(theirs.get_last_lr()[0], abs=1e-3)
        optimizer.step()
        if len(ours) > theirs.last_epoch + 1:
            theirs.step()


# --- failures ---------------------------------------------------------------------------------------------------------


class Failing(nn.Module):
    """Does what it is told in place of a forward pass, in training or in evaluation only."""

    def __init__(self, act: Callable[[Tensor], Tensor], training: bool = True) -> None:
        super().__init__()
        self.inner, self.act, self.when = small(), act, training

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return self.act(x) if self.training is self.when else x


def fail(error: Exception) -> Callable[[Tensor], Tensor]:
    def act(x: Tensor) -> Tensor:
        raise error

    return act


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (Failing(lambda x: x * math.nan), Diverged),
        (Failing(lambda x: x * math.inf), Diverged),
        (Failing(lambda x: x * math.nan, training=False), Diverged),
        (Failing(fail(torch.OutOfMemoryError("CUDA out of memory"))), OutOfMemory),
        (Failing(fail(MemoryError())), OutOfMemory),
        (Failing(lambda x: x + torch.empty(2**50).sum()), OutOfMemory),
        (Failing(fail(RuntimeError("sizes do not match"))), RuntimeError),
        (Failing(fail(KeyError("x"))), KeyError),
    ],
)
def test_failures_are_told_apart(digits: Data, network: nn.Module, kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        run(digits, network)
    assert error.type is kind


def test_a_learning_rate_far_too_high_diverges(digits: Data) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with pytest.raises(Diverged, match="loss became"):
        run(digits, plain, lr=1e12, epochs=10)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "long"])
def test_published_settings_are_valid(name: str) -> None:
    settings = OmegaConf.to_container(OmegaConf.load(Path(conf.__path__[0]) / "train" / f"{name}.yaml"))
    assert asdict(TrainSettings.from_mapping(settings)) == settings  # type: ignore[arg-type]
    if name == "short":
        assert TrainSettings() == TrainSettings.from_mapping(settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "train.epoch is unknown; did you mean 'epochs'"),
        ({"epochs": 0}, "train.epochs is 0; "),
        ({"epochs": 1.5}, "train.epochs is 1.5; "),
        ({"epochs": True}, "train.epochs is True; "),
        ({"batch_size": "big"}, "train.batch_size is 'big'; "),
        ({"batch_size": 1}, "train.batch_size is 1; "),
        ({"optimizer": "adam"}, "train.optimizer is 'adam'; did you mean 'adamw'"),
        ({"optimizer": ["sgd"]}, "train.optimizer is ['sgd']; "),
        ({"schedule": None}, "train.schedule is None; "),
        ({"lr": 0}, "train.lr is 0; "),
        ({"lr": math.nan}, "train.lr is nan; "),
        ({"lr": math.inf}, "train.lr is inf; "),
        ({"momentum": 1.0}, "train.momentum is 1.0; "),
        ({"weight_decay": -1e-4}, "train.weight_decay is -0.0001; "),
        ({"warmup": -0.1}, "train.warmup is -0.1; "),
        ({"label_smoothing": 1}, "train.label_smoothing is 1; "),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        TrainSettings.from_mapping({**SHORT, **change})
    assert message in str(error.value)


def test_a_missing_setting_takes_its_default() -> None:
    settings = TrainSettings.from_mapping({key: value for key, value in SHORT.items() if key != "lr"})
    assert asdict(settings) == {**SHORT, "lr": 0.2}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_learns_and_repeats(digits: Data) -> None:
    curves = [
        train(small(), digits, {**SHORT, "epochs": 8}, resolution=(8, 8), seed=0, device="cuda").curve for _ in "ab"
    ]
    assert curves[0] == curves[1]
    assert curves[0][-1] > 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_goes_on_from_a_checkpoint_to_the_same_end(digits: Data, tmp_path: Path) -> None:
    def run_on_cuda(checkpoint: Path | None, until: int = 5) -> Result:
        network, settings = small(), {**SHORT, "epochs": 5}
        return train(
            network,
            digits,
            settings,
            resolution=(8, 8),
            seed=0,
            device="cuda",
            on_epoch=lambda epoch: epoch.epoch < until,
            checkpoint=checkpoint,
        )

    run_on_cuda(tmp_path / "training.checkpoint", until=2)
    assert run_on_cuda(tmp_path / "training.checkpoint").curve == run_on_cuda(None).curve
