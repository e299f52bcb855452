"""What an earlier study of an overlapping space tells the sampler of this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

from search.evaluation.settings import TrainSettings
from search.samplers.base import Earlier
from search.trials.reader import read_learnt, read_trials
from search.trials.storage import open_study
from search.trials.trial import State, StoredTrial
from spaces import InputError, SearchSpace, decode
from spaces.recognition import recognise
from spaces.space import Decisions

_IMAGE = ("in_channels", "num_classes", "resolution")


def read_earlier(
    space: SearchSpace, entries: Sequence[str], folder: Path, storage: str | None, config: Mapping[str, Any]
) -> tuple[list[Earlier], list[str]]:
    """The complete trials of earlier studies whose networks lie in the space.

    Accuracies of the same images and the same training count as this study's own; others teach what they have in common with it.

    Args:
        space: that of this study.
        entries: names of studies beside this one, and folders.
        folder: this study's.
        storage: URL where studies by name are looked for; None: their folders.
        config: this study's.

    Returns:
        What a sampler can learn from, and a sentence for each study, of how much of it is used.

    Raises:
        InputError: a study that is none, is this one, or has nothing in common with the space.
    """
    said, everything = [], []
    for entry in entries:
        place = Path(entry) if "/" in entry else folder.parent / entry
        if place == folder:
            raise InputError(f"warm_start: '{entry}' is this study itself; it goes on with what it knows")
        study = _open(place, None if "/" in entry else storage)
        trials = [*_complete(study)]
        found = [*_earlier(study, trials, space, config)]
        if not found:
            raise InputError(
                f"warm_start: none of the {len(trials)} complete trials of '{entry}' is a network of this space; leave it out"
            )
        alike = "the same images and training" if found[0].is_alike else "other images or another training"
        said.append(
            f"Warm start: {len(found)} of {len(trials)} complete trials of '{entry}' lie in this space ({alike})."
        )
        everything += found
    return everything, said


def _open(folder: Path, storage: str | None) -> optuna.Study:
    try:
        return open_study(folder, storage, folder.name)
    except InputError as error:
        raise InputError(f"warm_start: {str(error).removeprefix('study: ')}") from error


def _complete(study: optuna.Study) -> Iterator[StoredTrial]:
    """The trials with an accuracy that can be learnt from, each network once."""
    return (trial for trial in read_trials(study) if trial.is_original and trial.state is State.COMPLETE)


def _earlier(
    study: optuna.Study, trials: Sequence[StoredTrial], space: SearchSpace, config: Mapping[str, Any]
) -> Iterator[Earlier]:
    learnt = read_learnt(study)
    before = study.user_attrs.get("config", {})
    is_alike = _task(before, space) == _task(config, space)
    for trial in trials:
        decisions = _translate(trial, before.get("train", {}), space)
        if decisions is not None and trial.accuracy is not None:
            confirmed = learnt.confirmations_of(trial).known
            yield Earlier(decisions, (trial.accuracy, *confirmed), is_alike)


def _task(config: Mapping[str, Any], space: SearchSpace) -> tuple[Any, Any]:
    """What accuracies depend on beside the decisions: images, and the fixed part of the training."""
    opened = {decision.name for decision in space.decisions}
    settings = {**asdict(TrainSettings()), **config.get("train", {})}  # a key that was added since had its default
    train = {key: value for key, value in settings.items() if f"train.{key}" not in opened}
    return config.get("data", {}).get("fingerprint"), train


def _translate(trial: StoredTrial, train: Mapping[str, Any], space: SearchSpace) -> Decisions | None:
    """The decisions of this space that make the trial's network and train it as it was; None where there are none."""
    hint = {**{f"train.{key}": value for key, value in train.items()}, **trial.decisions}
    try:
        return _by_name(trial, hint, space) or _by_network(trial, hint, space)
    except (InputError, KeyError, TypeError):  # edited by hand, or of blocks that are not imported here
        return None


def _by_name(trial: StoredTrial, hint: Mapping[str, Any], space: SearchSpace) -> Decisions | None:
    """Where the decisions have the same names, the network must still be the same, images aside."""
    try:
        candidate = space.candidate(hint)
    except InputError:
        return None
    made, was = candidate.architecture.to_dict(), trial.architecture or {}
    same = all(made[key] == was[key] for key in made if key not in _IMAGE)
    return candidate.decisions if same else None


def _by_network(trial: StoredTrial, hint: Mapping[str, Any], space: SearchSpace) -> Decisions | None:
    """Where names differ, the network may still be one of the space."""
    made = decode({**(trial.architecture or {}), **_image_of(space)})
    decisions = recognise(space, made, hint)
    return None if decisions is None else space.candidate({**hint, **decisions}).decisions


def _image_of(space: SearchSpace) -> dict[str, int]:
    architecture = next(iter(space.coverage())).architecture
    return {"in_channels": architecture.in_channels, "num_classes": architecture.num_classes}
