"""Mixing of tokens by learned weights that do not look at them."""
