"""A study that was run, to be read: its trials, its fronts and their networks.

from search import load_study

study = load_study("shuffle_agg-digits")
study.front("params")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from search.reporting import tables
from search.reporting.reading import read_record
from search.reporting.tables import StudyInfo, known_costs
from search.trials.storage import open_study
from spaces import Architecture, InputError, cost, decode
from spaces.errors import did_you_mean

if TYPE_CHECKING:
    import plotly.graph_objects as go

FIGURES = (
    "front",
    "hypervolume",
    "hypervolume_over_time",
    "curves",
    "importance",
    "options",
    "parallel",
    "effort",
    "timeline",
)
"""The figures of the page by name: the front; hypervolume over trials and over wall time; learning curves; importance of decisions;
the fronts of one decision's options; parallel coordinates; where time went."""


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
        self._trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}

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
            name: one of `FIGURES`.
            cost: of "front", "options" and "parallel": its column; None: the cost that the search went by.
            decision: of "options": whose options are compared, as layers.1.block, or a trait, as "2x2 filters".

        Raises:
            InputError: there is no such figure, cost or decision.
        """
        from search.reporting import figures

        if name not in FIGURES:
            raise InputError(f"there is no figure '{name}'{did_you_mean(name, FIGURES)}")
        cost, record = self._known_cost(cost), self.record
        if name == "options":
            options = {info.decision: info for info in figures.gather_options(record, cost)}
            if decision is None:
                raise InputError(f"options: decision= must be given: {', '.join(options) or 'there is none yet'}")
            if decision not in options:
                raise InputError(f"options: there is no decision '{decision}'{did_you_mean(decision, options)}")
            return figures.draw_options(options[decision])
        draw: dict[str, Callable[[], go.Figure]] = {
            "front": lambda: figures.draw_front(figures.gather_front(record, cost)),
            "hypervolume": lambda: figures.draw_hypervolume(figures.gather_hypervolume(record)),
            "hypervolume_over_time": lambda: figures.draw_hypervolume(figures.gather_hypervolume(record), "time"),
            "curves": lambda: figures.draw_curves(figures.gather_curves(record)),
            "importance": lambda: figures.draw_importance(figures.gather_importance(record)),
            "parallel": lambda: figures.draw_parallel(
                figures.gather_parallel(record, figures.gather_importance(record), cost)
            ),
            "effort": lambda: figures.draw_effort(figures.gather_effort(record)),
            "timeline": lambda: figures.draw_timeline(figures.gather_effort(record)),
        }
        return draw[name]()

    def decisions(self, number: int) -> dict[str, Any]:
        """What was decided in a trial, by name.

        Raises:
            InputError: there is no such trial.
        """
        return dict(self._trial(number).params)

    def description(self, number: int) -> dict[str, Any]:
        """The network of a trial in the language of network files.

        Raises:
            InputError: there is no such trial.
        """
        return self._trial(number).user_attrs["architecture"]

    def architecture(self, number: int) -> Architecture:
        """The network of a trial, to be built by `spaces.build`.

        Raises:
            InputError: there is no such trial, or its network no longer builds, or is another, under the code as it is now.
        """
        recorded = self._trial(number).user_attrs
        try:
            architecture = decode(recorded["architecture"], f"trial {number}")
            now = cost(architecture)
        except InputError as error:
            raise InputError(f"{error}; {self._way_on()}") from error
        counted = {"flops": now.flops, "params": now.params}
        changed = [
            f"{recorded[name]:.0f} {name}, now {count}" for name, count in counted.items() if recorded[name] != count
        ]
        if changed:
            raise InputError(
                f"trial {number} was trained with {' and '.join(changed)}: its blocks have changed; {self._way_on()}"
            )
        return architecture

    def _trial(self, number: int) -> FrozenTrial:
        if number not in self._trials:
            raise InputError(
                f"the study '{self.name}' has no trial {number!r}; its trials are 0 to {len(self._trials) - 1}"
            )
        return self._trials[number]

    def _known_cost(self, cost: str | None) -> str:
        own = self.info.objective.cost
        if cost not in (None, own, *self.costs):
            raise InputError(f"the study '{self.name}' knows no cost '{cost}'; valid: {', '.join(self.costs)}")
        return own if cost is None else cost

    def _way_on(self) -> str:
        modules = self.config.get("imports")
        own = f"imports=[{','.join(modules)}] brings the study's own blocks, or " if modules else ""
        return f"{own}use the version of the code that the study was run with"
