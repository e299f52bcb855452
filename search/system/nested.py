"""Nested data, such as a config, as one mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested data by dotted key; a list is a leaf unless it holds mappings or lists, and empty mappings leave nothing."""
    if isinstance(data, Mapping) or (isinstance(data, list) and any(isinstance(i, Mapping | list) for i in data)):
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        return {k: v for key, value in items for k, v in flatten(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): data}
