"""`python -m search.run`: one search, from its config to its closing words."""
