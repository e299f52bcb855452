"""What a database refuses, as one sentence for its user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from search.system.secrets import hide_password
from spaces.errors import InputError

DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
"""Whatever a database says: it is away, or it refuses."""

_WAYS_ON = {
    "42501": "; the role must be allowed to create tables and to write them: GRANT USAGE, CREATE ON SCHEMA public TO ...",
    "42P01": "; nobody has made a study in it yet",
}
"""What to do, by PostgreSQL's codes."""


@contextmanager
def opening_storage() -> Iterator[None]:
    """While it lasts, what keeps a storage from being opened is raised as the user's mistake.

    Raises:
        InputError: in place of a database's error.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"storage: {error}; pip install 'psycopg[binary]' brings what postgresql+psycopg:// needs"
        ) from error
    except (*DATABASE_ERRORS, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"storage: cannot open the storage ({storage_reason(error)}){_way_on(error)}") from error


def refusal(error: BaseException) -> InputError:
    """A database's error amid work, as the end of a command."""
    return InputError(
        f"storage: the database refuses to go on ({storage_reason(error)}){_way_on(error)}; what it holds is whole, and the "
        "same command goes on"
    )


def is_refused(error: BaseException) -> bool:
    """Whether a database says no, as by a trigger, and would again: it is neither away nor full."""
    found = _at_fault(error)
    return isinstance(found, DBAPIError) and not isinstance(found, OperationalError | InterfaceError)


def storage_reason(error: BaseException) -> str:
    """The database's own words, in one line and without anything secret."""
    error = _at_fault(error)
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return hide_password(said.splitlines()[0]) if said else type(error).__name__


def _way_on(error: BaseException) -> str:
    error = _at_fault(error)
    # every driver for PostgreSQL names the attribute as its DB-API does: psycopg `sqlstate`, psycopg2 `pgcode`
    code = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return _WAYS_ON.get(code or "", "")


def _at_fault(error: BaseException) -> BaseException:
    """The database's error that another one was raised from."""
    while error.__cause__ is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error
