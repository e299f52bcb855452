"""One search: ask, tell, resume."""
