"""Linear attention: feature maps make the softmax a product, so that keys and values sum into a state of fixed size.

"Transformers are RNNs" (2020) for the form and elu; "Simple linear attention language models balance the
recall-throughput tradeoff" (2024) for Taylor-2; "The Hedgehog and the Porcupine" (2024) for the learned map; "SLAY:
Geometry-Aware Spherical Linearized Attention with Yat-Kernel" (2026) for the spherical one.

    phi_q, phi_k [B,H,T,F] of the first r columns of q, k;  y_t = phi_q_t S_t / (phi_q_t . z_t);
    S_t = sum_s phi_k_s^T v_s [F,D], z_t = sum_s phi_k_s, over s <= t if causal, else over all s;  out = y W_o
    F is r for elu and relu, 1 + r + r^2 for taylor2, 64 for spherical and 2 r for hedgehog
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from nas.elastic import Projections, by_group
from nas.errors import ArchError
from nas.kernels import features, scan
from nas.kernels.attention import repeat_heads
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.recurrence import CHUNK_SIZE, decode, prefilled, scan_flops

HEDGEHOG = "hedgehog"
FIXED_MAPS: MappingProxyType[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"elu": features.elu_plus_one, "relu": features.relu, "taylor2": features.taylor2, "spherical": features.spherical}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, the feature map, and how many leading columns of each head's q and k it reads."""

    feature_map: str
    feature_dim: int

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        known = (*FIXED_MAPS, HEDGEHOG)
        if self.feature_map not in known:
            raise ArchError(f"feature_map must be one of {', '.join(known)}, got {self.feature_map!r}: choose another")
        if self.feature_dim > self.head_dim:
            raise ArchError(f"feature_dim must be at most head_dim ({self.head_dim}), got {self.feature_dim}: lower it")

    @property
    def num_features(self) -> int:
        """Width F of the mapped q and k."""
        name = {"elu": "elu_plus_one"}.get(self.feature_map, self.feature_map)
        return features.feature_dim(name, self.feature_dim)


class Mixer(Operator[Knobs]):
    """Normalised linear attention; only the Hedgehog map has parameters, one matrix per head for q and for k."""

    knobs_type = Knobs
    suggested = {"feature_map": ("taylor2", "hedgehog", "spherical", "elu", "relu"), "feature_dim": (16, 8)}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        learned = [knobs for knobs in choices if knobs.feature_map == HEDGEHOG]
        self.query_map = self.key_map = None
        if learned:
            width = max(knobs.feature_dim for knobs in learned)
            self.query_map = features.Hedgehog(max(knobs.num_heads for knobs in learned), width)
            self.key_map = features.Hedgehog(max(knobs.num_kv_heads for knobs in learned), width)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Chunked scan if causal, else two products."""
        phi_q, phi_k, v = self._mapped(x, projections, knobs)
        y = scan.linear_attention(
            phi_q, phi_k, v, is_causal=context.site.is_causal, normalize=True, chunk_size=CHUNK_SIZE
        )
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The T x T weights phi_q phi_k^T, masked and divided by their row sums."""
        phi_q, phi_k, v = self._mapped(x, projections, knobs)
        phi_k, v = repeat_heads(phi_k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        y = scan.quadratic(phi_q, phi_k, v, is_causal=context.site.is_causal, normalize=True)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: scan.State | None = None
    ) -> tuple[Tensor, scan.State]:
        """One decoded token; the state has the size of S and z whatever came before."""
        y, state = decode(*self._mapped(x, projections, knobs), state, normalize=True)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), state

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> scan.State:
        """S and z in one product."""
        _, phi_k, v = self._mapped(x, projections, knobs)
        return prefilled(phi_k, v)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Linear in the tokens; every allowed pair is mixed through the state."""
        heads, width = knobs.num_heads + knobs.num_kv_heads, knobs.num_features
        learned = heads * knobs.feature_dim**2 if knobs.feature_map == HEDGEHOG else 0
        flops = scan_flops(knobs, site.tokens, width, is_causal=site.is_causal, normalize=True)
        inner = Cost(
            params=learned,
            flops=flops + 2 * site.tokens * (learned + heads * cls._projected(knobs)),
            kv_cache_bytes=4 * knobs.num_kv_heads * width * (knobs.head_dim + 1),
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @staticmethod
    def _projected(knobs: Knobs) -> int:
        """Products per head and token with fixed directions."""
        if knobs.feature_map != "spherical":
            return 0
        return knobs.feature_dim * (features.ANCHORS + features.RANDOM)

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the feature maps, which bounds the rank of the T x T weights."""
        return knobs.num_features

    def _mapped(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv(x, projections, knobs)
        q, k = q[..., : knobs.feature_dim], k[..., : knobs.feature_dim]
        if knobs.feature_map != HEDGEHOG:
            fixed = FIXED_MAPS[knobs.feature_map]
            return fixed(q), fixed(k), v
        if self.query_map is None or self.key_map is None:
            raise LookupError("the operator was built without 'hedgehog' among its choices")
        stored = by_group(q, knobs.num_heads // knobs.num_kv_heads, dim=1)
        return by_group(self.query_map(stored), knobs.num_kv_heads, dim=1), self.key_map(k), v
