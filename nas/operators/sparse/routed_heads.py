"""A router gives each sequence a few heads that see everything; the others see a window and the first tokens.

"Elastic Attention: Test-time Adaptive Sparsity Ratios for Efficient Transformers" (2026), with a fixed budget.

    P [B,Hkv,D] = mean key;  p = softmax(MLP_2(MLP_1(P)))_full, MLP_1 D -> 4D -> D, MLP_2 D -> 4D -> D -> 2, SiLU
    z = 1 for the num_full kv heads of greatest p, else 0;  in training the gradient of z is that of p
    y = z FullAttention + (1 - z) WindowAndFirst, one z for the query heads of a kv head;  out = y W_o
    training adds l_1 |s - t| + l_2 (s - t)^2, s = mean of 1 - p, t = 1 - num_full / Hkv, l_1 and l_2 by ascent

The paper lets every input have its own number of full heads, and its mean key is that of the prompt. Here the number is
the knob, so that time and memory are known, and causal sites take the mean of the first window_size + num_sink keys:
up to there both kinds of head see the same, so no later token enters a choice that matters. Training computes both
kinds for all heads, without the paper's Gumbel noise; evaluation computes what was chosen, which pays from about 2048
tokens on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, kv_state, projection_cost, qkv
from nas.operators.head_kinds import (
    Decided,
    decided,
    decoded,
    first_of,
    is_visible,
    joined,
    split,
    split_kv,
    visible_pairs,
    window_and_first,
)
from nas.operators.pattern import executed_pairs, placed

DecodeState = KeyValues | Decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, kv heads that see everything, the window of the others, and first tokens that these see as well."""

    num_full: int
    window_size: int
    num_sink: int = field(metadata={"least": 0})

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.num_full > self.num_kv_heads:
            most = f"num_kv_heads = {self.num_kv_heads}"
            raise ArchError(f"num_full must be at most {most}, got {self.num_full}: lower it")

    @property
    def seen(self) -> int:
        """Tokens that a head with a window keeps."""
        return self.window_size + self.num_sink

    def is_plain(self, tokens: int, *, is_causal: bool) -> bool:
        """Whether all heads see everything, chosen or not."""
        is_short = tokens <= self.seen if is_causal else self.window_size >= 2 * tokens
        return is_short or self.num_full == self.num_kv_heads


class Mixer(Operator[Knobs]):
    """Time and memory fall with the number of full heads."""

    knobs_type = Knobs
    suggested = {"num_full": (2, 1), "window_size": (128, 64, 32), "num_sink": (4, 1)}
    domains = frozenset(("sequence", "causal"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width = max(knobs.head_dim for knobs in choices)
        # cached now, since tensors have no values while a model is being exported
        for knobs in choices:
            _pattern(knobs, site.tokens, site.is_causal)
        self.widen = nn.ModuleList(Elastic((4, width), (width,)) for _ in range(2))
        self.narrow = nn.ModuleList(Elastic((width,), (4, width)) for _ in range(2))
        self.choice = Elastic((2,), (width,))
        self.multipliers = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Full heads through SDPA, the others by gathered blocks or a dense mask; both for all heads in training."""
        q, k, v = qkv(x, projections, knobs)
        is_causal = context.site.is_causal
        if knobs.is_plain(x.shape[1], is_causal=is_causal):
            y = attention.dense(q, k, v, is_causal=is_causal)
        elif self.training and torch.is_grad_enabled():
            z = self._choice(k, knobs, context)
            y = z * attention.dense(q, k, v, is_causal=is_causal) + (1 - z) * _near(q, k, v, knobs, is_causal)
        else:
            order = first_of(self._chances(k, knobs, is_causal), knobs.num_full)
            full_q, near_q = split(q, order, knobs.num_full)
            full_k, full_v, near_k, near_v = split_kv(k, v, order, knobs.num_full)
            full = attention.dense(full_q, full_k, full_v, is_causal=is_causal)
            y = joined(full, _near(near_q, near_k, near_v, knobs, is_causal), order)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Both kinds explicitly for all heads."""
        q, k, v = qkv(x, projections, knobs)
        is_causal, position = context.site.is_causal, torch.arange(x.shape[1], device=x.device)
        allowed = position <= position.view(-1, 1) if is_causal else None
        y = attention.reference(q, k, v, allowed)
        if not knobs.is_plain(x.shape[1], is_causal=is_causal):
            sizes = knobs.window_size, knobs.num_sink
            mask = is_visible(position.view(-1, 1), position, *sizes, is_causal=is_causal)
            z = self._choice(k, knobs, context)
            y = z * y + (1 - z) * attention.reference(q, k, v, mask)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: DecodeState | None = None
    ) -> tuple[Tensor, DecodeState]:
        """One decoded token; the state is k and v of full heads, those of the others, and the heads' order.

        Until there are more tokens than a window keeps, it is k and v of all heads.
        """
        q, k, v = qkv(x, projections, knobs)
        if state is not None and not isinstance(state, Decided):
            if knobs.is_plain(state[0].shape[2] + 1, is_causal=True):
                k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
            else:
                state = self._decided(*state, knobs)
        if isinstance(state, Decided):
            y, state = decoded(q, k, v, state, (knobs.num_sink, knobs.window_size))
            return projections.output(y, x.shape[-1], knobs.num_kv_heads), state
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> DecodeState:
        """k and v by kind of head once there are more tokens than a window keeps."""
        k, v = kv_state(x, projections, knobs)
        return (k, v) if knobs.is_plain(x.shape[1], is_causal=True) else self._decided(k, v, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """What evaluation computes and keeps, with the order of the heads as 32-bit numbers."""
        if knobs.is_plain(site.tokens, is_causal=site.is_causal):
            return _cost_of(knobs, site, full=knobs.num_kv_heads, executed=0, visible=0.0)
        pattern = _pattern(knobs, site.tokens, site.is_causal)
        return _cost_of(
            knobs, site, full=knobs.num_full, executed=executed_pairs(pattern), visible=visible_pairs(pattern)
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _chances(self, k: Tensor, knobs: Knobs, is_causal: bool) -> Tensor:
        """p `[B, Hkv]` of keys `[B, Hkv, T, D]`."""
        width, x = k.shape[3], (k[:, :, : knobs.seen] if is_causal else k).mean(2)
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            x = narrow(F.silu(widen(x, 4, width)), width)
        chances: Tensor = self.choice(x, 2).softmax(-1)[..., 0]
        return chances

    def _choice(self, k: Tensor, knobs: Knobs, context: Context) -> Tensor:
        """z `[B, Hq, 1, 1]` with the gradient of p; the budget's penalty goes to the context."""
        chances = self._chances(k, knobs, context.site.is_causal)
        z = torch.zeros_like(chances).scatter(-1, chances.topk(knobs.num_full).indices, 1.0)
        if self.training:
            context.penalties.append(self._penalty(chances, knobs))
            z = z + (chances - chances.detach())
        return attention.repeat_heads(z, knobs.num_heads)[..., None, None]

    def _penalty(self, chances: Tensor, knobs: Knobs) -> Tensor:
        excess = knobs.num_full / knobs.num_kv_heads - chances.mean()
        terms = torch.stack((excess.abs(), excess**2))
        # the value of l . terms: descent on the terms, ascent on l
        fixed = self.multipliers.detach()
        return (fixed * terms + (fixed - self.multipliers) * terms.detach()).sum()

    def _decided(self, k: Tensor, v: Tensor, knobs: Knobs) -> Decided:
        """k and v of all T >= seen tokens by kind of head."""
        order = first_of(self._chances(k, knobs, is_causal=True), knobs.num_full)
        return decided(k, v, order, knobs.num_full, (knobs.num_sink, knobs.window_size))


def _near(q: Tensor, k: Tensor, v: Tensor, knobs: Knobs, is_causal: bool) -> Tensor:
    return attention.sparse(q, k, v, placed(_pattern(knobs, q.shape[2], is_causal), q.device))


def _pattern(knobs: Knobs, tokens: int, is_causal: bool) -> Visibility:
    return window_and_first(tokens, knobs.window_size, knobs.num_sink, is_causal=is_causal)


def _cost_of(knobs: Knobs, site: Site, *, full: int, executed: int, visible: float) -> Cost:
    width, kv_heads, tokens = knobs.head_dim, knobs.num_kv_heads, site.tokens
    near, weights = kv_heads - full, 16 * width**2 + 2 * width
    kept = full * tokens + near * (min(tokens, knobs.seen) if site.is_causal else tokens)
    attended = 4 * (knobs.num_heads // kv_heads) * width * (full * tokens**2 + near * executed)
    inner = Cost(
        params=weights + 2,
        flops=attended + (2 * kv_heads * weights if near else 0),
        kv_cache_bytes=8 * width * kept + (4 * kv_heads if near and site.is_causal else 0),
        pairs=(full * site.allowed_pairs + near * visible) / kv_heads,
    )
    return projection_cost(knobs, site) + inner
