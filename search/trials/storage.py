"""Opening the storage of a study: an Optuna database, with one driver at a time where it is SQLite."""

from __future__ import annotations

import os
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
from sqlalchemy.pool import NullPool

from search.system.secrets import hide_in_url
from search.system.sqlite import connect, connect_to_read
from search.trials.leases import ENCODING, Alone, Leases, PostgresLeases, making_tables
from search.trials.refusals import DATABASE_ERRORS, opening_storage, storage_reason
from spaces.errors import InputError, did_you_mean

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

DATABASE = "study.db"
"""Name of the SQLite file in a study's folder."""

_NO_URL = (
    "is not a URL such as postgresql+psycopg://user@host:5432/name; a port is a whole number, and in a password %40 stands for @, "
    "%2F for / and %3A for :"
)


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
    with opening_storage(), making_tables(url):
        return _closing(RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "connect_args": ENCODING}))


def open_leases(url: str | None, name: str) -> Leases:
    """The drivers of a study: several where the storage is PostgreSQL.

    Raises:
        InputError: the storage cannot be reached.
    """
    if url is None or url.startswith("sqlite"):
        return Alone()
    with opening_storage():
        return PostgresLeases(url, name)


def sqlite_path(folder: Path, url: str | None) -> Path | None:
    """The file of a SQLite storage; None for PostgreSQL.

    Raises:
        InputError: the URL is none, or of another database.
    """
    if url is None:
        return folder / DATABASE
    shown = hide_in_url(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"storage: '{shown}' {_NO_URL}") from error
    if parsed.password is not None and "@" in f"{parsed.host}{parsed.database}":  # that of a password, most likely
        raise InputError(f"storage: '{shown}' {_NO_URL}")
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Path(parsed.database).absolute()
    if kind != "postgresql":
        raise InputError(
            f"storage: '{shown}' is no storage for studies; valid: postgresql+psycopg://host/name, sqlite:///file, null"
        )
    return None


def open_to_read(folder: Path, url: str | None) -> RDBStorage:
    """The storage at `url`, or the SQLite database in a study's folder, in which nothing is written.

    Raises:
        InputError: it cannot be opened.
    """
    path = sqlite_path(folder, url)
    if path is not None:
        return open_database(path, to_read=True)
    assert url is not None
    with opening_storage():
        reads = {"execution_options": {"postgresql_readonly": True}}
        options = {"pool_pre_ping": True, "connect_args": ENCODING, **reads}
        return _closing(RDBStorage(url, engine_kwargs=options, skip_table_creation=True))


def open_study(folder: Path, url: str | None, name: str, *, to_write: bool = False) -> optuna.Study:
    """A study that exists, to read from or, by `to_write`, to add attributes to. It goes by `name`, that of its folder.

    Raises:
        InputError: there is no such study.
    """
    if url is None and not (folder / DATABASE).exists():
        studies = sorted(path.parent.name for path in folder.parent.glob(f"*/{DATABASE}"))
        raise InputError(f"study: there is no study '{name}' in {folder.parent}{did_you_mean(name, studies)}")
    storage = open_storage(folder, url) if to_write else open_to_read(folder, url)
    try:
        study = optuna.load_study(study_name=stored_name(storage, url, name), storage=storage)
    except KeyError as error:
        names = optuna.get_all_study_names(storage)
        raise InputError(f"study: the storage holds no study '{name}'{did_you_mean(name, names)}") from error
    study.study_name = name
    return study


def stored_name(storage: BaseStorage, url: str | None, name: str) -> str:
    """The name under which a study is stored: a database keeps it when its folder is renamed or copied."""
    if url is not None:
        return name
    names = [study.study_name for study in storage.get_all_studies() if "config" in study.user_attrs]
    return names[0] if len(names) == 1 else name


def open_database(path: Path, *, to_read: bool = False) -> RDBStorage:
    """The SQLite database at `path`, made if it is missing; by `to_read`, nothing is made or written.

    Raises:
        InputError: the file is no such database, is damaged, or cannot be written.
    """
    if path.exists() and not os.access(path, os.R_OK if to_read else os.R_OK | os.W_OK):
        needed = "readable" if to_read else "readable and writable"
        raise InputError(f"{path} must be {needed}; change its permissions, or choose study=NAME")
    options: dict[str, Any] = {"creator": lambda: connect(path)}
    if to_read:
        options = {"creator": lambda: connect_to_read(path), "poolclass": NullPool}
    try:
        storage = RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs=options, skip_table_creation=to_read)
    except (*DATABASE_ERRORS, RuntimeError) as error:
        raise InputError(
            f"{path} is not the database of a study ({storage_reason(error)}); move it away or choose study=NAME"
        ) from error
    if not to_read:
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
