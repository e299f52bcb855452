"""`python -m search.profile network=mobilenet_v2`: what each layer of a network costs, and how fast it runs on a device.

From Python, `search.modules.profile_module` does the same for any `nn.Module`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table as RichTable

from search.config import ProfileSettings, run_command
from search.config.command_lines import setting
from search.latency.bundle import write_bundle
from search.latency.device import Device, in_words
from search.latency.guidelines import GUIDELINES, NUM_BLOCKS, SCALES, SIDE, Guideline
from search.latency.measuring import Latency, measure
from search.latency.predictor import Predictor
from search.latency.profiler import Profiler, Progress, sample
from search.latency.table import block_keys
from search.reporting.console import make_console
from search.reporting.layers import Profile
from search.system.user_modules import import_user_modules
from spaces import Architecture, InputError, SearchSpace, decode
from spaces.errors import did_you_mean
from spaces.reference import read_yaml

ENOUGH_NETWORKS = 10
"""Of a table, to say how well it predicts."""
ENOUGH_BLOCKS = 100
"""Of a table, to predict a network's blocks before they are measured."""
_MOST_NAMED = 16
"""Files that a message names."""

EXAMPLES = [
    "python -m search.profile network=mobilenet_v2 network.width_multiplier=0.5",
    "python -m search.profile network=mobilenet_v2 device=onnxruntime page=mobilenet_v2.html",
    "python -m search.profile network=espnet_c network.p=3 'network.resolution=[256, 512]'",
    "python -m search.profile architecture=results/shuffle_agg-digits/front/0012-8d3ab2c4d5e6f708.yaml format=json",
    "python -m search.profile space=shuffle_agg device=onnxruntime resolution=32",
    "python -m search.profile space=shuffle_agg resolution=32 bundle=phone.pyz",
    "python -m search.profile architecture=results/shuffle_agg-digits/front bundle=front.pyz",
    "python -m search.profile guidelines=true device=onnxruntime",
]


def run_profile(settings: ProfileSettings) -> None:
    """Does what the settings ask for: shows a network, fills a table, writes a bundle, or times the guidelines.

    Raises:
        InputError: no network and no space, two of them, or one that cannot be built; a device that is not there.
    """
    import_user_modules(settings.imports)
    device = Device.from_config(settings.device)
    console = make_console()
    if settings.guidelines:
        show_guidelines(device, console)
    elif settings.bundle is not None:
        write_device_bundle(settings, Path(settings.bundle), device or Device("onnxruntime"), console)
    elif settings.space is not None:
        profile_space(settings, device, console)
    else:
        profile_network(settings, device, console)


def profile_network(settings: ProfileSettings, device: Device | None, console: Console) -> None:
    """Shows one network, and writes its page where one is asked for."""
    name, architecture = chosen_network(settings.architecture, settings.network, settings.choices.get("network"))
    latency = None if device is None else measure_network(device, architecture)
    profile = Profile.of(name, architecture, latency)
    if settings.page is not None:
        try:
            profile.write_page(Path(settings.page))
        except OSError as error:
            raise InputError(f"page: cannot write {settings.page}: {error.strerror}") from error
    if settings.format == "json":
        print(json.dumps(profile.to_dict(), indent=2))
    else:
        console.print(profile.table())


def chosen_network(
    path: str | None, description: Mapping[str, Any] | None, name: str | None, image: Mapping[str, Any] | None = None
) -> tuple[str, Architecture]:
    """The network that is named, or described in a file.

    Args:
        path: a file, as `architecture` states it.
        description: the network of conf/network/, as `network` holds it.
        name: how that is called.
        image: `in_channels`, `num_classes` and `resolution` where a description states none.

    Returns:
        (its name or its file's, the architecture).

    Raises:
        InputError: none or two are given, or it cannot be built.
    """
    if path is not None and description is not None:
        raise InputError("network and architecture are both given; one of them says which network is meant")
    if path is not None:
        check_file(path)
        return Path(path).stem, decode(_made_for(image, read_yaml(Path(path))), path)
    if description is None:
        raise InputError(
            "network must be given: network=NAME, as network=mobilenet_v2, or architecture=PATH, or space=NAME"
        )
    return name or "network", decode(_made_for(image, description), f"network '{name}'")


def _made_for(image: Mapping[str, Any] | None, description: Mapping[str, Any]) -> dict[str, Any]:
    return {**description, **{key: value for key, value in (image or {}).items() if description.get(key) is None}}


def check_file(path: str) -> None:
    """Finds out whether a network's file is there.

    Raises:
        InputError: it is not, or is a folder; files near it are named.
    """
    file = Path(path)
    if file.is_file():
        return
    folder = file if file.is_dir() else file.parent
    near = sorted(
        str(found) for found in (*folder.glob("*.yaml"), *folder.glob("front/*.yaml")) if found.name != "config.yaml"
    )
    problem = "is a folder" if file.is_dir() else "there is no such file"
    raise InputError(f"architecture={path}: {problem}{did_you_mean(path, near[:_MOST_NAMED]) if near else ''}")


def measure_network(device: Device, architecture: Architecture) -> Latency:
    """Times a network and its blocks; what the device's table already has of the blocks is taken from there.

    Raises:
        InputError: the device is not there, or cannot run the network.
    """
    profiler = Profiler(device)
    table = profiler.table
    keys = block_keys(architecture)
    table.networks.pop(architecture.digest, None)
    # as a search would predict it, which has not measured these blocks; from them alone where too little else is known
    before = Predictor(table) if len(table.blocks) >= ENOUGH_BLOCKS else None
    profiler.measure_blocks([key for key in dict.fromkeys(keys) if key not in table.blocks])
    predictor = before or Predictor(table)
    predicted = predictor.by_layer(architecture)
    [error] = predictor.predict([architecture]).error
    [whole] = profiler.measure_networks([architecture])
    table.save()
    return Latency(
        in_words(table.identity),
        [table.blocks[key] for key in keys],
        whole,
        predicted,
        sum(predicted),
        float(error),
        predictor.num_networks,
    )


def profile_space(settings: ProfileSettings, device: Device | None, console: Console) -> None:
    """Fills the table of a device with the blocks of a space, and says where it is and how good.

    Raises:
        InputError: no device, a network beside the space, or a space that is not right.
    """
    if device is None:
        raise InputError("space: filling a table of latencies takes a device: device=onnxruntime")
    if settings.network is not None or settings.architecture is not None:
        raise InputError("space and a network are both given; profile them one after the other")
    budget, space = settings.budget_s, _space(settings)
    profiler = Profiler(device)
    columns = (TextColumn("measuring blocks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        end = profiler.extend(
            sample(space),
            float("inf") if budget is None else budget,
            lambda progress: bar.update(task, completed=progress.done, total=progress.total),
        )
    console.print(_describe_table(profiler, end), highlight=False)


def _space(settings: ProfileSettings) -> SearchSpace:
    assert settings.space is not None
    return SearchSpace(
        dict(settings.space),
        source=f"space={settings.choices['space']}",
        in_channels=settings.in_channels,
        num_classes=settings.num_classes,
        resolution=settings.resolution,
    )


def write_device_bundle(settings: ProfileSettings, path: Path, device: Device, console: Console) -> None:
    """Writes a file that measures on another device: a space's blocks and networks, or the networks of a file or a folder.

    Raises:
        InputError: nothing or two things to measure, a folder without networks, or a path that cannot be written.
    """
    if settings.space is not None:
        if settings.network is not None or settings.architecture is not None:
            raise InputError("space and a network are both given; bundle them one after the other")
        keys, networks = sample(_space(settings))
    elif settings.architecture is not None and Path(settings.architecture).is_dir():
        files = sorted(Path(settings.architecture).glob("*.yaml"))
        if not files:
            raise InputError(f"architecture: the folder {settings.architecture} holds no networks (*.yaml)")
        keys, networks = [], [decode(read_yaml(file), str(file)) for file in files]
    else:
        chosen = chosen_network(settings.architecture, settings.network, settings.choices.get("network"))
        keys, networks = [], [chosen[1]]
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(keys) + len(networks))
        size = write_bundle(path, device, keys, networks, lambda done: bar.update(task, completed=done))
    table = f"{path.stem}.csv"
    use = (
        f"search with {shlex.quote(setting('device.table', table))}"
        if keys
        else f"enter it: python -m search.report study=NAME {shlex.quote(setting('measured', table))}"
    )
    console.print(
        f"{path} holds {len(keys)} blocks and {len(networks)} networks, {size / 1e3:,.0f} kB.\n"
        "On the device, with Python 3.9 or newer: pip install numpy onnxruntime\n"
        f"  python {shlex.quote(path.name)} --threads {device.threads}\n"
        f"Copy {table} back, and {use}",
        highlight=False,
        soft_wrap=True,
    )


def show_guidelines(device: Device | None, console: Console) -> None:
    """Times ShuffleNetV2's four guidelines on a device and prints them beside the paper's figures.

    Raises:
        InputError: no device.
    """
    if device is None:
        raise InputError("guidelines: they are timed on a device: device=onnxruntime")
    profiler = Profiler(device)
    on_gpu = device.runtime == "cuda"
    console.print(f"{NUM_BLOCKS} blocks on maps of {SIDE}x{SIDE}, on {in_words(profiler.table.identity)}.")
    console.print(
        "Images a second at 1, 2 and 4 times the channels; beside them the paper's, on its GPU batches a second. "
        "!: runs differ by more than a tenth; something else was running."
    )
    for guideline in GUIDELINES:
        console.print(_guideline_table(guideline, profiler, on_gpu))


def _guideline_table(guideline: Guideline, profiler: Profiler, on_gpu: bool) -> RichTable:
    runs = []
    for case in guideline.cases:
        for scale in SCALES:
            network, channels = case.network(scale, on_gpu)
            runs.append(profiler.load(network, [(profiler.device.batch, channels, SIDE, SIDE)]))
    measured = measure(runs, 0.5)
    speeds = [f"{1000 * profiler.device.batch / one.median_ms:.1f}{'' if one.steady else '!'}" for one in measured]
    table = RichTable(title=guideline.title, caption=guideline.note, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    for source in ("here", "ARM", "GPU"):
        for scale in SCALES:
            table.add_column(f"{source}\nx{scale}", justify="right", no_wrap=True)
    for position, case in enumerate(guideline.cases):
        here = speeds[position * len(SCALES) : (position + 1) * len(SCALES)]
        figures = [*here, *(f"{speed:.1f}" for speed in case.arm), *(f"{speed:.0f}" for speed in case.gpu)]
        table.add_row(case.name, *figures)
    return table


def _describe_table(profiler: Profiler, end: Progress) -> str:
    table = profiler.table
    lines = [
        f"{end.done} of {end.total} blocks and networks of the space are measured on {in_words(table.identity)}.",
        f"The table is {table.path}: {len(table.blocks)} blocks, {len(table.networks)} networks.",
    ]
    if end.done < end.total:
        lines.append("The same command goes on where this one ended.")
    if end.unsteady:
        lines.append(
            f"{end.unsteady} measurements differ from run to run by more than a tenth: something else was running."
        )
    if table.blocks and len(table.networks) >= ENOUGH_NETWORKS:
        error = Predictor(table).calibration_error
        lines.append(f"Networks of it are predicted to {100 * error:.1f}%, each from the others.")
    else:
        lines.append(f"That is too little to calibrate predictions: {ENOUGH_NETWORKS} networks are the least.")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    return run_command(
        run_profile,
        ProfileSettings.from_mapping,
        config_name="profile",
        description="Shows what each layer of a network costs, and how fast it runs on a device.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
