"""Softmax attention whose heads are switched and weighted per token by a router.

"MoH: Multi-Head Attention as Mixture-of-Head Attention" (2024).

    H_i [B,T,D] = softmax attention of head i (n_s = num_shared, r = num_routed, E = num_heads - n_s, x [B,T,C])
    shared heads i < n_s:  g_i = a_1 n_s softmax(W_r x over shared)_i
    routed heads i >= n_s: g_i = a_2 r renorm(top-r of softmax(W_r x over routed))_i, 0 unless chosen
    [a_1, a_2] = 2 softmax(W_a x);  out = concat_i(g_i H_i) W_o;  W_r [num_heads, C], W_a [2, C]
    training adds 0.01 E^2 mean_e(share of tokens routed to e * mean probability of e)

The paper's two head routers are the rows of one W_r, row i for head i. Where all tokens see each other and there are
enough of them, only the chosen heads are computed. Under a causal mask, and among few tokens, all are, as in the
paper's code, so that neither time nor flops fall there; `pairs` count those that reach the output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.errors import ArchError
from nas.kernels import attention, chosen_heads
from nas.operators.contract import (
    KV,
    Context,
    Cost,
    HeadKnobs,
    KeyValues,
    Operator,
    Site,
    kv_state,
    projection_cost,
    qkv,
)
from nas.operators.head_kinds import imbalance

LARGEST_SHARE = 0.75
"""Of all scores, up to which chosen heads alone are faster (one CPU thread)."""

Choice = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, heads that are always on, and further heads that are on per token."""

    num_shared: int
    num_routed: int

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.num_shared + self.num_routed > self.num_heads:
            raise ArchError(
                f"num_shared and num_routed must add up to at most num_heads = {self.num_heads}, "
                f"got {self.num_shared} and {self.num_routed}: lower one"
            )


class Mixer(Operator[Knobs]):
    """Head gates on full attention; zero router weights with all heads chosen are plain attention."""

    knobs_type = Knobs
    suggested = {"num_shared": (2, 1), "num_routed": (2, 1)}
    publishes = KV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.router = Elastic((max(knobs.num_heads for knobs in choices),), (site.embed_dim,))
        self.balance = Elastic((2,), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA of all heads or of the chosen ones, then gates."""
        q, k, v = qkv(x, projections, knobs, context)
        gates = self.gates(x, knobs, context)
        if _is_selective(knobs, context.site):
            y = _of_chosen(q, k, v, gates, knobs)
        else:
            y = _as_stored(attention.dense(q, k, v, is_causal=context.site.is_causal), knobs)
        return projections.output(y * gates.transpose(1, 2).unsqueeze(-1), x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; heads are ranked by sorting and weighted one by one."""
        q, k, v = qkv(x, projections, knobs, context)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        y = _as_stored(attention.reference(q, k, v, mask), knobs)
        gates = self.gates(x, knobs, context, choose=_best_by_sorting)
        heads = [y[:, head] * gates[..., head : head + 1] for head in range(knobs.num_heads)]
        return projections.output(torch.stack(heads, dim=1), x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far, the gates are its own."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        y = _as_stored(attention.decode(q, k, v), knobs) * self.gates(x, knobs, context).transpose(1, 2).unsqueeze(-1)
        return projections.output(y, x.shape[-1]), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Attention of all heads, or of shared ones and whole blocks of chosen ones, plus the routers."""
        params = (knobs.num_heads + 2) * site.embed_dim
        rows = knobs.num_heads * site.tokens
        if _is_selective(knobs, site):
            rows = _selected_rows(knobs, site)
        inner = Cost(
            params=params,
            flops=4 * rows * knobs.head_dim * site.tokens + 2 * params * site.tokens,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs * (knobs.num_shared + knobs.num_routed) / knobs.num_heads,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def gates(self, x: Tensor, knobs: Knobs, context: Context, choose: Choice | None = None) -> Tensor:
        """Gate of every head for every token, `[B, T, num_heads]`, `num_shared + num_routed` of them non-zero.

        In training mode the load-balance loss goes to `context.penalties`.
        """
        logits: Tensor = self.router(x, knobs.num_heads)
        shared, routed = logits[..., : knobs.num_shared].softmax(-1), logits[..., knobs.num_shared :].softmax(-1)
        is_on = (choose or _best)(routed, knobs.num_routed)
        if self.training:
            context.penalties.append(imbalance(routed, is_on))
        kept = routed * is_on
        levels = 2.0 * self.balance(x, 2).softmax(-1)
        routed_gates = knobs.num_routed * levels[..., 1:] * kept / kept.sum(-1, keepdim=True)
        return torch.cat((knobs.num_shared * levels[..., :1] * shared, routed_gates), dim=-1)


def _selected_rows(knobs: Knobs, site: Site) -> int:
    """Rows of scores when only chosen heads are computed."""
    routed = chosen_heads.computed_rows(site.tokens, knobs.num_routed, knobs.num_heads - knobs.num_shared)
    return knobs.num_shared * site.tokens + routed


def _is_selective(knobs: Knobs, site: Site) -> bool:
    """Whether computing only the chosen heads is worth its sorting; a matter of sizes, not of inputs."""
    is_long = not site.is_causal and site.tokens >= chosen_heads.FEWEST
    return is_long and _selected_rows(knobs, site) <= LARGEST_SHARE * knobs.num_heads * site.tokens


def _as_stored(heads: Tensor, knobs: Knobs) -> Tensor:
    """Heads that came group by group in the order of the weights, where the first are those that all tokens share."""
    return by_group(heads, knobs.num_heads // knobs.num_kv_heads, dim=1)


def _of_chosen(q: Tensor, k: Tensor, v: Tensor, gates: Tensor, knobs: Knobs) -> Tensor:
    """All heads `[B, H, T, D]` as stored, zero where a head was not chosen."""
    first, heads = knobs.num_shared, knobs.num_heads
    q, k, v = (_as_stored(attention.repeat_heads(part, heads), knobs) for part in (q, k, v))
    shared = attention.dense(q[:, :first], k[:, :first], v[:, :first])
    chosen = gates[..., first:].topk(knobs.num_routed, dim=-1).indices
    found = chosen_heads.attend(q[:, first:], k[:, first:], v[:, first:], chosen)
    routed = found.new_zeros(*found.shape[:2], heads - first, found.shape[3])
    routed = routed.scatter(2, chosen.unsqueeze(-1).expand_as(found), found)
    return torch.cat((shared, routed.transpose(1, 2)), dim=1)


def _best(probabilities: Tensor, count: int) -> Tensor:
    chosen = probabilities.topk(count, dim=-1).indices
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, chosen, True)


def _best_by_sorting(probabilities: Tensor, count: int) -> Tensor:
    return probabilities.argsort(-1, descending=True).argsort(-1) < count
