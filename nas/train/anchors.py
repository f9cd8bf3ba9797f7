"""Where to put anchors: the blocks of a trained network whose choice of keys serves those behind them best.

"Kascade: A Practical Sparse Attention Method for Long-Context LLM Inference" (2025).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.errors import ConfigError

Placed = tuple[float, tuple[int, ...]]


def similarity(weights: Sequence[Tensor], keep: int) -> Tensor:
    """How well each layer's choice serves each later one `[L, L]`: entry (i, j) is the share of layer j's attention,
    of its worst query, that the `keep` keys of greatest weight in layer i hold, averaged over samples and heads.

    Args:
        weights: Attention of L layers, rows sum to one, `[B, H, T, T]` each with equal shapes.
        keep: Keys that a query keeps.
    """
    chosen = [layer.topk(min(keep, layer.shape[-1]), dim=-1).indices for layer in weights]
    rows = [[layer.gather(-1, kept).sum(-1).amin(-1).mean() for layer in weights] for kept in chosen]
    return torch.stack([torch.stack(row) for row in rows])


def importance(entered: Sequence[Tensor], added: Sequence[Tensor]) -> Tensor:
    """How far each layer's attention turns what it reads, 1 - cos(x, x + y), `[L]`; x and y `[B, T, C]` of each."""
    turned = [1 - torch.cosine_similarity(x, x + y, dim=-1).mean() for x, y in zip(entered, added, strict=True)]
    return torch.stack(turned)


def place(similar: Tensor, count: int, weights: Tensor | None = None) -> list[int]:
    """The anchors, layer 0 among them, for which the layers' similarity to their last anchor adds up to the most.

    Exact, by dynamic programming over layers and anchors.

    Args:
        similar: `similarity` `[L, L]`; an anchor serves itself and the layers up to the next one.
        count: Anchors in all.
        weights: Importance of each layer `[L]`; all alike if not given.

    Raises:
        ConfigError: For fewer than one anchor or more than there are layers.
    """
    layers = len(similar)
    if not 1 <= count <= layers:
        raise ConfigError(f"anchors must number from 1 to the {layers} layers, got {count}")
    gain = similar if weights is None else similar * weights
    served = torch.stack([row.cumsum(0) for row in gain.double()])
    # the most that the layers before each can have with so many anchors among them
    nowhere: Placed = (float("-inf"), ())
    best: list[Placed] = [(0.0, ()), *[nowhere] * layers]
    for _ in range(count):
        best = [nowhere, *(_extended(best, served, stop) for stop in range(1, layers + 1))]
    return list(best[layers][1])


def _extended(before: Sequence[Placed], served: Tensor, stop: int) -> Placed:
    """The best way to serve the layers before `stop` with one anchor more, which serves those from itself on."""
    able = []
    for anchor in range(stop):
        value, placed = before[anchor]
        earlier = float(served[anchor, anchor - 1]) if anchor else 0.0
        able.append((value + float(served[anchor, stop - 1]) - earlier, (*placed, anchor)))
    return max(able, key=lambda found: found[0])
