"""Networks that a study evaluates first: those of the literature by name, or a user's own files.

One that lies in the space is a trial like any other. One that lies outside has no decisions: its trial holds its architecture
alone, marked `outside`. It is trained, shown and on the front as others are, it is what candidates have to beat, but it tells a
sampler nothing about any decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from search.trials.reader import read_trials
from search.trials.writer import enqueue_network
from spaces import Architecture, InputError, SearchSpace, build, decode, network, networks
from spaces.decoding import resolution_of
from spaces.errors import did_you_mean
from spaces.recognition import recognise
from spaces.reference import read_yaml

SCALES = (1, 2, 4, 8)
"""Times that images are scaled up for a network whose strides would leave nothing of them."""


@dataclass(frozen=True)
class Enqueued:
    """A network to be evaluated."""

    name: str
    """That of the literature's network, or of the file."""
    architecture: Architecture
    """For the images of the study."""


def read_networks(
    entries: Sequence[str], *, in_channels: int, num_classes: int, resolution: tuple[int, int]
) -> list[Enqueued]:
    """The networks of a list of names and files, made for the images.

    Of a file, a resolution below that of the images stays: the images are scaled down to it. Where a network's strides need larger
    images than there are, the images are scaled up, twofold or more.

    Args:
        entries: names of `spaces.networks()`, or paths of network files.
        in_channels: channels of the images.
        num_classes: their classes.
        resolution: their (height, width) in pixels.

    Raises:
        InputError: an unknown name, a file that is none, a network that such images do not fit.
    """
    found = []
    for entry in entries:
        try:
            make, own = _maker(entry, {"in_channels": in_channels, "num_classes": num_classes})
        except InputError as error:
            raise InputError(f"enqueue: {error}") from error
        kept = (min(own[0], resolution[0]), min(own[1], resolution[1])) if own else resolution
        try:
            found.append(Enqueued(Path(entry).stem, _fitting(make, kept)))
        except InputError as error:
            raise InputError(f"enqueue: '{entry}' cannot be made for these images: {error}") from error
    return found


def _maker(
    entry: str, image: dict[str, int]
) -> tuple[Callable[[tuple[int, int]], Architecture], tuple[int, int] | None]:
    """What makes a network for a resolution, and the resolution that its own file states."""
    if Path(entry).suffix in (".yaml", ".yml") or "/" in entry:
        description = read_yaml(Path(entry))
        own = description.get("resolution")
        stated = None if own is None else resolution_of(description, entry)
        return lambda size: decode({**description, **image, "resolution": list(size)}, entry), stated
    if entry not in networks():
        hint = did_you_mean(entry, networks())
        raise InputError(f"there is no network named '{entry}'{hint} (a file is named by its path, as mine.yaml)")
    return lambda size: network(entry, **image, resolution=size), None


def _fitting(make: Callable[[tuple[int, int]], Architecture], resolution: tuple[int, int]) -> Architecture:
    """The network at the resolution, or at the least multiple of two of it that its strides leave a pixel of.

    Raises:
        InputError: it cannot be built at any.
    """
    refusals: list[InputError] = []
    for scale in SCALES:
        try:
            architecture = make((scale * resolution[0], scale * resolution[1]))
            with torch.device("meta"):
                build(architecture)
            return architecture
        except InputError as error:
            refusals.append(error)
    raise refusals[0]


def enqueue(study: optuna.Study, wanted: Sequence[Enqueued], space: SearchSpace) -> None:
    """Adds a waiting trial for each network that has none yet, however often the study is resumed."""
    known = {trial.enqueued for trial in read_trials(study)} if wanted else set()
    for one in wanted:
        digest = one.architecture.digest
        if digest not in known:
            known.add(digest)
            enqueue_network(study, one.name, digest, recognise(space, one.architecture), one.architecture.to_dict())
