"""Attention with heads of two kinds: sensory ones fetch values, relational ones fetch likenesses and symbols.

"Disentangling and Integrating Relational and Sensory Information in Transformer Architectures" (2024), with symbols by
attention over a learned library, one projection of them folded into it.

    sensory heads:    y_i = softmax(q_i k_j / sqrt D) v_j
    relational heads: y_i = sum_j softmax(q_i k_j / sqrt D) (W r_ij + s_j), r_ij = [r_i^l r'_j^l / sqrt d], R of them
    s_j = softmax(x_j W_s) L, L [M,D] per head;  W [R,D] per head;  R = number of relational heads
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost

SYMBOLS = 16
QKO = frozenset("qko")
Likeness = Literal["directed", "symmetric"]
State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Keys `[B, H, T, D]`, values `[B, H - R, T, D]`, relation keys `[B, R, T, d]`, shares of symbols `[B, 1, T, M]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads, how many of them are relational, the width of relations, and whether both sides share one map."""

    num_relational: int
    relation_dim: int
    likeness: Likeness

    def __post_init__(self) -> None:
        EqualHeadKnobs.__post_init__(self)
        if self.num_relational >= self.num_heads:
            raise ArchError(
                f"num_relational must leave one of num_heads={self.num_heads} sensory, got {self.num_relational}: "
                "lower it"
            )
        if self.likeness not in get_args(Likeness):
            raise ArchError(
                f"likeness must be one of {', '.join(get_args(Likeness))}; got {self.likeness!r}: change it"
            )

    @property
    def num_sensory(self) -> int:
        """Heads of the usual kind."""
        return self.num_heads - self.num_relational


class Mixer(Operator[Knobs]):
    """Weights are contracted with the relation keys first, so that nothing has pairs of tokens; dearer than softmax."""

    knobs_type = Knobs
    projections = QKO
    suggested = {"num_relational": (2, 1), "relation_dim": (16, 8), "likeness": get_args(Likeness)}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        relations, width = max(one.num_relational for one in choices), max(one.relation_dim for one in choices)
        out = max(one.head_dim for one in choices)
        self.values = Elastic((max(one.num_sensory for one in choices), out), (site.embed_dim,))
        self.asks = Elastic((relations, width), (site.embed_dim,))
        directed = any(one.likeness == "directed" for one in choices)
        self.answers = Elastic((relations, width), (site.embed_dim,)) if directed else None
        self.shares = Elastic((SYMBOLS,), (site.embed_dim,))
        self.library = nn.Parameter(torch.randn(relations, SYMBOLS, out))
        self.relate = nn.Parameter(torch.randn(relations, relations, out) / relations**0.5)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA twice: values, then relation keys beside symbols as values of the relational heads."""
        q, (k, v, answers, shares) = self._query(x, projections, knobs), self._state(x, projections, knobs)
        first, is_causal = knobs.num_sensory, context.site.is_causal
        sensory = attention.dense(q[:, :first], k[:, :first], v, is_causal=is_causal)
        fetched = attention.dense(q[:, first:], k[:, first:], _fetched(answers, shares, knobs), is_causal=is_causal)
        return self._output(sensory, fetched, x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Relations of all pairs, then the sum over them."""
        q, (k, v, answers, shares) = self._query(x, projections, knobs), self._state(x, projections, knobs)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        first, scores = knobs.num_sensory, q @ k.mT / knobs.head_dim**0.5
        maps = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
        relations = self._asks(x, knobs) @ answers.mT / knobs.relation_dim**0.5
        made = torch.einsum("brts,hrd->bhtsd", relations, self._relate(knobs))
        symbols = torch.einsum("bsm,hmd->bhsd", shares[:, 0], self._library(knobs))
        relational = torch.einsum("bhts,bhtsd->bhtd", maps[:, first:], made + symbols.unsqueeze(2))
        return projections.output(torch.cat((maps[:, :first] @ v, relational), dim=1), x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token."""
        q, kept = self._query(x, projections, knobs), self._state(x, projections, knobs)
        if state is not None:
            k, v, answers, shares = (torch.cat(pair, dim=2) for pair in zip(state, kept, strict=True))
            kept = k, v, answers, shares
        k, v, answers, shares = kept
        first = knobs.num_sensory
        sensory = attention.decode(q[:, :first], k[:, :first], v)
        fetched = attention.decode(q[:, first:], k[:, first:], _fetched(answers, shares, knobs))
        return self._output(sensory, fetched, x, projections, knobs), kept

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """What is kept of the tokens."""
        k, v, answers, shares = (part.contiguous() for part in self._state(x, projections, knobs))
        return k, v, answers, shares

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Both kinds of heads at the width of what they fetch, and relations made of it."""
        relations, width, sensory = knobs.num_relational, knobs.relation_dim, knobs.num_sensory
        maps = site.embed_dim * (relations * width * (2 if knobs.likeness == "directed" else 1) + SYMBOLS)
        tables = relations * (SYMBOLS + relations) * knobs.head_dim
        fetched = max(knobs.head_dim, relations * width + SYMBOLS)
        asked = site.embed_dim * (relations * width * 2 + SYMBOLS)
        values = site.embed_dim * sensory * knobs.head_dim
        inner = Cost(
            params=values + maps + tables,
            flops=2 * site.tokens * (values + asked + tables)
            + 4 * site.tokens**2 * (sensory * knobs.head_dim + relations * fetched),
            kv_cache_bytes=4
            * site.tokens
            * ((knobs.num_heads + sensory) * knobs.head_dim + relations * width + SYMBOLS),
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs.heads, site, QKO) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _query(self, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        return projections.query(x, knobs.num_heads, knobs.head_dim)

    def _state(self, x: Tensor, projections: Projections, knobs: Knobs) -> State:
        k = projections.key(x, knobs.num_heads, knobs.head_dim)
        v = self.values(x, knobs.num_sensory, knobs.head_dim).transpose(1, 2)
        answer = self.asks if knobs.likeness == "symmetric" or self.answers is None else self.answers
        answers = answer(x, knobs.num_relational, knobs.relation_dim).transpose(1, 2)
        return k, v, answers, self.shares(x, SYMBOLS).softmax(-1).unsqueeze(1)

    def _asks(self, x: Tensor, knobs: Knobs) -> Tensor:
        asked: Tensor = self.asks(x, knobs.num_relational, knobs.relation_dim)
        return asked.transpose(1, 2)

    def _relate(self, knobs: Knobs) -> Tensor:
        return self.relate[: knobs.num_relational, : knobs.num_relational, : knobs.head_dim]

    def _library(self, knobs: Knobs) -> Tensor:
        return self.library[: knobs.num_relational, :, : knobs.head_dim]

    def _output(self, sensory: Tensor, fetched: Tensor, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        """From fetched relation keys and shares of symbols `[B, R, T, R d + M]`."""
        keys, shares = fetched[..., :-SYMBOLS], fetched[..., -SYMBOLS:]
        keys = keys.reshape(*keys.shape[:3], knobs.num_relational, knobs.relation_dim)
        relations = (keys * self._asks(x, knobs).transpose(1, 2).unsqueeze(1)).sum(-1)
        made = relations / knobs.relation_dim**0.5 @ self._relate(knobs) + shares @ self._library(knobs)
        return projections.output(torch.cat((sensory, made), dim=1), x.shape[-1])


def _fetched(answers: Tensor, shares: Tensor, knobs: Knobs) -> Tensor:
    """What relational heads fetch of each token, the same for all of them, `[B, R, T, R d + M]`."""
    keys = answers.transpose(1, 2).flatten(2).unsqueeze(1)
    return torch.cat((keys, shares), dim=-1).expand(-1, knobs.num_relational, -1, -1)
