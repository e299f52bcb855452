"""`python -m search.profile network=mobilenet_v2`: what each layer of a network costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from search.config import run_command
from search.reporting.layers import layer_rows, layer_table, layers_as_data
from spaces import Architecture, InputError, decode
from spaces.errors import did_you_mean
from spaces.reference import read_yaml

FORMATS = ("table", "json")

EXAMPLES = [
    "python -m search.profile network=mobilenet_v2 network.width_multiplier=0.5",
    "python -m search.profile network=espnet_c network.p=3 'network.resolution=[256, 512]'",
    "python -m search.profile architecture=results/shuffle_agg-digits/front/0012-8d3ab2c4d5e6f708.yaml format=json",
]


def profile(config: dict[str, Any]) -> None:
    """Prints the profile that a composed config asks for.

    Raises:
        InputError: no network, two of them, or one that cannot be built.
    """
    if config["format"] not in FORMATS:
        raise InputError(f"format: there is no format '{config['format']}'{did_you_mean(config['format'], FORMATS)}")
    name, architecture = chosen_network(config)
    rows = layer_rows(architecture)
    if config["format"] == "json":
        print(json.dumps(layers_as_data(name, architecture, rows), indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a pipe has no width: nothing needs to be cut
    console.print(layer_table(name, architecture, rows))


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
        raise InputError("network must be given: network=NAME, as network=mobilenet_v2, or architecture=PATH")
    name = config["choices"]["network"]
    return name, decode(description, f"network '{name}'")


def main() -> int:
    """The command."""
    return run_command(
        profile,
        dict,
        config_name="profile",
        description="Shows what each layer of a network costs: multiply-adds and parameters.",
        examples=EXAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
