"""A study as the page's scripts take it: every trial, every network, and the commands that go on from each."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.config.command_lines import export_command, hyperparameters, train_command
from search.objective.costs import Cost
from search.reporting.figures import OptionsInfo
from search.reporting.figures.decisions import short_name
from search.reporting.networks import DrawnLayer, read_network
from search.reporting.record import Record, kinds_of
from search.reporting.tables import decision_columns, front
from search.reporting.text import STATE_WORDS, is_missing

_PLACEHOLDER = "trial-0000-0000000000000000"


def gather_model(
    record: Record, folder: Path, costs: list[str], options: Mapping[str, Mapping[str, OptionsInfo]]
) -> dict[str, Any]:
    """Every trial and every network, as the table, the hover labels and the drawings need them.

    Args:
        record: the study.
        folder: where its files are.
        costs: those that are known, in their order.
        options: the fronts of the options, by cost and by the page's key.
    """
    trials = record.trials
    decisions = decision_columns(trials)
    columns = [
        str(name)
        for name in _confirmed_first(trials.columns)
        if name in ("number", "state") or (name not in decisions and trials[name].notna().any())
    ]
    layers: dict[str, int] = {}
    reached = {
        cost: {
            key: [[o.label, o.num_trials, o.best_accuracy, o.volume, len(o.numbers)] for o in info.options]
            for key, info in options[cost].items()
        }
        for cost in costs
    }
    networks = {digest: _network(record, digest, layers) for digest in dict.fromkeys(trials["digest"].dropna())}
    return {
        "costs": [_cost_words(name, record.info.costs[name]) for name in costs],
        "columns": {name: [_cell(value) for value in trials[name]] for name in columns},
        "decisions": [_coded(name, trials[name]) for name in decisions],
        "kinds": {cost: kinds_of(trials, cost) for cost in costs},
        "curves": {number: curve for number, curve in record.curves.items() if len(trials) <= 1000},
        "words": STATE_WORDS,
        "options": reached,
        "layers": [json.loads(text) for text in layers],
        "networks": networks,
        "commands": _commands(record, folder, costs),
    }


def _cost_words(name: str, cost: Cost) -> dict[str, Any]:
    return {"name": name, "label": cost.short, "is_count": cost.is_count, "meaning": cost.meaning}


def _commands(record: Record, folder: Path, costs: list[str]) -> dict[str, Any]:
    """The commands that go on from each network: from its file in front/, or from one saved off the page."""
    trials, config = record.trials, record.config
    if (
        not {"choices", "data"} <= config.keys()
    ):  # a study that was driven from Python: no command says what its images are
        return {}
    on_front = {int(number) for cost in costs for number in front(trials, cost)["number"]}
    names = [name for name in decision_columns(trials) if name.startswith("train.")]
    texts: dict[str, int] = {}
    positions: dict[int, int] = {}
    of_front = {}
    for row in trials[["number", "digest", *names]].to_dict("records"):
        number, found = int(row["number"]), {name: row[name] for name in names if not is_missing(row[name])}
        settings = hyperparameters(found)
        positions[number] = texts.setdefault(settings, len(texts))
        if number in on_front:
            name = f"{number:04d}-{row['digest']}"
            file = _from_here(folder / "front" / f"{name}.yaml")
            of_front[number] = [file, train_command(file, f"trained/{name}", config, found)]
    return {
        "placeholder": _PLACEHOLDER,
        "train": train_command(f"{_PLACEHOLDER}.yaml", f"trained/{_PLACEHOLDER}", config, {}),
        "export": export_command(f"trained/{_PLACEHOLDER}", config.get("imports") or ()),
        "settings": list(texts),
        "of": positions,
        "front": of_front,
    }


def _from_here(path: Path) -> str:
    """A path as it is written on a command line in the current directory."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative


def _confirmed_first(names: Iterable[Any]) -> list[Any]:
    """The columns with the confirmed accuracy beside that of the trial's own training."""
    confirmed = [name for name in names if name in ("accuracy_mean", "accuracy_std", "confirmations")]
    others = [name for name in names if name not in confirmed]
    place = others.index("accuracy") + 1
    return [*others[:place], *confirmed, *others[place:]]


def _cell(value: Any) -> Any:
    """A cell as JSON holds it; seven digits of a measurement are more than anybody reads."""
    if is_missing(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value if isinstance(value, int) else str(value)


def _coded(name: str, column: Iterable[Any]) -> dict[str, Any]:
    """A decision as its values and, for each trial, the position of its value among them; -1 where it is absent."""
    values: dict[str, tuple[int, Any]] = {}
    codes = []
    for cell in column:
        if is_missing(cell):
            codes.append(-1)
            continue
        plain = cell if isinstance(cell, int | float | bool) else str(cell)
        codes.append(values.setdefault(repr(plain), (len(values), plain))[0])
    return {"name": name, "short": short_name(name), "values": [value for _, value in values.values()], "codes": codes}


def _network(record: Record, digest: str, layers: dict[str, int]) -> dict[str, Any]:
    """A network as positions in the table of all distinct layers; as it was stored where it does not build."""
    if digest not in record.architectures:
        return {"problem": "The storage holds no description of this network."}
    network = read_network(record.architectures[digest])
    if network.problem is not None:
        return {"problem": network.problem, "description": network.description}
    description = network.description
    return {
        "in_channels": description["in_channels"],
        "num_classes": description["num_classes"],
        "resolution": description["resolution"],
        "layers": [layers.setdefault(_layer_text(layer), len(layers)) for layer in network.layers],
    }


def _layer_text(layer: DrawnLayer) -> str:
    return json.dumps(
        [
            layer.description,
            layer.block,
            layer.in_channels,
            layer.out_channels,
            layer.size,
            layer.flops,
            layer.params,
            layer.inputs,
        ]
    )
