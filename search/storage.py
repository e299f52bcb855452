"""Opening the storage of a study: an Optuna database with one driver at a time where it is SQLite."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from spaces.errors import InputError, did_you_mean

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

DATABASE = "study.db"
"""Name of the SQLite file in a study's folder."""


def prepare_folder(folder: Path, key: str = "results_dir") -> None:
    """Makes a folder for results, and finds out whether files can be written there.

    Args:
        folder: where to.
        key: the setting that names another.

    Raises:
        InputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{key}: cannot write to {folder}: {error.strerror}; choose another by {key}=PATH") from error


def lock(folder: Path) -> FileLock:
    """Takes the folder for this process until it ends, however it ends.

    Raises:
        InputError: another driver has it.
    """
    held = FileLock(folder / f"{DATABASE}.lock", timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is running the study in {folder}; wait for it, stop it, "
            "or give this one a name of its own by study=NAME"
        ) from error
    return held


def open_storage(folder: Path, url: str | None) -> RDBStorage:
    """The storage at `url`, or the SQLite database in a study's folder.

    Raises:
        InputError: it cannot be opened.
    """
    if url is None:
        return open_database(folder / DATABASE)
    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise InputError(f"storage: cannot open the storage ({reason})") from error


def open_study(folder: Path, url: str | None, name: str) -> optuna.Study:
    """A study that exists, to read from.

    Raises:
        InputError: there is no such study.
    """
    if url is None and not (folder / DATABASE).exists():
        studies = sorted(path.parent.name for path in folder.parent.glob(f"*/{DATABASE}"))
        raise InputError(f"study: there is no study '{name}' in {folder.parent}{did_you_mean(name, studies)}")
    storage = open_storage(folder, url)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        names = optuna.get_all_study_names(storage)
        raise InputError(f"study: the storage holds no study '{name}'{did_you_mean(name, names)}") from error


def open_database(path: Path) -> RDBStorage:
    """The SQLite database at `path`, made if it is missing.

    Raises:
        InputError: the file is no such database.
    """
    try:
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
    except (SQLAlchemyError, RuntimeError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise InputError(
            f"{path} is not the database of a study ({reason}); move it away or choose study=NAME"
        ) from error
    event.listen(storage.engine, "connect", _set_pragmas)
    storage.engine.dispose()  # so that connections made before the listener are made again
    return storage


def _set_pragmas(connection: Any, _: Any) -> None:
    """Appends to a log instead of rewriting the file at every attribute; a finished trial still survives any kill."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def num_trials(storage: RDBStorage, name: str) -> int:
    """How many trials a study has; 0 where there is none of that name."""
    try:
        return storage.get_n_trials(storage.get_study_id_from_name(name))
    except KeyError:
        return 0
