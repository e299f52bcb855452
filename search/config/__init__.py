"""The config of a command, from the files in conf/ and the command line."""

from search.config.command import CONF, compose, run_command
from search.config.settings import (
    DashboardSettings,
    ExportSettings,
    FullTrainingSettings,
    PickSettings,
    ProfileSettings,
    ReportSettings,
    RunConfig,
)

__all__ = [
    "CONF",
    "DashboardSettings",
    "ExportSettings",
    "FullTrainingSettings",
    "PickSettings",
    "ProfileSettings",
    "ReportSettings",
    "RunConfig",
    "compose",
    "run_command",
]
