"""Heads as experts: a router sends each token to one head, and one small network shared by all heads widens its output.

"SHRP: Specialized Head Routing and Pruning for Efficient Encoder Compression" (2025), whose abstract leaves router and
expander open. Heads are kept by their number, so that the single head of its pruned form is `num_heads` = 1; the usage
that it prunes by is what `train.recipe.ordered` sorts heads by.

    e_t = argmax(x_t W_r), p = softmax(x W_r);  h_t [D] = softmax attention of head e_t alone
    out_t = gelu(p_e / stop(p_e) h_t W_1) W_2, W_1 [D,M], W_2 [M,C];  training adds 0.01 E^2 mean(share p)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.kernels import attention, chosen_heads
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, kv_state, projection_cost, qkv
from nas.operators.head_kinds import imbalance

QKV = frozenset("qkv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads to choose from, and the width of the network behind them."""

    hidden: int


class Mixer(Operator[Knobs]):
    """One head per token; where all tokens see each other and there are enough of them, no other is computed."""

    knobs_type = Knobs
    suggested = {"hidden": (128, 64)}
    projections = QKV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        hidden = max(one.hidden for one in choices)
        self.router = Elastic((heads,), (site.embed_dim,))
        self.up, self.down = Elastic((hidden,), (width,)), Elastic((site.embed_dim,), (hidden,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA of the chosen heads, or of all."""
        q, k, v = qkv(x, projections, knobs)
        chosen, gain = self._route(x, knobs, context)
        if _is_selective(knobs, context.site):
            k, v = attention.repeat_heads(k, knobs.num_heads), attention.repeat_heads(v, knobs.num_heads)
            y = chosen_heads.attend(q, k, v, chosen).squeeze(2)
        else:
            y = _taken(attention.dense(q, k, v, is_causal=context.site.is_causal), chosen)
        return self._widened(y * gain, x, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax of all heads, each for its tokens."""
        q, k, v = qkv(x, projections, knobs)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        heads = attention.reference(q, k, v, mask)
        chosen, gain = self._route(x, knobs, context)
        y = torch.stack([heads[:, e] * (chosen == e) for e in range(knobs.num_heads)]).sum(0)
        return self._widened(y * gain, x, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, cache=state)
        chosen, gain = self._route(x, knobs, context)
        return self._widened(_taken(attention.decode(q, k, v), chosen) * gain, x, knobs), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Attention of all heads or of whole blocks of chosen ones, and the network for one of them."""
        own = knobs.num_heads * site.embed_dim + knobs.hidden * (knobs.head_dim + site.embed_dim)
        is_few = _is_selective(knobs, site)
        few = chosen_heads.computed_rows(site.tokens, 1, knobs.num_heads)
        rows = few if is_few else knobs.num_heads * site.tokens
        inner = Cost(
            params=own,
            flops=2 * own * site.tokens + 4 * rows * knobs.head_dim * site.tokens,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs / knobs.num_heads,
        )
        return projection_cost(knobs, site, QKV) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, or the network's where that is less."""
        return min(knobs.head_dim, knobs.hidden)

    def _route(self, x: Tensor, knobs: Knobs, context: Context) -> tuple[Tensor, Tensor]:
        """Head of each token and a factor of one that carries the router's gradient, `[B, T, 1]` each."""
        probabilities = by_group(self.router(x, knobs.num_heads), knobs.num_kv_heads, dim=2).softmax(-1)
        best, chosen = probabilities.max(-1, keepdim=True)
        if self.training:
            context.penalties.append(imbalance(probabilities, F.one_hot(chosen.squeeze(-1), knobs.num_heads)))
        return chosen, best / best.detach()

    def _widened(self, y: Tensor, x: Tensor, knobs: Knobs) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(y, knobs.hidden)), x.shape[-1])
        return out


def _is_selective(knobs: Knobs, site: Site) -> bool:
    return knobs.num_heads > 1 and not site.is_causal and site.tokens >= chosen_heads.FEWEST


def _taken(heads: Tensor, chosen: Tensor) -> Tensor:
    """`[B, H, T, D]` of each token's head, `[B, T, D]`."""
    index = chosen.unsqueeze(-1).expand(-1, -1, -1, heads.shape[3])
    return heads.transpose(1, 2).gather(2, index).squeeze(2)
