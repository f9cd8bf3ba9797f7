"""Each token says how long it stays visible: for good, until the next such token, or for a window.

"Neural Attention Search" (NAtS, 2025).

    type of token s and kv head = argmax of W_t x_s [3] among global, local, sliding;  the first token is global
    s visible to t >= s iff  global_s  or  local_s and no token of [s, t) is global  or  sliding_s and t - s <= w
    m_ts = 1 where visible, else 0;  y_t = sum_s m_ts e^(q_t k_s / sqrt D) v_s / sum_s m_ts e^(q_t k_s / sqrt D)
    out = y W_o;  W_t [Hkv, 3, C], w = window_size;  training adds 0.01 times the share of global tokens

The gradient of m reaches W_t as if the choice were the softmax of its logits, without the paper's Gumbel noise;
invisible pairs have one, too, so training takes explicit weights. How much is visible depends on the input. So nothing
is saved beforehand: a whole pass has the flops of full attention and twice its time at 1024 tokens, and decoding keeps
every key, with its type.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

GLOBAL, LOCAL, SLIDING = range(3)
ALL, WITHOUT_LOCAL = "global_local_sliding", "global_sliding"
PENALTY_WEIGHT = 0.01
DecodeState = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, steps that a sliding token stays visible, and the types that tokens may have."""

    window_size: int
    types: str

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.types not in (ALL, WITHOUT_LOCAL):
            raise ArchError(f"types must be {ALL} or {WITHOUT_LOCAL}, got {self.types!r}: change it")


class Mixer(Operator[Knobs]):
    """A mask that tokens choose; only global ones make it full causal attention."""

    knobs_type = Knobs
    suggested = {"window_size": (128, 64, 32, 16), "types": (ALL, WITHOUT_LOCAL)}
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.types = Elastic((max(knobs.num_kv_heads for knobs in choices), 3), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA under the mask, or explicit weights where the types learn."""
        q, k, v = qkv(x, projections, knobs)
        types = self._types(x, knobs, context)
        if self.training and torch.is_grad_enabled():
            y = _weighted(q, k, v, _mask(types, knobs))
        else:
            mask = attention.repeat_heads(_visible(types, knobs), knobs.num_heads)
            y = attention.dense(q, k, v, mask=mask)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Query by query; what a token still sees is followed step by step."""
        q, k, v = qkv(x, projections, knobs)
        types = self._types(x, knobs, context)
        k, v = attention.repeat_heads(k, knobs.num_heads), attention.repeat_heads(v, knobs.num_heads)
        is_open, outputs = torch.zeros_like(types[..., 0]), []
        for t in range(x.shape[1]):
            is_open = torch.cat((is_open[..., :t], torch.ones_like(is_open[..., :1])), dim=-1)
            near = (t - torch.arange(t + 1, device=x.device) <= knobs.window_size).to(x.dtype)
            terms = torch.stack((torch.ones_like(is_open), is_open, near.expand_as(is_open)), dim=-1)
            visible = attention.repeat_heads((types[:, :, : t + 1] * terms).sum(-1), knobs.num_heads)
            scores = (q[:, :, t : t + 1] @ k[:, :, : t + 1].transpose(-1, -2)).squeeze(2) / math.sqrt(knobs.head_dim)
            weights = visible * scores.softmax(-1)
            outputs.append((weights / weights.sum(-1, keepdim=True)).unsqueeze(2) @ v[:, :, : t + 1])
            is_open = is_open * (1 - types[:, :, t : t + 1, GLOBAL].detach())
        return projections.output(torch.cat(outputs, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: DecodeState | None = None
    ) -> tuple[Tensor, DecodeState]:
        """One decoded token; the state is k, v and the type of every token, `[B, Hkv, T]` as 32-bit numbers."""
        q, k, v = qkv(x, projections, knobs, cache=None if state is None else state[:2])
        types = self._chosen(self._logits(x, knobs), is_start=state is None)
        types = types if state is None else torch.cat((state[2], types), dim=2)
        age = torch.arange(types.shape[2], device=x.device).flip(0)
        is_global = types == GLOBAL
        since = is_global.int().flip(-1).cumsum(-1).flip(-1) - (is_global[..., -1:]).int()
        visible = is_global | ((types == LOCAL) & (since == 0)) | ((types == SLIDING) & (age <= knobs.window_size))
        visible[..., -1] = True
        mask = attention.repeat_heads(visible.unsqueeze(2), knobs.num_heads)
        return projections.output(attention.decode(q, k, v, mask=mask), x.shape[-1], knobs.num_kv_heads), (k, v, types)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> DecodeState:
        """k, v and type of the tokens."""
        _, k, v = qkv(x, projections, knobs)
        return k.contiguous(), v.contiguous(), self._chosen(self._logits(x, knobs), is_start=True)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Full attention and W_t; `pairs` are those of global tokens alone, the most there can be."""
        weights = 3 * knobs.num_kv_heads * site.embed_dim
        inner = Cost(
            params=weights,
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2 + 2 * weights * site.tokens,
            kv_cache_bytes=4 * knobs.num_kv_heads * (2 * knobs.head_dim + 1) * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _logits(self, x: Tensor, knobs: Knobs) -> Tensor:
        """`[B, Hkv, T, 3]`; types that are not offered have none."""
        logits: Tensor = self.types(x, knobs.num_kv_heads, 3).transpose(1, 2)
        barred = torch.arange(3, device=x.device) == (LOCAL if knobs.types == WITHOUT_LOCAL else -1)
        return logits.masked_fill(barred, -torch.inf)

    def _chosen(self, logits: Tensor, *, is_start: bool) -> Tensor:
        """Types `[B, Hkv, T]`."""
        types = logits.argmax(-1)
        is_first = torch.arange(types.shape[2], device=types.device) == (0 if is_start else -1)
        return types.masked_fill(is_first, GLOBAL).int()

    def _types(self, x: Tensor, knobs: Knobs, context: Context) -> Tensor:
        """One of three, `[B, Hkv, T, 3]`, in training with the gradient of the softmax and the penalty."""
        logits = self._logits(x, knobs)
        chosen = self._chosen(logits, is_start=True).unsqueeze(-1) == torch.arange(3, device=x.device)
        if not self.training:
            return chosen.to(x.dtype)
        soft = logits.softmax(-1)
        types = chosen.to(x.dtype) + (soft - soft.detach())
        context.penalties.append(PENALTY_WEIGHT * types[..., GLOBAL].mean())
        return types


def _visible(types: Tensor, knobs: Knobs) -> Tensor:
    """Where m is 1, bool `[B, Hkv, T, T]`, by the last query that sees each token."""
    tokens = types.shape[2]
    position = torch.arange(tokens, device=types.device)
    following = _next_global(types[..., GLOBAL] > 0)
    last = torch.where(types[..., SLIDING] > 0, position + knobs.window_size, following)
    last = torch.where(types[..., GLOBAL] > 0, tokens, last).int()
    query = position.int().unsqueeze(-1)
    return (query <= last.unsqueeze(-2)) & (query >= position.int())


def _next_global(is_global: Tensor) -> Tensor:
    """Place of the first global token from each token on, `[..., T]`, T where there is none."""
    tokens = is_global.shape[-1]
    count = is_global.long().cumsum(-1)
    # places by rank; what is not global goes to a slot that nobody reads
    table = torch.full((*is_global.shape[:-1], tokens + 2), tokens, dtype=torch.long, device=is_global.device)
    place = torch.arange(tokens, device=is_global.device).expand_as(count)
    table = table.scatter(-1, torch.where(is_global, count - 1, tokens + 1), place)
    return table.gather(-1, count - is_global.long())


def _mask(types: Tensor, knobs: Knobs) -> Tensor:
    """m `[B, Hkv, T, T]` of types `[B, Hkv, T, 3]`."""
    position = torch.arange(types.shape[2], device=types.device)
    age = position.unsqueeze(-1) - position
    before = types[..., GLOBAL].detach().cumsum(-1) - types[..., GLOBAL].detach()
    is_open = (before.unsqueeze(-1) - before.unsqueeze(-2)).abs() < 0.5
    kinds = types.unsqueeze(-3).unbind(-1)
    mask = kinds[GLOBAL] + kinds[LOCAL] * is_open + kinds[SLIDING] * (age <= knobs.window_size)
    return mask * (age >= 0)


def _weighted(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention with factors on the weights, which have a gradient where they are 0, too."""
    k, v, mask = (attention.repeat_heads(part, q.shape[1]) for part in (k, v, mask))
    later = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = mask * scores.masked_fill(later, -torch.inf).softmax(-1)
    # the token itself is visible, but its weight may be too small for float32
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-12) @ v
