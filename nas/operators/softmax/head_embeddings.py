"""Projections as wide as one head for all heads, told apart by a vector each.

"Pit One Against Many: Leveraging Attention-head Embeddings for Parameter-efficient Multi-head Attention" (2023).

    q, k, v [B,T,D];  e^q, e^k, e^v [H,D]
    add:      q_i = q + e^q_i, k_i = k + e^k_i, v_i = v + e^v_i;  multiply: q_i = q * e^q_i and so on
    y_i = softmax(q_i k_i^T / sqrt D) v_i;  out = [y_1 .. y_H] W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, KeyValues, Operator, Site

Form = Literal["add", "multiply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, their width, and how the vectors act."""

    num_heads: int
    head_dim: int
    form: Form

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        if self.form not in get_args(Form):
            raise ArchError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}: change it")


class Mixer(Operator[Knobs]):
    """Runs as multi-query attention: what the vectors do to keys and values moves to queries and output."""

    knobs_type = Knobs
    suggested = {"form": get_args(Form)}
    projections = frozenset("o")

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        size = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        self.maps = nn.ModuleList(Elastic((size[1],), (site.embed_dim,)) for _ in "qkv")
        self.vectors = nn.ParameterDict()
        for form in sorted({one.form for one in choices}):
            self.vectors[form] = nn.Parameter(torch.randn(3, *size) + (1.0 if form == "multiply" else 0.0))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on one kv head."""
        q, k, v = self._projected(x, knobs)
        y = attention.dense(self._queries(q, knobs), k, v, is_causal=context.site.is_causal)
        return projections.output(self._valued(y, knobs), x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Every head with its own keys and values."""
        vectors = self._vectors(knobs).unsqueeze(2)
        named = zip(self._projected(x, knobs), vectors, strict=True)
        q, k, v = (part + vector if knobs.form == "add" else part * vector for part, vector in named)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return projections.output(attention.reference(q, k, v, mask), x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is one head of k and v of all tokens so far."""
        q, k, v = self._projected(x, knobs)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        y = attention.decode(self._queries(q, knobs), k, v)
        return projections.output(self._valued(y, knobs), x.shape[-1]), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        _, k, v = self._projected(x, knobs)
        return k, v

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Three maps of one head, one of all."""
        heads, width = knobs.num_heads, knobs.head_dim
        maps = (3 + heads) * width * site.embed_dim
        return Cost(
            params=maps + 3 * heads * width,
            flops=2 * site.tokens * maps + 4 * heads * width * site.tokens**2,
            kv_cache_bytes=8 * width * site.tokens,
            pairs=site.allowed_pairs,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, for all heads together too."""
        return knobs.head_dim

    def _vectors(self, knobs: Knobs) -> Tensor:
        vectors: Tensor = self.vectors[knobs.form]
        return vectors[:, : knobs.num_heads, : knobs.head_dim]

    def _queries(self, q: Tensor, knobs: Knobs) -> Tensor:
        """`[B, H, T, D]`; a vector added to keys shifts all scores of a query alike, which a softmax does not see."""
        vectors = self._vectors(knobs).unsqueeze(2)
        return q + vectors[0] if knobs.form == "add" else q * (vectors[0] * vectors[1])

    def _valued(self, y: Tensor, knobs: Knobs) -> Tensor:
        """Weights sum to one, so what is added to values is added to the output."""
        value: Tensor = self._vectors(knobs)[2].unsqueeze(1)
        return y + value if knobs.form == "add" else y * value

    def _projected(self, x: Tensor, knobs: Knobs) -> list[Tensor]:
        """q, k and v `[B, 1, T, D]`."""
        return [projection(x, knobs.head_dim).unsqueeze(1) for projection in self.maps]
