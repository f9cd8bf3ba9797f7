"""Each routed head picks the tokens that it attends among; the other heads attend to everything.

"Mixture of Sparse Attention: Content-Based Learnable Sparse Attention via Expert-Choice Routing" (MoSA, 2025).

    head h < num_routed:  r = sigmoid(x w_h) [B,T];  I = the n = max(2, ceil(T / reduction)) tokens of greatest r
        X_I [B,n,C] -> q, k, v [B,n,D];  y_I = r_I softmax(q k^T / sqrt D) v, 0 elsewhere
    head h >= num_routed: y = softmax(q k^T / sqrt D) v over all T tokens;  out = [y of all heads] W_o;  w [Hq, C]

q, k, v and o of a routed head are those of the same head of full attention, computed for its n tokens alone. The choice
looks at all tokens, so there is no causal form; the paper's forced first token is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, by_group
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, of_heads, projection_cost, qkv


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, how many of them pick tokens, and tokens per picked one (the paper's rho)."""

    num_routed: int
    reduction: int

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.num_routed > self.num_heads:
            raise ArchError(f"num_routed must be at most num_heads = {self.num_heads}, got {self.num_routed}: lower it")

    @property
    def groups(self) -> int:
        """Query heads per kv head."""
        return self.num_heads // self.num_kv_heads

    def picked(self, tokens: int) -> int:
        """Tokens of a routed head."""
        return min(tokens, max(2, -(-tokens // self.reduction)))


class Mixer(Operator[Knobs]):
    """Small attentions on gathered tokens, added back in place."""

    knobs_type = Knobs
    suggested = {"num_routed": (2, 3), "reduction": (2, 4, 8, 16)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(knobs.num_heads for knobs in choices)
        self.router = nn.Parameter(torch.randn(heads, site.embed_dim) / math.sqrt(site.embed_dim))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Projections, attention and output of the picked tokens only."""
        out = self._routed(x, projections, knobs)
        return out if knobs.num_routed == knobs.num_heads else out + _whole(x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax of all heads, those of the routed ones under their choice."""
        q, k, v = qkv(x, projections, knobs)
        gates, tokens = self._gates(x, knobs), x.shape[1]
        ranks = gates.argsort(-1, descending=True).argsort(-1)
        rest = gates.new_ones(x.shape[0], knobs.num_heads - knobs.num_routed, tokens)
        picked = torch.cat((ranks < knobs.picked(tokens), rest.bool()), dim=1)
        y = attention.reference(q, k, v, picked.unsqueeze(2))
        return projections.output(
            y * (torch.cat((gates, rest), dim=1) * picked).unsqueeze(-1), x.shape[-1], knobs.num_kv_heads
        )

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """n^2 pairs of routed heads and T^2 of the others; every routed head has keys of its own to keep."""
        tokens, width, routed = site.tokens, knobs.head_dim, knobs.num_routed
        picked, whole = knobs.picked(tokens), knobs.num_heads - routed
        kv_whole = knobs.num_kv_heads - routed // knobs.groups if whole else 0
        projected = 4 * routed * picked + 2 * (whole + kv_whole) * tokens
        scored = routed * picked**2 + whole * tokens**2
        inner = Cost(
            params=knobs.num_heads * site.embed_dim,
            flops=2 * site.embed_dim * (width * projected + routed * tokens) + 4 * width * scored,
            kv_cache_bytes=8 * width * (routed * picked + kv_whole * tokens),
            pairs=scored / knobs.num_heads,
        )
        return Cost(params=projection_cost(knobs, site).params) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _gates(self, x: Tensor, knobs: Knobs) -> Tensor:
        """r of the routed heads, `[B, num_routed, T]`."""
        router = of_heads(self.router, knobs)[: knobs.num_routed, : x.shape[-1]]
        return (x @ router.T).sigmoid().transpose(1, 2)

    def _routed(self, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        """What the routed heads add, `[B, T, C]`."""
        gates, index = self._gates(x, knobs).topk(knobs.picked(x.shape[1]), dim=-1)
        rows = (index + x.shape[1] * torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)).flatten()
        chosen = x.flatten(0, 1).index_select(0, rows).view(*index.shape, x.shape[-1])
        kv_heads = torch.arange(knobs.num_routed) // knobs.groups
        q = chosen @ _corner(projections.q, knobs.num_heads, knobs, x)[: knobs.num_routed].transpose(1, 2)
        k = chosen @ _corner(projections.k, knobs.num_kv_heads, knobs, x)[kv_heads].transpose(1, 2)
        v = chosen @ _corner(projections.v, knobs.num_kv_heads, knobs, x)[kv_heads].transpose(1, 2)
        y = attention.dense(q, k, v) * gates.unsqueeze(-1)
        added = y @ _out_corner(projections, knobs, x)[: knobs.num_routed]
        return torch.zeros_like(x).flatten(0, 1).index_add(0, rows, added.flatten(0, 2)).view_as(x)


def _whole(x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
    """What the heads that see everything add, `[B, T, C]`."""
    rest = slice(knobs.num_routed, None)
    q = _heads(x, _corner(projections.q, knobs.num_heads, knobs, x)[rest])
    # the kv head of the first of them may also serve routed heads
    first, count = knobs.num_routed // knobs.groups, q.shape[1]
    served = knobs.num_heads - first * knobs.groups
    k, v = (
        attention.repeat_heads(_heads(x, _corner(part, knobs.num_kv_heads, knobs, x)[first:]), served)
        for part in (projections.k, projections.v)
    )
    y = attention.dense(q, k[:, -count:], v[:, -count:])
    return y.transpose(1, 2).flatten(2) @ _out_corner(projections, knobs, x)[rest].flatten(0, 1)


def _heads(x: Tensor, weight: Tensor) -> Tensor:
    """`[B, T, C]` through `[H, D, C]` to `[B, H, T, D]`."""
    return torch.unflatten(F.linear(x, weight.flatten(0, 1)), -1, weight.shape[:2]).transpose(1, 2)


def _corner(part: Elastic | None, heads: int, knobs: Knobs, x: Tensor) -> Tensor:
    """Weights `[heads, D, C]` of q, group by group, or of k or v."""
    if part is None:
        raise LookupError("expert_choice needs the projections q, k, v and o")
    return by_group(part.weight[:heads, : knobs.head_dim, : x.shape[-1]], knobs.num_kv_heads)


def _out_corner(projections: Projections, knobs: Knobs, x: Tensor) -> Tensor:
    """Weights `[Hq, D, C]` of o."""
    if projections.o is None:
        raise LookupError("expert_choice needs the projections q, k, v and o")
    return of_heads(projections.o.weight[: x.shape[-1], :, : knobs.head_dim].permute(1, 2, 0), knobs)
