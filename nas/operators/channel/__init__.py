"""Attention over channels."""
