"""`python -m search.profile network=mobilenet_v2`: what each layer of a network costs, and how fast it runs on a device."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from search.config import import_user_modules, run_command
from search.latency.device import Device
from search.latency.predictor import Predictor
from search.latency.profiler import Profiler, Progress
from search.latency.table import block_keys
from search.reporting.layers import Latency, layer_rows, layer_table, layers_as_data
from spaces import Architecture, InputError, SearchSpace, decode
from spaces.errors import did_you_mean
from spaces.reference import read_yaml

FORMATS = ("table", "json")

EXAMPLES = [
    "python -m search.profile network=mobilenet_v2 network.width_multiplier=0.5",
    "python -m search.profile network=mobilenet_v2 device=onnxruntime",
    "python -m search.profile network=espnet_c network.p=3 'network.resolution=[256, 512]'",
    "python -m search.profile architecture=results/shuffle_agg-digits/front/0012-8d3ab2c4d5e6f708.yaml format=json",
    "python -m search.profile space=shuffle_agg device=onnxruntime resolution=32",
]


def profile(config: dict[str, Any]) -> None:
    """Prints the profile that a composed config asks for.

    Raises:
        InputError: no network and no space, two of them, or one that cannot be built; a device that is not there.
    """
    if config["format"] not in FORMATS:
        raise InputError(f"format: there is no format '{config['format']}'{did_you_mean(config['format'], FORMATS)}")
    import_user_modules(config["imports"])
    device = Device.from_config(config["device"])
    console = Console()
    if config.get("space") is not None:
        profile_space(config, device, console)
        return
    name, architecture = chosen_network(config)
    rows = layer_rows(architecture)
    latency = None if device is None else measure_network(device, architecture)
    if config["format"] == "json":
        print(json.dumps(layers_as_data(name, architecture, rows, latency), indent=2))
        return
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a pipe has no width: nothing needs to be cut
    console.print(layer_table(name, architecture, rows, latency))


def chosen_network(config: dict[str, Any]) -> tuple[str, Architecture]:
    """The network that a config names, or describes in a file.

    Returns:
        (its name or its file's, the architecture).

    Raises:
        InputError: none or two are given, or it cannot be built.
    """
    path, description = config["architecture"], config.get("network")
    if path is not None and description is not None:
        raise InputError("network and architecture are both given; one of them says which network is meant")
    if path is not None:
        if not isinstance(path, str):
            raise InputError(f"architecture={path!r}: must be the path of a YAML file")
        return Path(path).stem, decode(read_yaml(Path(path)), path)
    if description is None:
        raise InputError(
            "network must be given: network=NAME, as network=mobilenet_v2, or architecture=PATH, or space=NAME"
        )
    name = config["choices"]["network"]
    return name, decode(description, f"network '{name}'")


def measure_network(device: Device, architecture: Architecture) -> Latency:
    """Times a network and its blocks; what the device's table already has of the blocks is taken from there.

    Raises:
        InputError: the device is not there, or cannot run the network.
    """
    profiler = Profiler(device)
    table = profiler.table
    keys = block_keys(architecture)
    new = [key for key in dict.fromkeys(keys) if key not in table.blocks]
    profiler.measure_blocks(new)
    table.networks.pop(architecture.digest, None)
    [predicted], [error] = Predictor(table).predict([architecture])
    [whole] = profiler.measure_networks([architecture])
    table.save()
    return Latency(
        ", ".join(table.identity.values()),
        [table.blocks[key] for key in keys],
        whole,
        float(predicted),
        float(error),
        len(table.networks) - 1,
    )


def profile_space(config: dict[str, Any], device: Device | None, console: Console) -> None:
    """Fills the table of a device with the blocks of a space, and says where it is and how good.

    Raises:
        InputError: no device, a network beside the space, or a space that is not right.
    """
    if device is None:
        raise InputError("space: filling a table of latencies takes a device: device=onnxruntime")
    if config.get("network") is not None or config["architecture"] is not None:
        raise InputError("space and a network are both given; profile them one after the other")
    budget = config["budget_s"]
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0):
        raise InputError(f"budget_s={budget!r}: must be a number of seconds above 0, or null")
    image = {key: config[key] for key in ("in_channels", "num_classes", "resolution")}
    space = SearchSpace(config["space"], source=f"space={config['choices']['space']}", **image)
    profiler = Profiler(device)
    columns = (TextColumn("measuring blocks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        end = profiler.extend(
            space,
            float("inf") if budget is None else budget,
            lambda progress: bar.update(task, completed=progress.done, total=progress.total),
        )
    console.print(_describe_table(profiler, end), highlight=False)


def _describe_table(profiler: Profiler, end: Progress) -> str:
    table = profiler.table
    lines = [
        f"{end.done} of {end.total} blocks and networks of the space are measured on {', '.join(table.identity.values())}.",
        f"The table is {table.path}: {len(table.blocks)} blocks, {len(table.networks)} networks.",
    ]
    if end.done < end.total:
        lines.append("The same command goes on where this one ended.")
    if end.unsteady:
        lines.append(
            f"{end.unsteady} measurements differ from run to run by more than a tenth: something else was running."
        )
    if table.blocks and table.networks:
        error = Predictor(table).calibration_error
        lines.append(f"Networks are predicted to {100 * error:.1f}% where all their blocks are measured.")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    return run_command(
        profile,
        dict,
        config_name="profile",
        description="Shows what each layer of a network costs, and how fast it runs on a device.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
