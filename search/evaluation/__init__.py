"""How a candidate gets its accuracy."""
