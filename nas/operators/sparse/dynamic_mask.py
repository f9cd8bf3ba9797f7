"""Each query attends to the visible keys whose values make them most important.

"Trainable Dynamic Mask Sparse Attention" (2025), the exponential form of its bias.

    dt_s = W_dt [v_s of all kv heads];  b_s = exp(A softplus(dt_s)), one per kv head;  W_dt [Hkv, Hkv D], A [Hkv]
    y_t = softmax(q_t k_s^T / sqrt D + b_s over the `keep` visible keys of greatest b) v;  out = y W_o

A starts at 0, where all keys are equally important: the choice is the last `keep` keys, a window, and with
keep >= T plain attention. The mask is chosen per kv head. The paper's cache holds every key; since importance does not
depend on the query, here it holds the `keep` that can still be chosen. Causal passes gain at 4096 tokens, with keep up
to 128; all other sites share one choice and gain from 512 tokens on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic
from nas.operators.contract import Cost, Site
from nas.operators.key_selection import KeySelection, SelectionKnobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(SelectionKnobs):
    """Heads and kept keys."""


class Mixer(KeySelection[Knobs]):
    """Content-based sparsity for a handful of weights."""

    knobs_type = Knobs
    suggested = {"keep": (256, 128, 64, 32)}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(knobs.num_kv_heads for knobs in choices)
        self.step_size = Elastic((heads,), (heads, max(knobs.head_dim for knobs in choices)))
        self.slope = nn.Parameter(torch.zeros(heads))

    def importance(self, x: Tensor, v: Tensor) -> Tensor:
        """exp(A softplus(W_dt v))."""
        steps: Tensor = self.step_size(v.transpose(1, 2), v.shape[1])
        return (self.slope[: v.shape[1]] * F.softplus(steps)).exp().transpose(1, 2)

    @classmethod
    def importance_cost(cls, knobs: Knobs, site: Site) -> Cost:
        """W_dt and A."""
        heads = knobs.num_kv_heads
        weights = heads**2 * knobs.head_dim
        return Cost(params=weights + heads, flops=2 * weights * site.tokens)
