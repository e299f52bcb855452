"""Latency of networks on a device: measured, kept in a table, predicted from it."""
