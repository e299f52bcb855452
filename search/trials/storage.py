"""Opening the storage of a study: an Optuna database, with one driver at a time where it is SQLite."""

from __future__ import annotations

import os
import sqlite3
import warnings
import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from search.system.secrets import hide_password
from search.trials.leases import STORAGE_ERRORS, Alone, Leases, PostgresLeases, making_tables, storage_reason
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


def lock(folder: Path, url: str | None, name: str) -> AbstractContextManager[Any]:
    """Keeps other drivers off a study in SQLite until this process ends, however it ends; PostgreSQL has room for several.

    Raises:
        InputError: another driver has it.
    """
    path = sqlite_path(folder, url)
    if path is None:
        return nullcontext()
    held = FileLock(f"{path}.lock" if url is None else f"{path}.{name}.lock", timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is running the study in {folder}; wait for it, stop it, give this one a name of its own by "
            "study=NAME, or keep the study where several may work on it: storage=postgresql+psycopg://..."
        ) from error
    except OSError as error:
        raise InputError(f"storage: cannot write to {path.parent}: {error.strerror}") from error
    return held


def writing(folder: Path) -> FileLock:
    """Keeps the reports of several drivers apart that end at the same time, to be used in a `with`."""
    return FileLock(folder / ".report.lock", timeout=300)


def open_storage(folder: Path, url: str | None) -> RDBStorage:
    """The storage at `url`, or the SQLite database in a study's folder.

    Raises:
        InputError: it cannot be opened.
    """
    path = sqlite_path(folder, url)
    if path is not None:
        return open_database(path)
    assert url is not None
    try:
        with making_tables(url):
            return _closing(RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))
    except ImportError as error:
        raise InputError(
            f"storage: {error}; pip install 'psycopg[binary]' brings what postgresql+psycopg:// needs"
        ) from error
    except (SQLAlchemyError, RuntimeError) as error:
        raise InputError(f"storage: cannot open the storage ({storage_reason(error)})") from error


def open_leases(url: str | None, name: str) -> Leases:
    """The drivers of a study: several where the storage is PostgreSQL.

    Raises:
        InputError: the storage cannot be reached.
    """
    if url is None or url.startswith("sqlite"):
        return Alone()
    try:
        return PostgresLeases(url, name)
    except STORAGE_ERRORS as error:
        raise InputError(f"storage: cannot open the storage ({storage_reason(error)})") from error


def sqlite_path(folder: Path, url: str | None) -> Path | None:
    """The file of a SQLite storage; None for PostgreSQL.

    Raises:
        InputError: the URL is none, or of another database.
    """
    if url is None:
        return folder / DATABASE
    shown = hide_password(url)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"storage: '{shown}' is not a URL such as postgresql+psycopg://host/name") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Path(parsed.database).absolute()
    if kind != "postgresql":
        raise InputError(
            f"storage: '{shown}' is no storage for studies; valid: postgresql+psycopg://host/name, sqlite:///file, null"
        )
    return None


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
        InputError: the file is no such database, is damaged, or cannot be written.
    """
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise InputError(f"{path} must be readable and writable; change its permissions, or choose study=NAME")

    def connect() -> sqlite3.Connection:
        # not by a URL: in a study's name, `?`, `#`, `%` and braces mean something to SQLAlchemy or Optuna
        return sqlite3.connect(path, timeout=60, check_same_thread=False)

    try:
        storage = RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs={"creator": connect})
    except (SQLAlchemyError, RuntimeError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise InputError(
            f"{path} is not the database of a study ({reason}); move it away or choose study=NAME"
        ) from error
    event.listen(storage.engine, "connect", _set_pragmas)
    storage.engine.dispose()  # so that connections made before the listener are made again
    _check_pages(storage, path)
    return _closing(storage)


def _closing(storage: RDBStorage) -> RDBStorage:
    """Closes its connections when it is no longer used, at the latest when the process ends: SQLite then takes its log in."""
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _check_pages(storage: RDBStorage, path: Path) -> None:
    """Raises InputError for a file of which a part was lost or overwritten, before anything goes wrong half way."""
    try:
        with storage.engine.connect() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    except SQLAlchemyError as error:
        found = str(getattr(error, "orig", error)).splitlines()[0]
    if found != "ok":
        raise InputError(
            f"{path} is damaged ({' '.join(str(found).split())}); put a copy in its place, or choose study=NAME "
            "(`sqlite3 study.db .recover` saves what can be read)"
        )


def _set_pragmas(connection: Any, _: Any) -> None:
    """Appends to a log instead of rewriting the file at every attribute; a finished trial still survives any kill."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def attributes(storage: BaseStorage, name: str) -> dict[str, Any]:
    """What a study keeps of itself; empty where there is none of that name."""
    try:
        return storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return {}


def num_trials(storage: BaseStorage, name: str) -> int:
    """How many trials a study has; 0 where there is none of that name."""
    try:
        return storage.get_n_trials(storage.get_study_id_from_name(name))
    except KeyError:
        return 0
