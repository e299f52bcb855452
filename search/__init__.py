"""How a search space is explored."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from search.system.surroundings import check_surroundings

if TYPE_CHECKING:
    from search.api import find_front
    from search.objective.reward import Objective
    from search.reporting.stored_study import StoredStudy, load_study

if sys.argv[:1] == ["-m"]:  # `python -m search.run`, whose module comes next with all that it needs
    check_surroundings()

__all__ = ["Objective", "StoredStudy", "find_front", "load_study"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: a command that starts need not wait for what reads studies."""
    if name not in __all__:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    from search import api as functions
    from search.objective import reward as objective
    from search.reporting import stored_study as stored

    return getattr({"find_front": functions, "Objective": objective}.get(name, stored), name)
