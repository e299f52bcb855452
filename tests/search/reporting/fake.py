"""A made-up trials table that looks like a real study's, for tests."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from search.objective.reward import Objective
from search.reporting.record import Record
from search.reporting.tables import StudyInfo, trials_frame
from spaces import cost, load_space

INFO = StudyInfo("shuffle_agg-digits-seed=1", Objective(target=(4e4, 6e6)), (4e4, 6e6), chance=0.1)
IMAGE = {"in_channels": 1, "num_classes": 10, "resolution": 8}
RECORD_INFO = StudyInfo("shuffle_agg-digits", Objective(target=(4e3, 6e5)), (4e3, 6e5), chance=0.1)
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>&lt;b&gt; $x$ {{plotly}}"


def fake_row(number: int, generator: np.random.Generator) -> dict[str, Any]:
    """One trial: accuracy rises with the logarithm of the cost, with noise; some fail, stop or repeat another."""
    flops = int(math.exp(generator.uniform(math.log(4e4), math.log(6e6))))
    quality = 0.985 - 0.5 * math.exp(-(math.log(flops / 2.5e4)) / 1.3)
    accuracy = max(0.08, min(1.0, quality - abs(generator.normal(0, 0.05)) - 0.3 * (generator.random() < 0.06)))
    row: dict[str, Any] = {
        "number": number,
        "state": str(generator.choice(["complete", "stopped", "failed"], p=[0.87, 0.08, 0.05])),
        "accuracy": round(accuracy, 4),
        "flops": flops,
        "params": int(flops / generator.uniform(20, 60)),
        "epochs": 8,
        "seconds": round(float(generator.uniform(2, 9)), 2),
        "digest": f"{int(generator.integers(2**48)):012x}",
        **fake_decisions(generator),
    }
    row["reward"] = float(INFO.objective.mean_reward(row["accuracy"], flops))
    if row["state"] == "stopped":
        row |= {"epochs": 3, "accuracy": round(0.7 * accuracy, 4), "reward": None}
    elif row["state"] == "failed":
        row |= {"epochs": 1, "accuracy": None, "reward": None, "failure": "loss became NaN in epoch 2 of 8"}
    elif number % 30 == 29:
        row["duplicate_of"] = number - 7
    return row


def fake_decisions(generator: np.random.Generator) -> dict[str, Any]:
    """Decisions as a space of alternatives has them: what belongs to a block not chosen is absent."""
    decisions: dict[str, Any] = {
        "width_multiplier": float(generator.choice([0.25, 0.5, 0.75, 1.0])),
        "resolution_multiplier": float(generator.choice([0.5, 1.0])),
        "activation": "relu",
    }
    for layer in (1, 2, 3):
        block = str(generator.choice(["shuffle_agg", "inverted_residual", "shufflenet_v2"]))
        decisions[f"layers.{layer}.block"] = block
        prefix = f"layers.{layer}.block.{block}"
        if block == "shuffle_agg":
            decisions[f"{prefix}.groups"] = int(generator.choice([2, 4, 8, 16]))
            decisions[f"{prefix}.kernel_size"] = int(generator.choice([2, 3, 5]))
            decisions[f"{prefix}.aggregate"] = str(generator.choice(["max", "mean"]))
        if block == "inverted_residual":
            decisions[f"{prefix}.expand_ratio"] = int(generator.integers(2, 7))
            decisions[f"{prefix}.squeeze_ratio"] = float(generator.choice([0, 0.25]))
        decisions[f"layers.{layer}.repeat"] = int(generator.integers(1, 4))
    decisions["train.lr"] = float(np.exp(generator.uniform(np.log(0.01), np.log(0.3))))
    return decisions


def fake_trials(num_trials: int, seed: int = 0) -> pd.DataFrame:
    """A trials table with every column and decision."""
    generator = np.random.default_rng(seed)
    rows = [fake_row(number, generator) for number in range(num_trials)]
    names: dict[str, None] = {}
    for row in [*rows, *(fake_row(0, generator) for _ in range(50))]:
        names |= dict.fromkeys(name for name in row if "." in name or "multiplier" in name or name == "activation")
    return trials_frame(rows, sorted(names, key=lambda name: ("." in name, "train" in name, name)))


def fake_record(num_trials: int, seed: int = 0, name: str = INFO.name) -> Record:
    """A made-up study of the default space: real networks at their real costs, outcomes drawn.

    Accuracy rises with cost, more so for one block, so that there is something to find. Among any thirty trials one repeats
    another and one breaks a limit; the first is a network of the literature.
    """
    generator = np.random.default_rng(seed)
    space = load_space("shuffle_agg", {"lr": {"float": [0.01, 0.3], "log": True}}, **IMAGE)
    rows: list[dict[str, Any]] = []
    architectures, curves, spans = {}, {}, {}
    clock = [1.7e9, 1.7e9]
    for number in range(num_trials):
        candidate = space.random(generator)
        architecture, total = candidate.architecture, cost(candidate.architecture)
        row: dict[str, Any] = {
            "number": number,
            "digest": architecture.digest,
            "flops": total.flops,
            "params": total.params,
            **candidate.decisions,
        }
        rows.append(row)
        if number % 30 == 29:
            row |= {**rows[number - 7], "number": number, "duplicate_of": number - 7}
            continue
        architectures[architecture.digest] = architecture.to_dict()
        if number % 30 == 28:
            row |= {"state": "infeasible", "failure": f"params {total.params} > 100"}
            continue
        quality = 0.98 - 0.5 * math.exp(-math.log(total.flops / 2.5e3) / 1.3)
        bonus = 0.03 * (candidate.decisions["layers.1.block"] == "shuffle_agg")
        accuracy = max(0.05, min(1.0, quality + bonus - abs(generator.normal(0, 0.04))))
        state = str(generator.choice(["complete", "stopped", "failed"], p=[0.85, 0.1, 0.05])) if number else "complete"
        epochs = {"complete": 12, "stopped": 4, "failed": 2}[state]
        curve = [round(accuracy * (1 - math.exp(-(epoch + 1) / 3)), 4) for epoch in range(epochs)]
        worker = int(clock[0] > clock[1])
        seconds = float(generator.uniform(0.5, 1.5)) * epochs
        row |= {"state": state, "epochs": epochs, "seconds": round(seconds, 2)}
        if state == "failed":
            row["failure"] = "diverged: the training loss became nan"
        else:
            row["accuracy"] = curve[-1]
        if state == "complete":
            row["reward"] = float(RECORD_INFO.objective.mean_reward(curve[-1], total.flops))
        curves[number] = tuple(curve)
        spans[number] = (clock[worker], clock[worker] + seconds)
        clock[worker] += seconds + 0.3
    trials = trials_frame(rows, [decision.name for decision in space.decisions])
    if num_trials:
        trials["name"] = ["mobilenet_v2", *[None] * (num_trials - 1)]
    config = {
        "choices": {"data": "digits", "train": "short", "space": "shuffle_agg"},
        "data": {"name": "digits", "source": "digits", "fingerprint": "0"},
        "imports": [],
        "seed": seed,
    }
    return Record(trials, replace(RECORD_INFO, name=name), config, architectures, curves, spans)
