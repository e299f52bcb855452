"""Numbers that are evenly spread however many of them are taken."""

from __future__ import annotations


def van_der_corput(index: int) -> float:
    """The index in binary, mirrored at the point: 1/2, 1/4, 3/4, 1/8, ... for 1, 2, 3, 4, ...; 0 for 0."""
    value, share = 0.0, 0.5
    while index:
        value += share * (index & 1)
        index, share = index >> 1, share / 2
    return value
