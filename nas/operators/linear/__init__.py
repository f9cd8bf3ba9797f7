"""Attention whose cost is linear in the tokens."""
