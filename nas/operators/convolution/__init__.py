"""Mixing by convolution, and no mixing."""
