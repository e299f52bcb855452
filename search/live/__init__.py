"""Studies in a browser while they run."""

from search.live.app import make_app
from search.live.studies import Studies

__all__ = ["Studies", "make_app"]
