"""Exact attention nearby and linear attention everywhere, on the same queries, keys and values.

"Simple linear attention language models balance the recall-throughput tradeoff" (2024, Based) alternates layers of both
kinds; here they are two branches of one layer with a gain per head each, as in "Hymba" (2024).

    near = softmax attention over the nearest w keys [B,H,T,D];  far = Taylor-2 linear attention on r columns of q, k
    out = (g_near near + g_far far) W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention, features, scan
from nas.operators.contract import Context, Cost, Operator, Site, kv_state, of_heads, projection_cost, qkv
from nas.operators.pattern import executed_pairs, placed
from nas.operators.recurrence import CHUNK_SIZE, decode, prefilled, scan_flops
from nas.operators.sparse import window

DecodeState = tuple[scan.State, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(window.Knobs):
    """Heads, the window, and the columns of q and k that the linear branch reads."""

    feature_dim: int

    def __post_init__(self) -> None:
        window.Knobs.__post_init__(self)
        if self.feature_dim > self.head_dim:
            raise ArchError(f"feature_dim must be at most head_dim ({self.head_dim}), got {self.feature_dim}: lower it")

    @property
    def num_features(self) -> int:
        """Width F of the mapped q and k."""
        return features.feature_dim("taylor2", self.feature_dim)


class Mixer(Operator[Knobs]):
    """The window by blocks, the rest by a scan; a branch with gain zero is not there."""

    knobs_type = Knobs
    suggested = {"window_size": (128, 64, 32), "feature_dim": (16, 8)}
    domains = frozenset(("sequence", "causal"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        # cached now, since tensors have no values while a model is being exported
        for knobs in choices:
            window.Mixer.pattern(knobs, site, site.tokens)
        # near and far, half and half
        self.gains = nn.Parameter(torch.full((2, max(knobs.num_heads for knobs in choices)), 0.5))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Gathered blocks or a dense mask, and a chunked scan."""
        q, k, v = qkv(x, projections, knobs)
        pattern = placed(window.Mixer.pattern(knobs, context.site, x.shape[1]), x.device)
        near = attention.sparse(q, k, v, pattern)
        phi_q, phi_k = _mapped(q, k, knobs)
        far = scan.linear_attention(
            phi_q, phi_k, v, is_causal=context.site.is_causal, normalize=True, chunk_size=CHUNK_SIZE
        )
        return projections.output(self._blend(near, far, knobs), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax under the band and explicit T x T weights."""
        q, k, v = qkv(x, projections, knobs)
        mask = window.Mixer.mask(knobs, context.site, x.shape[1]).to(x.device)
        near = attention.reference(q, k, v, mask)
        phi_q, phi_k = _mapped(q, k, knobs)
        phi_k, v = (attention.repeat_heads(part, knobs.num_heads) for part in (phi_k, v))
        far = scan.quadratic(phi_q, phi_k, v, is_causal=context.site.is_causal, normalize=True)
        return projections.output(self._blend(near, far, knobs), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: DecodeState | None = None
    ) -> tuple[Tensor, DecodeState]:
        """One decoded token; the state is that of the linear branch and k, v of the last window."""
        total, window_kv = (None, None) if state is None else (state[0], state[1:])
        q, k, v = qkv(x, projections, knobs, cache=window_kv)
        far, total = decode(*_mapped(q, k[:, :, -1:], knobs), v[:, :, -1:], total, normalize=True)
        k, v = k[:, :, -knobs.window_size :], v[:, :, -knobs.window_size :]
        near = attention.decode(q, k, v)
        return projections.output(self._blend(near, far, knobs), x.shape[-1], knobs.num_kv_heads), (total, k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> DecodeState:
        """The state of the linear branch in one product, and k, v of the last window."""
        _, k, v = qkv(x, projections, knobs)
        window_kv = kv_state(x[:, -knobs.window_size :], projections, knobs)
        return prefilled(_features(k, knobs), v), *window_kv

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Both branches; every allowed pair is mixed by the linear one."""
        width = knobs.head_dim
        near = 4 * knobs.num_heads * width * executed_pairs(window.Mixer.pattern(knobs, site, site.tokens))
        far = scan_flops(knobs, site.tokens, knobs.num_features, is_causal=site.is_causal, normalize=True)
        kept = knobs.num_features * (width + 1) + 2 * min(knobs.window_size, site.tokens) * width
        inner = Cost(
            params=2 * knobs.num_heads,
            flops=near + far,
            kv_cache_bytes=4 * knobs.num_kv_heads * kept,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the feature map, which all that is beyond the window goes through."""
        return knobs.num_features

    def _blend(self, near: Tensor, far: Tensor, knobs: Knobs) -> Tensor:
        gains = of_heads(self.gains.T, knobs).T[..., None, None]
        return gains[0] * near + gains[1] * far


def _mapped(q: Tensor, k: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor]:
    return _features(q, knobs), _features(k, knobs)


def _features(x: Tensor, knobs: Knobs) -> Tensor:
    return features.taylor2(x[..., : knobs.feature_dim])
