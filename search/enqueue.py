"""Networks that a study evaluates first: those of the literature by name, or a user's own files.

One that lies in the space is a trial like any other. One that lies outside has no decisions: its trial holds its architecture alone,
marked `outside`. It is trained, shown and on the front as others are, it is what candidates have to beat, but it tells a sampler
nothing about any decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from spaces import Architecture, InputError, SearchSpace, build, decode, network, networks
from spaces.errors import did_you_mean
from spaces.recognition import recognise
from spaces.reference import read_yaml

OUTSIDE = "outside"
"""The attribute of a trial whose architecture no decisions of the space make."""


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

    Of a file, a resolution below that of the images stays: the images are scaled down to it.

    Args:
        entries: names of `spaces.networks()`, or paths of network files.
        in_channels: channels of the images.
        num_classes: their classes.
        resolution: their (height, width) in pixels.

    Raises:
        InputError: an unknown name, a file that is none, a network that such images do not fit.
    """
    image = {"in_channels": in_channels, "num_classes": num_classes}
    found = []
    for entry in entries:
        if _is_path(entry):
            description = read_yaml(Path(entry))
            own = description.get("resolution") or resolution
            height, width = (own, own) if isinstance(own, int) else own
            kept = (min(height, resolution[0]), min(width, resolution[1]))
            architecture = decode({**description, **image, "resolution": list(kept)}, f"enqueue: {entry}")
        elif entry in networks():
            architecture = network(entry, **image, resolution=resolution)
        else:
            raise InputError(f"enqueue: there is no network named '{entry}'{did_you_mean(entry, networks())}, or the path of a .yaml file")
        try:
            with torch.device("meta"):
                build(architecture)
        except InputError as error:
            size = "x".join(map(str, resolution))
            raise InputError(f"enqueue: '{entry}' does not fit images of {size} pixels: {error}") from error
        found.append(Enqueued(Path(entry).stem, architecture))
    return found


def enqueue(study: optuna.Study, wanted: Sequence[Enqueued], space: SearchSpace) -> None:
    """Adds a waiting trial for each network that has none yet, however often the study is resumed."""
    known = {trial.user_attrs.get("enqueued") for trial in study.get_trials(deepcopy=False)} if wanted else set()
    for network in wanted:
        digest = network.architecture.digest
        if digest in known:
            continue
        known.add(digest)
        attributes = {"name": network.name, "enqueued": digest}
        decisions = recognise(space, network.architecture)
        if decisions is None:
            attributes |= {OUTSIDE: True, "architecture": network.architecture.to_dict()}
        study.enqueue_trial(decisions or {}, user_attrs=attributes)


class StudyWithin(optuna.Study):
    """A study without the trials outside its space: Optuna's samplers look for the decisions that all trials share."""

    def _get_trials(self, *args: object, **kwargs: object) -> list[optuna.trial.FrozenTrial]:
        trials = super()._get_trials(*args, **kwargs)  # type: ignore[arg-type]
        return [trial for trial in trials if OUTSIDE not in trial.user_attrs]


def _is_path(entry: str) -> bool:
    return Path(entry).suffix in (".yaml", ".yml") or "/" in entry
