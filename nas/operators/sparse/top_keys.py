"""All queries attend to the few tokens that a learned score picks.

"A Spatial-Frequency Aware Multi-Scale Fusion Network for Real-Time Deepfake Detection" (2025): the token selection of
its cross-attention between two levels, here inside one level. The paper does not say how tokens are scored.

    s = W_s x [B,T], one score for all heads, W_s [1, C];  S = the `keep` tokens of greatest s
    y_t = softmax(q_t k_S^T / sqrt D + log sigmoid(s_S)) v_S;  out = y W_o

The logarithm of the score's sigmoid, our choice, is what the score learns through. The choice looks at all tokens, so
there is no causal form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic
from nas.operators.contract import Cost, Site
from nas.operators.key_selection import KeySelection, SelectionKnobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(SelectionKnobs):
    """Heads and kept tokens."""


class Mixer(KeySelection[Knobs]):
    """Attention on `keep` tokens: time falls in proportion."""

    knobs_type = Knobs
    suggested = {"keep": (128, 64, 32, 16)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.score = Elastic((1,), (site.embed_dim,))

    def importance(self, x: Tensor, v: Tensor) -> Tensor:
        """log sigmoid(W_s x)."""
        return F.logsigmoid(self.score(x, 1)).transpose(1, 2).expand(-1, v.shape[1], -1)

    @classmethod
    def importance_cost(cls, knobs: Knobs, site: Site) -> Cost:
        """W_s."""
        return Cost(params=site.embed_dim, flops=2 * site.embed_dim * site.tokens)
