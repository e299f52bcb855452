"""The config files as Hydra reads them: groups and their options, defaults lists, and its errors in plain words.

Hydra gets the absolute path of a folder. A package's name would be shadowed by any `conf.py` in the current directory.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from spaces.errors import InputError, did_you_mean
from spaces.plain import load_yaml


class UserFiles(FileConfigSource):
    """A user's own folder of config files: each is read within the limits of `spaces.plain` before Hydra reads it."""

    @staticmethod
    def scheme() -> str:
        """What the search path calls it."""
        return "user"

    def load_config(self, config_path: str) -> ConfigResult:
        """The file as Hydra wants it."""
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.exists():
            load_yaml(path)
        return super().load_config(config_path)


class ConfigFiles:
    """The config files that a command can see: those of the project, and those of a user's own folder."""

    def __init__(self, loader: ConfigLoader, config_name: str, conf: Path, config_dir: str | None) -> None:
        self._loader = loader
        self._config_name = config_name
        self._search_path: list[str] = []
        self._loaded: dict[tuple[tuple[str, str], ...], tuple[dict[str, Any], dict[str, str | None]]] = {}
        self.folders = [conf]
        if config_dir is not None:
            own = Path(config_dir).expanduser().resolve()
            if not own.is_dir():
                raise InputError(f"--config-dir: {own} is not a folder")
            self.folders.append(own)
            self._search_path = [f"hydra.searchpath=[{_quoted(f'{UserFiles.scheme()}://{own}')}]"]
            Plugins.instance().register(UserFiles)
        self.choices: dict[str, str | None] = {}
        self.defaults, self.choices = self.load(())
        self.groups = {
            group: options
            for group, options in self._groups().items()
            # Not every folder beside a user's spaces is a group: `storage=...` stays a setting, and Hydra's own stay shut.
            if group in self.choices or group not in (*self.defaults, "hydra")
        }

    def load(self, choices: tuple[tuple[str, str], ...]) -> tuple[dict[str, Any], dict[str, str | None]]:
        """The config with the given options chosen, as plain data, unresolved; and the option of every group.

        Args:
            choices: pairs of group and option. The jobs of a sweep often share theirs, so each is read once.
        """
        if choices not in self._loaded:
            self._loaded[choices] = self._load(dict(choices))
        return copy.deepcopy(self._loaded[choices])

    def check_unambiguous(self, choices: Mapping[str, str | None]) -> None:
        """Refuse a file of the user's that has the name of one of the project's and says something else."""
        for group, name in choices.items():
            texts = {
                path.read_bytes(): path
                for folder in self.folders
                if (path := folder / group / f"{name}.yaml").is_file()
            }
            if len(texts) > 1:
                raise InputError(
                    f"{group}={name} stands for two different files, {' and '.join(map(str, texts.values()))}"
                )

    def _load(self, choices: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str | None]]:
        paths = [folder / group / f"{name}.yaml" for group, name in choices.items() for folder in self.folders]
        with _told_plainly(paths):
            config = self._loader.load_configuration(
                self._config_name,
                [*self._search_path, *(self._as_override(group, name) for group, name in choices.items())],
                run_mode=RunMode.RUN,
                from_shell=False,
            )
            chosen = {str(group): name for group, name in config.hydra.runtime.choices.items()}
            with open_dict(config):
                del config["hydra"]
            plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        values = {str(key): value for key, value in plain.items()}
        # In the order of the values; Hydra's own order is that of a stack.
        groups = [group for group in (*values, *chosen) if group in chosen and not group.startswith("hydra/")]
        return values, {group: chosen[group] for group in groups}

    def _as_override(self, group: str, name: str) -> str:
        # A group that the command does not choose by itself, such as a user's own, is added to its list.
        return f"{'' if group in self.choices else '+'}{group}={_quoted(name)}"

    def _groups(self) -> dict[str, list[str]]:
        """The options of every group, in the order of their names."""
        found: dict[str, set[str]] = {}
        for path in (path for folder in self.folders for path in folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, set()).add(path.stem)
        return {group: sorted(options) for group, options in sorted(found.items())}


@contextmanager
def config_loader(conf: Path) -> Iterator[ConfigLoader]:
    """Hydra's reader of config files, with its global state put back as it was."""
    # Somebody else's Hydra application may be running in this process.
    instance = GlobalHydra.instance()
    outer, instance.hydra = instance.hydra, None
    resolvers = [name for name in ("now", "hydra", "python_version") if not OmegaConf.has_resolver(name)]
    try:
        with initialize_config_dir(str(conf), job_name="search", version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.set_instance(instance)
        instance.hydra = outer
        for name in resolvers:
            OmegaConf.clear_resolver(name)


@contextmanager
def _told_plainly(paths: Sequence[Path] = ()) -> Iterator[None]:
    """Turn whatever Hydra and the files' readers raise into one sentence.

    Args:
        paths: the files that may be at fault, named where one of them is.
    """
    try:
        yield
    except MissingConfigException as error:
        named = str(error.missing_cfg_file)
        place = re.match(r"In '([^']*)'", str(error))
        hint = did_you_mean(named.rpartition("/")[2], error.options) if error.options else ""
        raise InputError(
            f"{place[1] + '.yaml: ' if place else ''}there is no config file '{named}.yaml'{hint}"
        ) from error
    except InputError:
        raise
    except Exception as error:
        # Hydra wraps what it does not expect, sometimes in an exception without a word.
        cause: BaseException | None = error
        while cause is not None and not str(cause):
            cause = cause.__cause__
        reason = " ".join(str(cause).split()) if cause is not None else type(error).__name__
        # OmegaConf goes on with the place of every value around.
        reason = reason.partition(" full_key: ")[0]
        present = [path for path in paths if path.is_file()]
        raise InputError(f"{', '.join(map(str, present)) or 'config'}: {reason}") from error


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()
