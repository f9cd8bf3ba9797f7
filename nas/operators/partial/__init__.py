"""Attention on some of the channels; the others pass."""
