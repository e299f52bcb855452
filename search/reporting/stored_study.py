"""A study that was run, to be read: its trials, its fronts and their networks.

from search import load_study

study = load_study("shuffle_agg-digits")
study.front("params")
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd

from search.reporting import tables
from search.reporting.reading import read_record
from search.reporting.tables import StudyInfo, known_costs
from search.trials.storage import open_study
from search.trials.trial import StoredTrial
from spaces import Architecture, InputError, cost, decode
from spaces.errors import did_you_mean

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from search.reporting.figures import StudyFigures


def load_study(name: str, results_dir: str | Path = "results", storage: str | None = None) -> StoredStudy:
    """A study by name, as its storage holds it now; a search that is running goes on undisturbed.

    Args:
        name: of the study, which is that of its folder.
        results_dir: the folder that holds the studies.
        storage: URL of the Optuna storage the study was given; None: the SQLite file in its folder.

    Raises:
        InputError: there is no such study, or a path is given.
    """
    if Path(name).name != name:
        raise InputError(
            f"'{name}' is a path: a study goes by its name, '{Path(name).name}', and results_dir says where it is"
        )
    folder = Path(results_dir).expanduser().resolve() / name
    return StoredStudy(open_study(folder, storage, name), folder)


class StoredStudy:
    """What a study holds at the moment it is opened.

    Args:
        study: its storage.
        folder: where its tables and its page are.

    Raises:
        InputError: the study was not made by this project.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        self.folder = folder
        self.record = read_record(study)

    @cached_property
    def _figures(self) -> StudyFigures:
        from search.reporting.figures import StudyFigures  # Plotly is imported only where something is drawn

        return StudyFigures(self.record)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.info.name

    @property
    def trials(self) -> pd.DataFrame:
        """A row for every trial; the columns of trials.csv."""
        return self.record.trials

    @property
    def info(self) -> StudyInfo:
        """What reports say beside the trials."""
        return self.record.info

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config of the search."""
        return self.record.config

    @property
    def costs(self) -> list[str]:
        """The costs that are known of its trials, by their columns."""
        return known_costs(self.trials, self.info.costs)

    def front(self, cost: str | None = None) -> pd.DataFrame:
        """The networks of which none other is both cheaper and more accurate, cheapest first: rows of `trials`.

        Where there is an `accuracy_mean`, of the confirming trainings, that is the accuracy which counts.

        Args:
            cost: its column, as "params"; None: the cost that the search went by.

        Raises:
            InputError: a cost that is not known of this study.
        """
        return tables.front(self.trials, self._known_cost(cost))

    def figure(self, name: str, cost: str | None = None, decision: str | None = None) -> go.Figure:
        """A figure of the study's page, by Plotly.

        Args:
            name: one of `search.reporting.figures.FIGURES`, or "options".
            cost: of "front", "options" and "parallel": its column; None: the cost that the search went by.
            decision: of "options": whose options are compared, as layers.1.block, or a trait, as "2x2 filters".

        Raises:
            InputError: there is no such figure, cost or decision.
        """
        from search.reporting import figures

        names = (*figures.FIGURES, "options")
        if name not in names:
            raise InputError(f"there is no figure '{name}'{did_you_mean(name, names)}")
        cost = self._known_cost(cost)
        if name != "options":
            return self._figures.draw(name, cost)
        options = {info.decision: info for info in self._figures.options(cost)}
        if decision is None:
            raise InputError(f"options: decision= must be given: {', '.join(options) or 'there is none yet'}")
        if decision not in options:
            raise InputError(f"options: there is no decision '{decision}'{did_you_mean(decision, options)}")
        return figures.draw_options(options[decision])

    def decisions(self, number: int) -> dict[str, Any]:
        """What was decided in a trial, by name.

        Raises:
            InputError: there is no such trial, or its network is not known.
        """
        return dict(self._sound(number).decisions)

    def description(self, number: int) -> dict[str, Any]:
        """The network of a trial in the language of network files.

        Raises:
            InputError: there is no such trial, or its network is not known.
        """
        return dict(self._sound(number).architecture or {})

    def architecture(self, number: int) -> Architecture:
        """The network of a trial, to be built by `spaces.build`.

        Raises:
            InputError: there is no such trial, or its network no longer builds, or is another, under the code as it is now.
        """
        recorded = self._sound(number)
        try:
            architecture = decode(recorded.architecture or {}, f"trial {number}")
            now = cost(architecture)
        except InputError as error:
            raise InputError(f"{error}; {self._way_on()}") from error
        counted = {"flops": now.flops, "params": now.params}
        changed = [
            f"{recorded.costs[name]:.0f} {name}, now {count}"
            for name, count in counted.items()
            if recorded.costs[name] != count
        ]
        if changed:
            raise InputError(
                f"trial {number} was trained with {' and '.join(changed)}: its blocks have changed; {self._way_on()}"
            )
        return architecture

    def trial(self, number: int) -> StoredTrial:
        """A trial as it is stored.

        Raises:
            InputError: there is no such trial.
        """
        stored = self.record.stored
        if number not in stored:
            raise InputError(f"the study '{self.name}' has no trial {number!r}; its trials are 0 to {len(stored) - 1}")
        return stored[number]

    def _sound(self, number: int) -> StoredTrial:
        """A trial whose network is known."""
        trial = self.trial(number)
        if trial.defect is not None:
            raise InputError(f"trial {number} of the study '{self.name}' cannot be used: {trial.failure_text}")
        if trial.architecture is None:
            raise InputError(f"trial {number} of the study '{self.name}' has no network yet")
        return trial

    def _known_cost(self, cost: str | None) -> str:
        own = self.info.objective.cost
        if cost not in (None, own, *self.costs):
            raise InputError(f"the study '{self.name}' knows no cost '{cost}'; valid: {', '.join(self.costs)}")
        return own if cost is None else cost

    def _way_on(self) -> str:
        modules = self.config.get("imports")
        own = f"imports=[{','.join(modules)}] brings the study's own blocks, or " if modules else ""
        return f"{own}use the version of the code that the study was run with"
