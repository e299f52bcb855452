"""Training in full and exporting: as a user runs them, interrupted, resumed, and with everything that can be given wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from search import export, train
from search.config import FullTrainingSettings, compose
from search.data import load, load_test
from search.evaluation.trained_folder import read_record, take
from search.latency.onnx_file import OnnxFile
from search.report import network_file
from spaces import BLOCKS, build, decode
from spaces.reference import read_yaml

SMALL: dict[str, Any] = {
    "in_channels": 1,
    "num_classes": 10,
    "resolution": 8,
    "layers": [{"block": "conv", "channels": 8, "stride": 2}, {"block": "shuffle_agg", "channels": 16, "groups": 4}],
    "head": {"dropout": 0.1},
}
QUICK = ["architecture=net.yaml", "data=digits", "data.limit=200", "train=long", "train.epochs=3", "device=none"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    return module.main()


def results(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / "results.json").read_text())


def test_from_a_description_to_a_verified_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "net.yaml").write_text(network_file("found-digits", 11, {"accuracy": 0.9, "flops": 5}, SMALL))
    arguments = [*QUICK, "seeds=[0, 7]", "train.epochs=12"]
    assert run(monkeypatch, train, *arguments) == 0
    assert "To export it: python -m search.export folder=trained/net-digits" in " ".join(
        capsys.readouterr().out.split()
    )
    folder = home / "trained" / "net-digits"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "model_card.md",
        "network.yaml",
        "results.json",
        "seed-0.safetensors",
        "seed-7.safetensors",
    ]
    record = read_record(folder)
    assert record is not None
    accuracies = [training.accuracy for training in record.trainings]
    assert [training.seed for training in record.trainings] == [0, 7]
    assert record.accuracy() == (pytest.approx(np.mean(accuracies)), pytest.approx(np.std(accuracies, ddof=1)))
    assert min(accuracies) > 0.2, "chance is 0.1"
    sizes = {"train": 200 + 287, "test": 359}
    assert record.images["sizes"] == sizes, (
        "what was held out for the search is trained on too, and the test images are not"
    )

    # the weights, loaded as the card says, are right on as many test images as it says
    settings = {**record.data}
    data = load_test(settings, load(settings))
    for training in record.trainings:
        network = build(decode(read_yaml(folder / "network.yaml")))
        network.load_state_dict(load_file(folder / training.weights))
        right = 0
        with torch.no_grad():
            for x, labels in data.batches("test", 100):
                right += int((network.eval()(x).argmax(1) == labels).sum())
        assert right / 359 == training.accuracy

    before = results(folder)
    assert before["network"] == "found-digits, trial 11"
    assert run(monkeypatch, export, "folder=trained/net-digits", "seed=7", "device.threads=1") == 0
    out = " ".join(capsys.readouterr().out.split())
    exported = results(folder)["export"]
    assert exported["accuracy"] == exported["accuracy_torch"] == accuracies[1]
    assert exported["difference"] <= 1e-4
    assert exported["latency"]["median_ms"] > 0
    assert f"Accuracy of the file {100 * accuracies[1]:.2f}%" in out
    assert {**results(folder), "export": None} == before

    file = OnnxFile((folder / "model.onnx").read_bytes())
    (x, _), *_ = data.batches("test", 5)
    assert file(x.numpy()).shape == (5, 10)
    metadata = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(metadata["mean"]) == list(data.mean)
    assert "Divide by 255" in metadata["preprocessing"]

    card = (folder / "model_card.md").read_text()
    for said in (
        f"{100 * np.mean(accuracies):.2f}% ± {100 * np.std(accuracies, ddof=1):.2f}",
        data.fingerprint,
        "487 images",
        "359 images",
        "| epochs | 12 |",
        "python -m search.train architecture=trained/net-digits/network.yaml",
        "python -m search.export folder=trained/net-digits seed=7",
        f"{record.costs['flops']:,}",
        metadata["preprocessing"].partition(". ")[0],
        "not measured",
        "`model.onnx`",
        "# found-digits, trial 11\n",
    ):
        assert said in card, said
    monkeypatch.chdir(folder)
    check_examples(card)


OWN = """
from torch import nn
from spaces import BLOCKS


class Doubled(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1)

    def forward(self, x):
        return self.conv(x).relu() * 2


BLOCKS["doubled"] = Doubled
"""


def check_examples(card: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        names: dict[str, Any] = {}
        exec(example, names)
        assert names["logits"].shape == (1, 10)


def test_blocks_of_ones_own_go_all_the_way(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "doubling.py").write_text(OWN)
    (home / "net.yaml").write_text(yaml.safe_dump({**SMALL, "layers": [{"block": "doubled", "channels": 8}]}))
    monkeypatch.syspath_prepend(str(home))
    try:
        assert run(monkeypatch, train, *QUICK, "seeds=[0]", "imports=[doubling]") == 0
        command = "python -m search.export folder=trained/net-digits 'imports=[doubling]'"
        assert command in " ".join(capsys.readouterr().out.split())
        BLOCKS.pop("doubled")
        assert run(monkeypatch, export, "folder=trained/net-digits") == 2
        assert "imports=[doubling] brings its own blocks" in capsys.readouterr().err
        sys.modules.pop("doubling")
        assert run(monkeypatch, export, "folder=trained/net-digits", "imports=[doubling]") == 0
    finally:
        BLOCKS.pop("doubled", None)
        sys.modules.pop("doubling", None)


def test_killed_at_any_moment_it_goes_on_to_the_same_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*QUICK, "train.epochs=60", "seeds=[3]"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    folder = home / "trained" / "net-digits"
    process = subprocess.Popen([sys.executable, "-m", "search.train", *arguments], cwd=home, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "seed-3.checkpoint").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "results.json").exists(), "it was still training"
    kept = (folder / "network.yaml").read_text()
    (home / "other.yaml").write_text(yaml.safe_dump({**SMALL, "resolution": 6}))
    assert run(monkeypatch, train, *arguments, "architecture=other.yaml", f"folder={folder}") == 2
    assert (folder / "network.yaml").read_text() == kept
    assert run(monkeypatch, train, *arguments) == 0
    assert not list(folder.glob("*.checkpoint"))
    assert run(monkeypatch, train, *arguments, "folder=whole") == 0
    [resumed], [whole] = results(folder)["trainings"], results("whole")["trainings"]
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
    ours, theirs = (load_file(path / "seed-3.safetensors") for path in (folder, home / "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_seeds_are_added_to_those_that_are_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, train, *QUICK, "seeds=[1]") == 0
    first = results("trained/net-digits")["trainings"]
    weights = Path("trained/net-digits/seed-1.safetensors")
    before = weights.stat().st_mtime_ns
    assert run(monkeypatch, train, *QUICK, "seeds=[0, 1]") == 0
    both = results("trained/net-digits")["trainings"]
    assert [one["seed"] for one in both] == [0, 1]
    assert both[1] == first[0]
    assert weights.stat().st_mtime_ns == before


def test_a_folder_holds_one_training(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, train, *QUICK, "seeds=[0]") == 0
    capsys.readouterr()
    for change, said in (
        ("train.lr=0.1", "(train.lr: 0.2 -> 0.1);"),
        ("data.limit=100", "data.limit: 200 -> 100; images: "),
    ):
        assert run(monkeypatch, train, *QUICK, "seeds=[0]", change) == 2
        error = capsys.readouterr().err
        assert "holds another training" in error
        assert said in error
        assert "folder=PATH" in error


def test_one_process_at_a_time_works_in_a_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, train, *QUICK, "seeds=[0]") == 0
    held = take(home / "trained" / "net-digits")
    for module, arguments in ((train, QUICK), (export, ["folder=trained/net-digits"])):
        assert run(monkeypatch, module, *arguments) == 2
        assert "another process is working in" in capsys.readouterr().err
    held.release()


def test_a_network_of_the_literature_is_given_the_datas_classes(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["network=mobilenet_v2", "network.width_multiplier=0.25", "network.resolution=32"]
    assert run(monkeypatch, train, *QUICK[1:], *chosen, "train.epochs=1", "seeds=[0]") == 0
    record = results("trained/mobilenet_v2-digits")
    architecture = record["architecture"]
    assert (architecture["in_channels"], architecture["num_classes"], architecture["resolution"]) == (1, 10, [32, 32])
    assert "takes 32x32 pixels: the images of 8x8 are scaled" in capsys.readouterr().out
    card = Path("trained/mobilenet_v2-digits/model_card.md").read_text()
    assert "Scale to 32x32, bilinear" in card


def test_top5_from_twenty_classes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for label in range(20):
        (home / "photos" / f"class <{label}> | `x`").mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "photos" / f"class <{label}> | `x`" / f"{i}.png")
    (home / "net.yaml").write_text(yaml.safe_dump({**SMALL, "num_classes": 20}))
    arguments = [
        "architecture=net.yaml",
        "data=folder",
        "data.path=photos",
        "train.epochs=1",
        "device=none",
        "seeds=[0, 1]",
    ]
    assert run(monkeypatch, train, *arguments) == 0
    [one, other] = results("trained/net-folder")["trainings"]
    assert one["accuracy"] <= one["accuracy_top5"] <= 1
    card = Path("trained/net-folder/model_card.md").read_text()
    assert f"(top-5 {50 * (one['accuracy_top5'] + other['accuracy_top5']):.2f}% ± " in card
    assert "class \\<0\\> \\| \\`x\\`" in card, "names of classes are text"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=digits"], "architecture must be given"),
        (["architecture=net.yaml", "network=vgg11"], "both given"),
        (["architecture=nets.yaml"], "there is no such file; did you mean '"),
        (["architecture=."], "is a folder; "),
        (["architecture=other.yaml"], "other is made for 7 classes, and data=digits has 10"),
        (["network=espnet_c", "network.resolution=32"], "espnet_c gives every place of an image a class"),
        (["architecture=gone.yaml"], "unknown block 'gone'"),
        (["network=mobilenet_v4"], "did you mean 'mobilenet_v2'?"),
        ([*QUICK, "seeds=3"], "seeds=3: must be a list of whole numbers"),
        ([*QUICK, "seeds=[]"], "seeds=[]: must be a list"),
        ([*QUICK, "seeds=[-1]"], "seeds=[-1]: must be a list"),
        ([*QUICK, "train.lr=0"], "train.lr is 0"),
        ([*QUICK, "train.lr={float: [0.1, 1.0]}"], "train.lr is "),
        ([*QUICK, "accelerator=tpu"], "accelerator: there is no accelerator 'tpu'"),
        ([*QUICK, "tracker=wandb"], "tracker: there is no tracker 'wandb'"),
        ([*QUICK, "folder=/proc/1/none"], "folder: cannot write to"),
        ([*QUICK, "train.lr=1e9", "train.warmup=0"], "seed 0: "),
    ],
)
def test_mistakes_are_one_line(
    home: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "other.yaml").write_text(yaml.safe_dump({**SMALL, "num_classes": 7}))
    (home / "gone.yaml").write_text(yaml.safe_dump({**SMALL, "layers": [{"block": "gone"}]}))
    assert run(monkeypatch, train, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    (home / "net.yaml").write_text(yaml.safe_dump(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert run(patch, train, *QUICK, "train.epochs=1", "seeds=[0]") == 0
    return home / "trained"


def spoil_digest(folder: Path, **changes: Any) -> None:
    path = folder / "results.json"
    path.write_text(json.dumps({**results(folder), **changes}))


@pytest.mark.parametrize(
    ("arguments", "spoil", "message"),
    [
        (["folder=trained/net-digit"], None, "nothing was trained in"),
        (["folder=trained/net-digit"], None, "did you mean 'net-digits'?"),
        (
            ["folder=elsewhere"],
            None,
            "elsewhere; search.train architecture=PATH trains a network",
        ),
        ([], None, "folder must be given"),
        (["seed=4"], None, "seed=4: trained were 0"),
        (["device=torch"], None, "measured with ONNX Runtime"),
        (["device.dtype=float16"], None, "float32"),
        (["output=/proc/1/none/x.onnx"], None, "output: cannot write"),
        ([], lambda f: (f / "seed-0.safetensors").unlink(), "the weights cannot be read"),
        ([], lambda f: (f / "seed-0.safetensors").write_bytes(b"x" * 99), "the weights cannot be read"),
        ([], lambda f: (f / "results.json").write_text("{"), "is not the record of a training"),
        ([], lambda f: spoil_digest(f, trainings=[]), "nothing was trained in"),
        (
            [],
            lambda f: spoil_digest(f, architecture={**SMALL, "layers": [{"block": "gone"}]}),
            "use the version of the code that it was trained with (smallnets ",
        ),
        (
            [],
            lambda f: spoil_digest(f, architecture={**SMALL, "layers": SMALL["layers"][:1]}),
            "do not fit the network",
        ),
        (
            [],
            lambda f: spoil_digest(f, images={**results(f)["images"], "fingerprint": "0123"}),
            "are not those the network was trained on (fingerprint ",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(
    trained: Path,
    tmp_path: Path,
    arguments: list[str],
    spoil: Any,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained, tmp_path / "trained")
    monkeypatch.chdir(tmp_path)
    if spoil is not None:
        spoil(tmp_path / "trained" / "net-digits")
    if spoil is not None or (arguments and not arguments[0].startswith("folder")):
        arguments = ["folder=trained/net-digits", *arguments]
    assert run(monkeypatch, export, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "trained" / "net-digits" / "model.onnx").exists()


@pytest.mark.parametrize("left_out", [["resolution"], ["resolution", "in_channels", "num_classes"]])
@pytest.mark.parametrize("arguments", [["--config-dir", "own", "network=mine"], ["architecture=own/network/mine.yaml"]])
def test_what_a_network_leaves_to_the_data_is_the_datas(home: Path, arguments: list[str], left_out: list[str]) -> None:
    (home / "own" / "network").mkdir(parents=True)
    description = {key: value for key, value in SMALL.items() if key not in left_out}
    (home / "own" / "network" / "mine.yaml").write_text(yaml.safe_dump(description))
    [config] = compose([*arguments, "data=digits"], "train")
    settings = FullTrainingSettings.from_mapping(config)
    name, architecture = train.read_network(settings, load(settings.data))
    assert name == "mine"
    assert (architecture.in_channels, architecture.num_classes, architecture.resolution) == (1, 10, (8, 8))
