"""What of a trained attention can be left out within an error budget, found on data.

The L1 error of a row of attention weights that is renormalised over the keys it keeps is twice the mass that it drops,
which "SpargeAttn" (2025) and "SALE" (2025) calibrate by; kinds of masks per head are those of "BlindSight: Harnessing
Sparsity for Efficient VLMs" (2025), whose rule is not public.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from nas.errors import ConfigError
from nas.kernels.attention import repeat_heads
from nas.operators.sparse.estimated_blocks import Estimate, estimated

Category = Literal["document", "document_sink", "sink", "dense"]
"""A segment sees itself; and the first tokens of all segments; only those; everything."""


def dropped(weights: Tensor, kept: Tensor) -> Tensor:
    """Share of attention that falls on keys that are not kept, mean over samples and queries, `[H]`.

    Args:
        weights: Rows that sum to one, `[B, H, T, S]`.
        kept: True where a key is kept, broadcastable to that.
    """
    return weights.masked_fill(kept, 0.0).sum(-1).mean((0, 2))


def smallest_topk(q: Tensor, k: Tensor, block_size: int, estimate: Estimate, budget: float) -> int:
    """The least `topk` of `estimated_blocks` with which no head's mean L1 error exceeds the budget.

    Args:
        q: Queries of some samples `[B, H, T, D]`.
        k: Keys `[B, Hkv, T, D]`.
        block_size: Tokens per block.
        estimate: How blocks are ranked.
        budget: From 0 (all blocks) to 2.
    """
    if not 0 <= budget <= 2:
        raise ConfigError(f"an L1 budget of attention rows lies between 0 and 2, got {budget:g}")
    weights = (q @ repeat_heads(k, q.shape[1]).mT / q.shape[-1] ** 0.5).softmax(-1)
    ranks = estimated(q, k, block_size, estimate).argsort(-1, descending=True).argsort(-1)
    block = torch.arange(q.shape[2], device=q.device) // block_size
    spread = ranks[:, :, block][..., block]
    for topk in range(1, ranks.shape[-1]):
        if float(2 * dropped(weights, spread < topk).amax()) <= budget:
            return topk
    return int(ranks.shape[-1])


def visible(category: Category, segments: Tensor, sinks: int = 1) -> Tensor:
    """Causal mask `[T, T]` of a category; tokens of segment -1, such as text, see and are seen by all.

    Args:
        category: What tokens of a segment see of others.
        segments: Segment of each token `[T]`, or -1.
        sinks: First tokens of a segment that count as sinks.
    """
    if category not in get_args(Category):
        raise ConfigError(f"a category is one of {', '.join(get_args(Category))}; got {category!r}")
    causal = torch.ones(len(segments), len(segments), dtype=torch.bool, device=segments.device).tril()
    if category == "dense":
        return causal
    same = segments[:, None] == segments
    free = (segments[:, None] < 0) | (segments < 0)
    place = (same & causal).sum(-1)  # of a token in its segment, from 1
    sink = (place <= sinks).expand_as(same)
    seen = {
        "document": same,
        "document_sink": same | sink,
        "sink": sink | torch.eye(len(segments), dtype=torch.bool, device=segments.device),
    }
    return causal & (free | seen[category])


def categories(weights: Tensor, segments: Tensor, budget: float, sinks: int = 1) -> list[Category]:
    """The category of each head that visits the fewest pairs with a mean L1 error within the budget.

    Args:
        weights: Causal attention of some samples of one layout, `[B, H, T, T]`.
        segments: Segment of each token `[T]`, or -1.
        budget: Mean L1 error of a row, from 0 to 2.
        sinks: First tokens of a segment that count as sinks.
    """
    masks = {category: visible(category, segments, sinks) for category in get_args(Category)}
    cheapest = sorted(masks, key=lambda category: int(masks[category].sum()))
    errors = {category: 2 * dropped(weights, masks[category]) for category in cheapest}
    return [
        next((category for category in cheapest if float(errors[category][head]) <= budget), "dense")
        for head in range(weights.shape[1])
    ]
