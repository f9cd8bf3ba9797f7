"""Softmax attention under a visibility rule."""
