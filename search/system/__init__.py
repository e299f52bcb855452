"""The machine underneath: files, signals, threads, secrets, a user's own modules."""
