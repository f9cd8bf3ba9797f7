"""Search for lightweight attention architectures."""
