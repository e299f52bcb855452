"""Passwords in URLs and arguments, hidden before anything is printed or stored."""

from __future__ import annotations

import re

HIDDEN = "***"

_URL = re.compile(r"[A-Za-z][\w+.-]*://(?:\S*@\S*|[^@\n]*@\S*|\S*)")
"""A URL in a text: to the end of the word, or, where a password has blanks in it, to the end of the word with the next @."""


def hide_password(text: str) -> str:
    """The text, such as an argument or an error, with `***` in place of any password in a URL."""
    option = re.match(r"[+~]*storage=", text)
    if option is not None:
        return option[0] + hide_in_url(text[option.end() :])
    return _URL.sub(lambda found: hide_in_url(found[0]), text)


def hide_in_url(url: str) -> str:
    """A storage's URL with `***` in place of its password; of what SQLAlchemy cannot parse, nothing but the scheme is left."""
    from sqlalchemy import make_url  # only where there is a URL: it takes a tenth of a second
    from sqlalchemy.exc import ArgumentError

    if url in ("", "null"):
        return url
    scheme, found, _ = url.strip("'\"").partition("://")
    hidden = f"{scheme}://{HIDDEN}" if found else HIDDEN
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is no number, and may be a password without a host
        return hidden
    # to the last @: one that belongs to the password should be written %40, and is not always
    shown = re.sub(r"^([^:]*://[^:/]*):.*@", rf"\1:{HIDDEN}@", url) if parsed.password is not None else url
    return re.sub(r"([?&][^=&]*pass(?:word|wd)?=)[^&\s]*", rf"\1{HIDDEN}", shown, flags=re.IGNORECASE)


def without_password(argument: str) -> str:
    """An argument that can be run as it is printed, by whoever has its password in PGPASSWORD or PGPASSFILE."""
    return re.sub(r"[?&](?:ssl)?password=\*{3}", "", hide_password(argument).replace(":***@", "@"))
