"""Stored trials: their storage, and the leases of the drivers that write them."""
