"""What a value that a user wrote is: Python counts true and false among its numbers, a config does not."""

from __future__ import annotations

from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number, whole or not; NaN and infinity are."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number, written as one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number of at least 1."""
    return is_integer(value) and value >= 1
