"""The config of a command, from the files in conf/ and the command line."""

from search.config.command import CONF, RunConfig, compose, run_command

__all__ = ["CONF", "RunConfig", "compose", "run_command"]
