"""Cross-covariance attention: channels attend to channels, through what they have in common over all tokens.

"XCiT: Cross-Covariance Image Transformers" (2021); "Lite-Mono" (2023).

    q, k, v [B,H,T,D];  q^, k^ = q, k with every column of unit length over the tokens
    y = v softmax(tau_h q^T k^)^T with a [D,D] map per head;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost, qkv


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads and their width; narrow heads are cheap, wide ones let more channels meet."""


class Mixer(Operator[Knobs]):
    """Linear in the tokens; its statistics run over all of them, so there is no causal form."""

    knobs_type = Knobs
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.temperature = nn.Parameter(torch.ones(max(knobs.num_heads for knobs in choices)))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Two products per head."""
        q, k, v = qkv(x, projections, knobs.heads)
        scale = self.temperature[: knobs.num_heads, None, None]
        weights = (F.normalize(q, dim=2).transpose(-1, -2) @ F.normalize(k, dim=2) * scale).softmax(-1)
        return projections.output(v @ weights.transpose(-1, -2), x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Every pair of channels by itself."""
        q, k, v = qkv(x, projections, knobs.heads)
        columns = []
        for channel in q.unbind(-1):
            length = channel.norm(dim=2, keepdim=True)
            cosine = torch.stack([(channel * other).sum(2) / other.norm(dim=2) for other in k.unbind(-1)], dim=-1)
            weights = (self.temperature[: knobs.num_heads, None] * cosine / length).softmax(-1)
            columns.append((v * weights.unsqueeze(2)).sum(-1))
        return projections.output(torch.stack(columns, dim=-1), x.shape[-1])

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every token takes part in every channel's weights; what has to be kept is the maps."""
        square = knobs.num_heads * knobs.head_dim**2
        inner = Cost(
            params=knobs.num_heads, flops=4 * square * site.tokens, kv_cache_bytes=4 * square, pairs=site.allowed_pairs
        )
        return projection_cost(knobs.heads, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, the size of the map between channels."""
        return knobs.head_dim
