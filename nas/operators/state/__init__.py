"""Mixing through a small set of states."""
