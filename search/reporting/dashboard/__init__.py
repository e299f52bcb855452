"""Studies in a browser while they run."""

from search.reporting.dashboard.app import make_app
from search.reporting.dashboard.studies import Studies

__all__ = ["Studies", "make_app"]
