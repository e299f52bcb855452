"""Passwords in what is printed and stored."""

from __future__ import annotations

import pytest

from search.system.secrets import hide_in_url, hide_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann@corp.org:s3cret@host/db", "postgresql://ann@corp.org:***@host/db"),
        ("postgresql://ann:s3cret@[::1]:5432/db", "postgresql://ann:***@[::1]:5432/db"),
        ("postgresql://:s3cret@/db", "postgresql://:***@/db"),
        ("postgresql://host/db?user=ann&password=s3cret&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        ("cannot reach postgresql://ann:s3 cret@host/db now", "cannot reach postgresql://ann:***@host/db now"),
        ("postgresql://ann:s3@cret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann@corp:s3/cr@et@host/db", "postgresql://ann@corp:***@host/db"),
        # what cannot be parsed is not shown
        ("postgresql://ann:s3cret", "postgresql://***"),
        ("postgresql://ann@corp.org:s3cret", "postgresql://***"),
        ("postgresql://ann:pass@host:s3cret/db", "postgresql://***"),
        ("storage=ann:s3cret@host/db", "storage=***"),
        ("+storage=postgresql://ann:s3cret", "+storage=postgresql://***"),
        # what holds no password stays
        ("storage=null", "storage=null"),
        ("postgresql://ann@host:5432/db", "postgresql://ann@host:5432/db"),
        ("sqlite:////home/ann@corp/study.db", "sqlite:////home/ann@corp/study.db"),
        ("see https://example.org/a and ann@corp.org", "see https://example.org/a and ann@corp.org"),
    ],
)
def test_a_password_is_hidden_wherever_it_stands(text: str, shown: str) -> None:
    assert hide_password(text) == shown


def test_a_storage_that_is_no_url_is_not_shown() -> None:
    assert hide_in_url("ann:s3cret@host") == "***"
