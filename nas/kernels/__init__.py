"""Fast paths under every attention operator, each next to its slow reference; q, k, v are `[B, H, T, D]`."""
