"""Databases as they are found: encodings, addresses, rights and rules of their owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.config.refusals import refusals
from search.trials.leases import PostgresLeases, patiently
from search.trials.storage import open_leases, open_storage, open_study, open_to_read
from spaces import InputError
from tests.search.postgres import PASSWORD, Server

psycopg = pytest.importorskip("psycopg")
HERE = Path()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _with_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def execute(server: Server, *statements: str, database: str = "postgres") -> None:
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user="team", password=PASSWORD, dbname=database, autocommit=True
    ) as connection:
        for statement in statements:
            connection.execute(statement)


def url_of(server: Server, database: str, user: str = "team") -> str:
    return server.url.removesuffix("postgres").replace("team@", f"{user}@") + database


def test_a_database_without_an_encoding_holds_a_study(server: Server) -> None:
    execute(server, "CREATE DATABASE bare ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = url_of(server, "bare")
    optuna.create_study(study_name="größe", storage=open_storage(HERE, url))
    leases = open_leases(url, "größe")
    assert isinstance(leases, PostgresLeases)
    with leases.turn():
        assert leases.alive() == {leases.name}
    leases.close()
    assert optuna.get_all_study_names(open_to_read(HERE, url)) == ["größe"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://ann:s3cret@127.0.0.1:port/x", "a port is a whole number"),
        ("postgresql+psycopg://ann:s3cret", "a port is a whole number"),
        ("postgresql+psycopg://ann@corp:s3cret/x", "a port is a whole number"),
        ("postgresql+psycopg://ann:s3@cret@host/x", "%40 stands for @"),
        ("postgresql+psycopg://ann:s3cret@[::1:5432/x", "is not a URL"),
        ("postgresql+psycopg://ann:s3cret@[::1]:1/x", '"::1", port 1 failed'),
        ("postgresql+psycopg://ann:s3cret@127.0.0.1:99999999/x", "invalid port number"),
        ("postgresql+psycopg://ann:s3cret@127.0.0.1:1/x?nonsense=1", 'invalid connection option "nonsense"'),
        ("postgresql+nonsense://ann:s3cret@127.0.0.1/x", "cannot open the storage"),
        ("ann:s3cret@host/x", "is not a URL"),
        ("mysql://ann:s3cret@host/x", "is no storage for studies"),
    ],
)
def test_an_address_that_is_none_is_one_sentence_without_the_password(url: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        open_storage(HERE, url)
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "cret@" not in str(raised.value)


def test_a_role_that_may_not_make_tables_is_told_what_it_needs(server: Server) -> None:
    execute(server, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE closed")
    execute(server, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", database="closed")
    opening: list[Any] = [
        lambda url: open_storage(HERE, url),
        lambda url: open_leases(url, "x"),
    ]
    for attempt in opening:
        with pytest.raises(InputError, match=r"permission denied .* must be allowed to create tables"):
            attempt(url_of(server, "closed", "guest"))
    with pytest.raises(InputError, match="nobody has made a study in it yet"):
        open_study(HERE, url_of(server, "closed", "guest"), "x")


def test_who_reads_a_database_does_not_write_it(server: Server) -> None:
    execute(server, "CREATE DATABASE shown")
    url = url_of(server, "shown")
    optuna.create_study(study_name="x", storage=open_storage(HERE, url))
    with pytest.raises(InputError, match="read-only"), refusals():
        open_study(HERE, url, "x").set_user_attr("a", 1)


def test_a_trigger_that_refuses_writes_ends_a_command_in_one_sentence(server: Server) -> None:
    execute(server, "CREATE DATABASE guarded")
    url = url_of(server, "guarded")
    optuna.create_study(study_name="x", storage=open_storage(HERE, url))
    execute(
        server,
        "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'this table takes nothing'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER no BEFORE INSERT ON trials FOR EACH ROW EXECUTE FUNCTION no()",
        database="guarded",
    )
    study = optuna.load_study(study_name="x", storage=open_storage(HERE, url))
    with pytest.raises(InputError, match=r"refuses to go on \(this table takes nothing\).*is whole"), refusals():
        study.ask()
    with pytest.raises(InputError, match=r"this table takes nothing"):
        patiently(study.ask, say=pytest.fail, give_up=lambda: False)
