"""Softmax attention over all tokens, and routing over its heads."""
