"""Which examples a step sees: shuffled epochs as a function of (seed, step) alone."""

import torch
from torch import Tensor


def batch_index(size: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Positions `[batch_size]` of the step's examples: consecutive parts of one endless row of shuffled epochs."""
    first = step * batch_size
    wanted = torch.arange(first, first + batch_size)
    parts = []
    for epoch in range(first // size, (first + batch_size - 1) // size + 1):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(hash_seed(seed, epoch)))
        parts.append(order[wanted[wanted // size == epoch] % size])
    return torch.cat(parts)


def hash_seed(seed: int, index: int) -> int:
    """A seed of its own for every (seed, index)."""
    return (seed * 1_000_003 + index * 7919 + 12345) % (2**63)
