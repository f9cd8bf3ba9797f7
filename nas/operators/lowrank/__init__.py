"""Softmax attention through a low-rank bottleneck."""
