"""The config of a command, from the files in conf/ and the command line."""

from search.config.command import CONF, RunConfig, compose, import_user_modules, run_command

__all__ = ["CONF", "RunConfig", "compose", "import_user_modules", "run_command"]
