"""Two kinds of mixing in one layer."""
