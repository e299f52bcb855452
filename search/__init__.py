"""How a search space is explored."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from search.system.surroundings import check_surroundings

if TYPE_CHECKING:
    from search.api import find_front
    from search.objective.costs import COSTS, Cost
    from search.objective.reward import Objective
    from search.reporting.stored_study import StoredStudy, load_study

if sys.argv[:1] == ["-m"]:  # `python -m search.run`, whose module comes next with all that it needs
    check_surroundings()

_PLACES = {
    "COSTS": "search.objective.costs",
    "Cost": "search.objective.costs",
    "Objective": "search.objective.reward",
    "StoredStudy": "search.reporting.stored_study",
    "find_front": "search.api",
    "load_study": "search.reporting.stored_study",
}

__all__ = ["COSTS", "Cost", "Objective", "StoredStudy", "find_front", "load_study"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: a command that starts need not wait for what reads studies."""
    if name not in __all__:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)
