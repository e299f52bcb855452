"""The config of a command: composed by Hydra from the files in conf/ and the command line, handed on as plain data.

Hydra goes no further than this module. Its own `@hydra.main` is not used: it would create folders and logs, print
its own errors, search for a package named `conf` that any `conf.py` in the current directory shadows, and merge a
given mapping into the one it is meant to replace. Only its reading of the files (defaults lists, groups) and its
grammar of the command line are used.
"""

import argparse
import atexit
import gc
import io
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from search.config.files import ConfigFiles, config_loader
from search.config.overrides import (
    PATH_KEYS,
    PATH_LISTS,
    Override,
    apply,
    check_study_name,
    default_study_name,
    read_jobs,
)
from search.config.refusals import check_temporary_folder, drop_unwritten_output, refusals, say_error
from search.system.secrets import hide_in_url, hide_password
from search.system.signals import interruptible
from spaces.errors import InputError, did_you_mean
from spaces.plain import check_plain, resolve

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The config files, installed beside the packages. A path and never a package's name, which a `conf.py` would shadow."""

T = TypeVar("T")


def compose(argv: Sequence[str], config_name: str = "config", conf: Path = CONF) -> list[dict[str, Any]]:
    """The configs of a command line, one for each job: one job, or several with `-m`.

    Args:
        argv: what follows the command's name, as `["space=shuffle_agg", "trials=40"]`.
        config_name: the file in `conf` that the command starts from, without `.yaml`.
        conf: the folder of the config files.

    Returns:
        Plain dicts, lists and scalars, interpolations resolved, paths absolute. `choices` holds the option chosen of
        every group; `study`, where the command has that setting, its name, given or default.

    Raises:
        InputError: whatever is wrong with the arguments or the files.
    """
    arguments = _read_arguments(argv)
    configs = [_resolved(raw) for raw in _compose_raw(arguments, config_name, conf)]
    studies = [config.get("study") for config in configs]
    for study in studies:
        if study is not None and studies.count(study) > 1:
            raise InputError(f"{studies.count(study)} of the {len(studies)} jobs would be one study, '{study}'")
    return configs


def run_command(
    main: Callable[[T], int | None],
    check: Callable[[dict[str, Any]], T],
    *,
    description: str,
    examples: Sequence[str] = (),
    config_name: str = "config",
    conf: Path = CONF,
    argv: Sequence[str] | None = None,
    compare: Callable[[Sequence[T]], None] | None = None,
) -> int:
    """Run a command's `main` on the config of each job, and tell its user's mistakes in one line.

    All jobs are composed and checked before the first one runs.

    Args:
        main: does the work; returns an exit status, or None for 0.
        check: turns a composed config into what `main` takes, as `RunConfig.from_mapping`; `dict` for the config itself.
        description: what the command does, for `--help`.
        examples: command lines for `--help`.
        config_name: the file in `conf` that the command starts from, without `.yaml`.
        conf: the folder of the config files.
        argv: arguments; None: those of the process.
        compare: says what the jobs of a sweep came to that went well, once all are done.

    Returns:
        The exit status: 2 after an InputError, 130 after Ctrl-C, else main's (of several jobs, the first that is not 0).
        Any other exception is a bug and passes, unless it followed from Ctrl-C.
    """
    # At its end Python would go through all that was imported once more, for a second. What has to be closed is closed by name.
    atexit.register(gc.freeze)
    given = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a sign that is printed
    try:
        with interruptible(), refusals():
            check_temporary_folder()
            arguments = _read_arguments(given)
            if arguments.help:
                return _write(_help(arguments, config_name, conf, description, examples))
            if arguments.cfg:
                configs = _compose_raw(arguments, config_name, conf)
                for config in configs:
                    if isinstance(config.get("storage"), str):
                        config["storage"] = hide_in_url(config["storage"])
                return _write(hide_password(yaml.safe_dump_all(configs, sort_keys=False)))
            jobs = [check(config) for config in compose(given, config_name, conf)]
            statuses = [_run_job(main, job) for job in jobs]
            done = [job for job, status in zip(jobs, statuses) if status == 0]
            if compare is not None and arguments.multirun and done:
                compare(done)
            return next((status for status in statuses if status), 0)
    except InputError as error:
        say_error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        drop_unwritten_output()


def _run_job(main: Callable[[T], int | None], job: T) -> int:
    """The exit status of one job; a mistake in it does not keep others from running."""
    try:
        with interruptible(), refusals():
            status = main(job) or 0
            print(end="", flush=True)  # what cannot be written is told as an error of this job
            return status
    except InputError as error:
        study = getattr(job, "study", None)
        say_error(f"{f'{study}: ' if study else ''}{error}")
        return 2


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; settings are written key=value, and --help lists them")


def _read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The options by Hydra's names for them, the overrides in between left as they are."""
    parser = _ArgumentParser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--cfg", "-c", choices=["job"])
    arguments, overrides = parser.parse_known_args(argv)
    for override in overrides:
        if override.startswith("-"):
            parser.error(f"there is no option '{override}'")
    arguments.overrides = overrides
    return arguments


def _compose_raw(arguments: argparse.Namespace, config_name: str, conf: Path) -> list[dict[str, Any]]:
    """The config of each job, its interpolations still unresolved."""
    with config_loader(conf) as loader:
        files = ConfigFiles(loader, config_name, conf, arguments.config_dir)
        jobs = read_jobs(arguments.overrides, files.groups, sweep=arguments.multirun)
        return [_compose_job(job, files) for job in jobs]


def _compose_job(overrides: Sequence[Override], files: ConfigFiles) -> dict[str, Any]:
    choices = [override for override in overrides if override.key in files.groups]
    for choice in choices:
        _check_choice(choice, files)
    config, chosen = files.load(tuple((choice.key, choice.value) for choice in choices))
    files.check_unambiguous(chosen)
    for group, name in chosen.items():
        if name is not None and group in files.choices and not isinstance(config.get(group), dict):
            raise InputError(f"{group}={name}: the file {group}/{name}.yaml must hold a mapping of settings")
    for override in overrides:
        if override in choices:
            continue
        group = override.path[0]
        if chosen.get(group, "") is None:
            options = ", ".join(files.groups[group])
            raise InputError(f"'{override.text}': no {group} is chosen; choose one by {group}=NAME ({options})")
        apply(config, _as_parameter(override, config))
    check_plain(config)
    config["choices"] = {group: name for group, name in chosen.items() if name is not None}
    if "study" in config and config["study"] is None and {"space", "data"} <= config["choices"].keys():
        config["study"] = default_study_name(config["choices"]["space"], config["choices"]["data"], overrides)
    return config


def _as_parameter(override: Override, config: Mapping[str, Any]) -> Override:
    """`network.p=3` for a network's own parameter p is `network.parameters.p=3`."""
    path, network = override.path, config.get("network")
    parameters = network.get("parameters") if isinstance(network, dict) else None
    if len(path) == 2 and path[0] == "network" and isinstance(parameters, dict) and path[1] in parameters:
        return replace(override, key=f"network.parameters.{path[1]}")
    return override


def _check_choice(choice: Override, files: ConfigFiles) -> None:
    group, options = choice.key, files.groups[choice.key]
    if choice.deleted:
        raise InputError(f"'{choice.text}': a group cannot be taken away; choose another option by {group}=NAME")
    if group not in files.choices and not choice.added:
        raise InputError(f"'{choice.text}': this command takes no {group}{did_you_mean(group, files.defaults)}")
    if not isinstance(choice.value, str):
        raise InputError(
            f"'{choice.text}': {group} takes the name of a file ({', '.join(options)}); "
            f"a single value in it is given as {group}.key=value"
        )
    if choice.value not in options:
        raise InputError(
            f"'{choice.text}': there is no {group} named '{choice.value}'{did_you_mean(choice.value, options)}"
        )


def _resolved(raw: dict[str, Any]) -> dict[str, Any]:
    """The config with every interpolation replaced by the value it names, and every path made absolute."""
    missing = _missing(raw)
    if missing is not None:
        raise InputError(f"{missing} must be given: {missing}=...")
    config = resolve(raw)
    result: dict[str, Any] = {str(key): value for key, value in config.items()}
    for key in PATH_KEYS:
        *groups, last = key.split(".")
        node: Any = result
        for group in groups:
            node = node.get(group)
            if not isinstance(node, dict):
                break
        else:
            if isinstance(node.get(last), str) and node[last]:
                node[last] = os.path.abspath(os.path.expanduser(node[last]))
    for key in PATH_LISTS:
        items = [result[key]] if isinstance(result.get(key), str) else result.get(key)
        if isinstance(items, list):
            result[key] = [os.path.abspath(os.path.expanduser(i)) if _is_path(i) else i for i in items]
    if result.get("study") is not None:
        check_study_name(result["study"])
    return result


def _missing(data: Any, where: str = "") -> str | None:
    """The first key that a file leaves to the command line, as `???`."""
    if data == "???":
        return where
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = (_missing(inner, f"{where}.{key}" if where else str(key)) for key, inner in items)
    return next((place for place in found if place is not None), None)


def _is_path(item: object) -> bool:
    return isinstance(item, str) and ("/" in item or item.endswith((".yaml", ".yml")))


def _help(
    arguments: argparse.Namespace, config_name: str, conf: Path, description: str, examples: Sequence[str]
) -> str:
    with config_loader(conf) as loader:
        files = ConfigFiles(loader, config_name, conf, arguments.config_dir)
    lines = [description.strip(), "", "Groups (a folder of files each), chosen as group=NAME, the default in brackets:"]
    for group, chosen in files.choices.items():
        options = [f"[{name}]" if name == chosen else name for name in files.groups.get(group, ())]
        lines += textwrap.wrap("  ".join(options), 100, initial_indent=f"  {group:<10} ", subsequent_indent=" " * 13)
    text = (conf / f"{config_name}.yaml").read_text(encoding="utf-8")
    _, _, settings = text.rpartition("- _self_\n")
    lines += ["", "Settings, given as key=value:", *(f"  {line}".rstrip() for line in settings.strip().splitlines())]
    lines += ["", "Any value inside a group, fixed or open, as group.key=value; --cfg job shows them all.", ""]
    lines += [
        "Options:",
        "  -m, --multirun    one run for each of several values: seed=0,1,2 or 'seed=range(3)'",
        "  --config-dir DIR  adds your own files: DIR/space/mine.yaml is space=mine",
        "  --cfg job         prints the config and ends",
    ]
    return "\n".join([*lines, *(["", "Examples:", *(f"  {example}" for example in examples)] if examples else [])])


def _write(text: str) -> int:
    """Print the text and give the exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing may be left for Python to write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
