"""`python -m search.report study=NAME`: tables, front and page again, from the study's storage alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml

from search.config import ReportSettings, run_command
from search.latency.device import in_words
from search.latency.table import Table
from search.reporting.console import Terminal
from search.reporting.page import write_page
from search.reporting.reading import read_record, read_study
from search.reporting.summary import print_summary
from search.reporting.tables import StudyInfo, front, known_costs, write_tables
from search.study.study import note_measured
from search.system.files import replace_folder
from search.trials.storage import lock, open_study, prepare_folder
from spaces.errors import InputError

NETWORK_FILES = f"{'[0-9]' * 4}*-{'[0-9a-f]' * 16}.yaml"
"""The networks in front/: trial and digest."""


def write_report(study: optuna.Study, folder: Path) -> tuple[pd.DataFrame, StudyInfo]:
    """Writes trials.csv, front*.csv, front/ and pareto.html of a study into its folder.

    Returns:
        What they were made from: the trials table and the study's facts.
    """
    record = read_record(study)
    trials, info = record.trials, record.info
    costs = known_costs(trials, info.costs)
    write_tables(trials, folder, costs)
    fronts = [front(trials, cost) for cost in costs or ["flops"]]
    members = pd.concat(fronts).drop_duplicates("number").sort_values("number")
    networks = {}
    for row in members.to_dict("records"):
        description = record.architectures[row["digest"]]
        figures = {name: row[name] for name in ("accuracy", *costs)}
        networks[f"{row['number']:04d}-{row['digest']}.yaml"] = network_file(
            info.name, row["number"], figures, description
        )
    replace_folder(folder / "front", networks, NETWORK_FILES)
    write_page(record, folder / "pareto.html")
    return trials, info


def network_file(study: str, number: int, figures: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """The text of a file that holds the network of a trial, with its figures as a comment."""
    listed = ", ".join(f"{name} {value}" for name, value in figures.items())
    return f"# Trial {number} of the study {study}: {listed}\n{yaml.safe_dump(dict(description), sort_keys=False)}"


def network_origin(path: str | None) -> str | None:
    """The study and trial that a file of `network_file` names: "shuffle_agg-digits, trial 11"; None of any other file."""
    if path is None:
        return None
    with Path(path).open(encoding="utf-8") as file:
        found = re.fullmatch(r"# Trial (\d+) of the study (.+): accuracy .*\n", file.readline())
    return f"{found[2]}, trial {found[1]}" if found else None


def enter_measured(study: optuna.Study, folder: Path, path: str, settings: ReportSettings) -> None:
    """Takes in the latencies that a study's networks have on its device, measured there.

    Raises:
        InputError: the table is none, of another device than the study's, or holds no network of the study.
    """
    table = Table(Path(path), setting="measured")
    _, info = read_study(study)
    if table.identity != dict(info.device):
        meant = in_words(info.device) if info.device else "none"
        raise InputError(
            f"measured: {path} is of another device ({in_words(table.identity)}) than the study's ({meant})"
        )
    with lock(folder, settings.storage, settings.study):
        if not note_measured(
            study, {digest: measured for digest, (_, measured) in table.networks.items()}, info.device
        ):
            raise InputError(f"measured: {path} holds none of the study's networks")


def rebuild_report(settings: ReportSettings) -> None:
    """Rebuilds the tables, the front and the page of a study.

    Raises:
        InputError: no such study, or a table of measured latencies that is not the study's.
    """
    console = Terminal()
    folder = Path(settings.results_dir) / settings.study
    if folder.exists():  # said first: SQLite reads nothing where it cannot write beside it
        prepare_folder(folder)
    study = open_study(folder, settings.storage, settings.study, to_write=settings.measured is not None)
    prepare_folder(folder)
    if settings.measured is not None:
        enter_measured(study, folder, settings.measured, settings)
    trials, info = write_report(study, folder)
    following = "the command that started the study, with more trials=, goes on with it"
    print_summary(console, trials, info, folder, following)


def main() -> int:
    """The command."""
    return run_command(
        rebuild_report,
        ReportSettings.from_mapping,
        config_name="report",
        description="Rebuilds the tables, the front and the page of a study from its storage alone.",
        examples=["python -m search.report study=shuffle_agg-digits"],
    )


if __name__ == "__main__":
    sys.exit(main())
