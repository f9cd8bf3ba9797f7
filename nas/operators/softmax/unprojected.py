"""Softmax attention without a map for values, or for keys and values: heads read their slice of the input itself.

"You Need to Pay Better Attention" (2024): its optimised, efficient and super attention. A restriction of multi-head
attention (W_v or W_k fixed to the identity), not another way to write it.

    x_i [B,T,C/H] the i-th share of the channels, every H-th of them;  q_i = (x W_q)_i
    no_value:     y_i = softmax(q_i k_i^T / sqrt(C/H)) x_i,  k_i = (x W_k)_i
    no_key_value: y_i = softmax(q_i x_i^T / sqrt(C/H)) x_i
    mixed_values: y_i = softmax(q_i x_i^T / sqrt(C/H)) A x_i,  A [T,T], lower triangular if causal
    out = [y_1 .. y_H] W
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, dealt, gathered
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, KeyValues, Operator, Site

Form = Literal["no_value", "no_key_value", "mixed_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, which share the channels, and which maps there are."""

    num_heads: int
    form: Form

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        if self.form not in get_args(Form):
            raise ArchError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}: change it")


class Mixer(Operator[Knobs]):
    """Full attention with fewer projections; a token is kept once where key and value are the same."""

    knobs_type = Knobs
    suggested = {"form": get_args(Form)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width, forms = site.embed_dim, {one.form for one in choices}
        self.q, self.o = Elastic((width,), (width,)), Elastic((width,), (width,))
        self.k = Elastic((width,), (width,)) if "no_value" in forms else None
        eye = torch.eye(site.tokens) if "mixed_values" in forms else None
        self.mix = None if eye is None else nn.Parameter(eye)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA."""
        y = attention.dense(*self._qkv(x, knobs, context), is_causal=context.site.is_causal)
        return self._output(y)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax."""
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return self._output(attention.reference(*self._qkv(x, knobs, context), mask))

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is the keys, which are the inputs but for `no_value`, and other values."""
        seen = x if state is None else torch.cat((_inputs(state, knobs), x), dim=1)
        q, k, _ = self._qkv(x, knobs, context)
        keys = k if knobs.form == "no_value" else _heads(seen, knobs)
        if knobs.form == "no_value" and state is not None:
            keys = torch.cat((state[0], k), dim=2)
        values = self._value(seen, x, knobs, state)
        kept = (keys, values) if knobs.form != "no_key_value" else (keys, keys[:, :, :0])
        return self._output(attention.decode(q, keys, values if knobs.form != "no_key_value" else keys)), kept

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """Keys and values of the tokens, as steps leave them."""
        _, k, v = (part.contiguous() for part in self._qkv(x, knobs, context))
        return (k, v) if knobs.form != "no_key_value" else (k, k[:, :, :0])

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """A square map less for each that is left out; A's products count in full."""
        width, tokens = site.embed_dim, site.tokens
        maps, is_mixed = 3 if knobs.form == "no_value" else 2, knobs.form == "mixed_values"
        return Cost(
            params=maps * width**2 + (tokens**2 if is_mixed else 0),
            flops=2 * maps * tokens * width**2 + (6 if is_mixed else 4) * width * tokens**2,
            kv_cache_bytes=4 * width * tokens * (1 if knobs.form == "no_key_value" else 2),
            pairs=site.allowed_pairs,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of a head."""
        return site.embed_dim // knobs.num_heads

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Heads divide the channels."""
        if site.embed_dim % knobs.num_heads:
            raise ArchError(f"num_heads must divide the {site.embed_dim} channels, got {knobs.num_heads}: change one")

    def _qkv(self, x: Tensor, knobs: Knobs, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        width, own = x.shape[-1], _heads(x, knobs)
        q = _heads(self.q(x, width), knobs)
        k = _heads(self.k(x, width), knobs) if knobs.form == "no_value" and self.k is not None else own
        if knobs.form != "mixed_values" or self.mix is None:
            return q, k, own
        mix = self.mix[: x.shape[1], : x.shape[1]]
        return q, k, (mix.tril() if context.site.is_causal else mix) @ own

    def _value(self, seen: Tensor, x: Tensor, knobs: Knobs, state: KeyValues | None) -> Tensor:
        """Values of all tokens so far; those of a mixture are fixed once their token has come."""
        own = _heads(x, knobs)
        if knobs.form == "mixed_values" and self.mix is not None:
            at = seen.shape[1] - 1
            own = (self.mix[at, : at + 1] @ _heads(seen, knobs)).unsqueeze(2)
        return own if state is None or knobs.form == "no_key_value" else torch.cat((state[1], own), dim=2)

    def _output(self, y: Tensor) -> Tensor:
        merged = gathered(y)
        out: Tensor = self.o(merged, merged.shape[-1])
        return out


def _heads(x: Tensor, knobs: Knobs) -> Tensor:
    """`[B, T, C] -> [B, H, T, C/H]`."""
    return dealt(x, knobs.num_heads)


def _inputs(state: KeyValues, knobs: Knobs) -> Tensor:
    """The tokens so far; of `no_value` those are its values."""
    return gathered(state[1 if knobs.form == "no_value" else 0])
