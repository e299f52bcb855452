"""Several drivers on one study: who takes a turn at its storage, who is alive, and what to do while the storage is away.

A driver holds a lease, a row in a table beside Optuna's that says until when it is to be taken for alive; a thread renews it. The
database's own clock decides, so the clocks of the drivers' machines do not matter. Trials of a driver whose lease has run out are
queued again by whoever looks next. Optuna's own heartbeat would need the storage to be told of every running trial, and compares
times in the drivers.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from search.trials.refusals import is_refused, refusal, storage_reason
from spaces.errors import InputError

LEASE_S = 30.0
"""Seconds without a sign of life after which a driver's trials are queued again."""

TURN_S = 5.0
"""Seconds after which a driver that waits for its turn looks whether the one whose turn it is gives no sign of life."""

PATIENCE_S = 600.0
"""Seconds that a storage may be away (a restart, a full disk) before the search gives up."""

ENCODING = {"client_encoding": "utf8"}
"""Of connections: from a database of encoding SQL_ASCII, which states none, texts would come as bytes."""

STORAGE_ERRORS = (StorageInternalError, OperationalError, InterfaceError)

T = TypeVar("T")


class Leases(Protocol):
    """The drivers of one study."""

    name: str
    """Of this driver; no other has it."""
    shared: bool
    """Whether there can be others."""
    position: int
    """How many others were alive when this one came."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While it lasts no other driver of the study has its turn."""
        yield

    def alive(self) -> set[str]:
        """The names of the drivers whose lease has not run out, this one's included."""
        ...

    def close(self) -> None:
        """Gives the lease back."""
        ...


class Alone:
    """The only driver there can be: a file lock keeps others away from a SQLite database."""

    name = "alone"
    shared = False
    position = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Always."""
        yield

    def alive(self) -> set[str]:
        """Itself."""
        return {self.name}

    def close(self) -> None:
        """Nothing to give back."""


class PostgresLeases:
    """Drivers that share a study in PostgreSQL.

    Args:
        url: of the storage.
        study: its name.
        lease_s: seconds without a sign of life after which a driver counts as dead.
    """

    shared = True

    def __init__(self, url: str, study: str, lease_s: float = LEASE_S) -> None:
        token = uuid.uuid4().hex[:8]
        self.name = f"{socket.gethostname()}-{os.getpid()}-{token}"
        self._study = study
        self._lease_s = lease_s
        self._engine = _open(url, application_name=f"smallnets {token}")
        self._closed = threading.Event()
        with self._engine.connect() as connection:
            with _locked(connection, "tables"):
                connection.execute(
                    text(
                        "CREATE TABLE IF NOT EXISTS smallnets_drivers "
                        "(driver TEXT PRIMARY KEY, study TEXT NOT NULL, until TIMESTAMPTZ NOT NULL)"
                    )
                )
            with _locked(connection, self._study):
                connection.execute(text("DELETE FROM smallnets_drivers WHERE until < clock_timestamp()"))
                self.position = len(self.alive())
                self._renew(connection)
        threading.Thread(target=self._stay_alive, daemon=True).start()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for the turn.

        The database ends it when this process ends, however that comes. From a driver that has stopped amid its turn, or whose
        machine has left the network, it is taken when its lease has run out.
        """
        with (
            self._engine.connect() as connection,
            _locked(connection, self._study, lambda: self._end_the_dead(connection)),
        ):
            yield

    def _end_the_dead(self, connection: Connection) -> None:
        """Ends the session that has the turn, if it is of a driver without a lease."""
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE datname = current_database() AND locktype = 'advisory' AND granted AND objsubid = 1 "
            "AND (classid::bigint << 32 | objid::bigint) = hashtextextended(:name, 0) "
            "AND application_name LIKE 'smallnets %' "  # not shown of another role's, whose session is not ours to end
            "AND NOT EXISTS (SELECT FROM smallnets_drivers "
            "WHERE until > clock_timestamp() AND application_name = 'smallnets ' || right(driver, 8))"
        )
        connection.execute(text(query), _key(self._study))

    def alive(self) -> set[str]:
        """By the database's clock."""
        query = text("SELECT driver FROM smallnets_drivers WHERE study = :study AND until > clock_timestamp()")
        with self._engine.connect() as connection:
            return set(connection.execute(query, {"study": self._study}).scalars())

    def close(self) -> None:
        """Gives the lease back; where the database is away it runs out by itself."""
        self._closed.set()
        with suppress(*STORAGE_ERRORS), self._engine.connect() as connection:
            connection.execute(text("DELETE FROM smallnets_drivers WHERE driver = :driver"), {"driver": self.name})
        self._engine.dispose()

    def _stay_alive(self) -> None:
        while not self._closed.wait(self._lease_s / 5):
            with suppress(*STORAGE_ERRORS), self._engine.connect() as connection:  # the next one may succeed
                self._renew(connection)

    def _renew(self, connection: Connection) -> None:
        connection.execute(
            text(
                "INSERT INTO smallnets_drivers VALUES (:driver, :study, clock_timestamp() + :seconds * interval '1 second') "
                "ON CONFLICT (driver) DO UPDATE SET until = EXCLUDED.until"
            ),
            {"driver": self.name, "study": self._study, "seconds": self._lease_s},
        )


def _open(url: str, **options: str) -> Engine:
    """Connections in which each statement is a transaction."""
    return create_engine(url, pool_pre_ping=True, isolation_level="AUTOCOMMIT", connect_args={**ENCODING, **options})


@contextmanager
def making_tables(url: str) -> Iterator[None]:
    """While it lasts no other driver makes tables in the database: of two that make the same one at once, one would fail."""
    engine = _open(url)
    try:
        with engine.connect() as connection, _locked(connection, "tables"):
            yield
    finally:
        engine.dispose()


@contextmanager
def _locked(connection: Connection, name: str, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """An advisory lock by name, which PostgreSQL takes back when the connection ends; `meanwhile` is called in a long wait."""
    connection.execute(text(f"SET lock_timeout = '{TURN_S}s'"))
    while True:
        try:
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), _key(name))
            break
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_YET:
                raise
            meanwhile()
    try:
        yield
    finally:
        with suppress(*STORAGE_ERRORS):  # gone with the connection
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), _key(name))


_NOT_YET = "55P03"
"""PostgreSQL's code for a lock that was waited for in vain."""


def _key(name: str) -> dict[str, str]:
    return {"name": f"smallnets {name}"}


def patiently(
    action: Callable[[], T], say: Callable[[str], None], give_up: Callable[[], bool], patience_s: float = PATIENCE_S
) -> T:
    """What `action` returns, tried again while the storage is away.

    Args:
        action: may be called again after it failed half-way.
        say: told in a sentence when the storage goes away and when it is back.
        give_up: whether to try no more.
        patience_s: how long to go on trying.

    Raises:
        InputError: the storage did not come back in time, or refuses what it is asked.
    """
    away_since: float | None = None
    while True:
        try:
            result = action()
        except STORAGE_ERRORS as error:
            if is_refused(error):
                raise refusal(error) from error
            now = time.monotonic()
            reason = storage_reason(error)
            away_since = now if away_since is None else away_since
            if now - away_since >= patience_s or give_up():
                raise InputError(
                    f"storage: it could not be used for {now - away_since:.0f} s ({reason}); nothing that is in it is "
                    "lost, and the same command goes on"
                ) from error
            if now == away_since:
                say(
                    f"the storage cannot be used ({reason}): trying again for {patience_s / 60:g} minutes, trainings go on"
                )
            time.sleep(1.0)
            continue
        if away_since is not None:
            say(f"the storage is back after {time.monotonic() - away_since:.0f} s")
        return result
