"""Passwords in URLs and arguments, hidden before anything is printed or stored."""

import re


def hide_password(text: str) -> str:
    """The text, such as a storage's URL, with `***` in place of any password in a URL."""
    # to the last @ of a word: whoever writes a password with an @ in it means no host; with blanks in it, to the first
    text = re.sub(r"(://[^:/@\s]*):(?:[^\s]*@|[^@]*@)", r"\1:***@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s]*", r"\1***", text)


def without_password(argument: str) -> str:
    """An argument that can be run as it is printed, by whoever has its password in PGPASSWORD or PGPASSFILE."""
    return re.sub(r"[?&](?:ssl)?password=\*{3}", "", hide_password(argument).replace(":***@", "@"))
