"""Data sets as settings that load them."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.search.data.make import make_folder, make_parquet


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes columns to a parquet file; gives the settings that load it."""

    def write(columns: Mapping[str, Any], features: datasets.Features | None = None, **settings: Any) -> dict[str, Any]:
        file = make_parquet(tmp_path / "images.parquet", columns, features)
        return {"source": "parquet", "path": str(file), "cache_dir": str(tmp_path / "cache"), **settings}

    return write


@pytest.fixture
def folder(tmp_path: Path) -> dict[str, Any]:
    """Settings of a folder with two classes of ten images."""
    return {"source": "folder", "path": str(make_folder(tmp_path / "pets", {"cat": 40, "dog": 200}))}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("local data must not ask the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
