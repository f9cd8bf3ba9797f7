"""Static mixing of tokens: every head has a learned matrix or MLP over the positions, the same for all its channels.

"FaceLiVT: Face Recognition using Linear Vision Transformer with Structural Reparameterization For Mobile Device"
(2025), which calls it multi-head linear attention, and its second version with one matrix; after "MLP-Mixer" (2021).

    head i of C/H channels, X_i [T,C/H]:  Z_i = W_2i gelu(W_1i X_i + b_1i) + b_2i, W_1i [rT,T];  or Z_i = W_i X_i
    kept:      channel c H + i is channel c of head i and stays in its place, whatever the width and count of heads
    shuffled:  channel i C/H + c is, and becomes channel c H + i: the released code, which parts every width otherwise
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections, dealt, gathered
from nas.errors import ArchError
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site

Form = Literal["matrix", "mlp2", "mlp4"]
Order = Literal["kept", "shuffled"]
RATIOS = {"matrix": 0, "mlp2": 2, "mlp4": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, each with its own weights; one matrix, or an MLP with that many times as many hidden positions; and
    whether channels keep their order."""

    num_heads: int
    form: Form
    order: Order

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        if self.form not in get_args(Form):
            raise ArchError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}: change it")
        if self.order not in get_args(Order):
            raise ArchError(f"order must be one of {', '.join(get_args(Order))}; got {self.order!r}: change it")


class Mixer(Operator[Knobs]):
    """Products with no softmax between, quadratic in the tokens in time and in parameters: for small grids."""

    knobs_type = Knobs
    suggested = {"form": get_args(Form), "order": get_args(Order)}
    domains = frozenset(("image", "sequence"))
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        tokens = site.tokens
        single = [one.num_heads for one in choices if one.form == "matrix"]
        double = [one for one in choices if one.form != "matrix"]
        self.matrix = _weights(max(single), tokens, tokens) if single else None
        if double:
            heads, hidden = max(one.num_heads for one in double), max(RATIOS[one.form] for one in double) * tokens
            self.first, self.second = _weights(heads, hidden, tokens), _weights(heads, tokens, hidden)
            self.first_bias = nn.Parameter(torch.zeros(heads, hidden, 1))
            self.second_bias = nn.Parameter(torch.zeros(heads, tokens, 1))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Batched products."""
        heads = _shares(x, knobs)
        if knobs.form == "matrix" and self.matrix is not None:
            z = self.matrix[: knobs.num_heads] @ heads
        else:
            (first, bias), (second, shift) = self._layers(knobs, x.shape[1])
            z = second @ F.gelu(first @ heads + bias) + shift
        return gathered(z)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Head by head, channel by channel."""
        width, count, is_kept = x.shape[-1] // knobs.num_heads, knobs.num_heads, knobs.order == "kept"
        places = [(c * count + i if is_kept else i * width + c, i) for c in range(width) for i in range(count)]
        return torch.stack([self._column(x[..., place], i, knobs) for place, i in places], dim=-1)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every pair of tokens, once or twice r times."""
        ratio, pairs = RATIOS[knobs.form], site.tokens**2
        params = pairs if not ratio else 2 * ratio * pairs + (ratio + 1) * site.tokens
        return Cost(
            params=knobs.num_heads * params,
            flops=2 * pairs * site.embed_dim * max(1, 2 * ratio),
            kv_cache_bytes=4 * site.embed_dim * site.tokens,
            pairs=site.allowed_pairs,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The tokens: a static map of full rank."""
        return site.tokens

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Heads divide the channels."""
        if site.embed_dim % knobs.num_heads:
            raise ArchError(f"num_heads must divide the {site.embed_dim} channels, got {knobs.num_heads}: change one")

    def _layers(self, knobs: Knobs, tokens: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        heads, hidden = knobs.num_heads, RATIOS[knobs.form] * tokens
        first = self.first[:heads, :hidden], self.first_bias[:heads, :hidden]
        return first, (self.second[:heads, :, :hidden], self.second_bias[:heads])

    def _column(self, x: Tensor, head: int, knobs: Knobs) -> Tensor:
        """`[B, T]` of one channel."""
        if knobs.form == "matrix" and self.matrix is not None:
            return x @ self.matrix[head].T
        (first, bias), (second, shift) = self._layers(knobs, x.shape[1])
        return F.gelu(x @ first[head].T + bias[head, :, 0]) @ second[head].T + shift[head, :, 0]


def _shares(x: Tensor, knobs: Knobs) -> Tensor:
    """`[B, T, C] -> [B, H, T, C/H]`."""
    if knobs.order == "kept":
        return dealt(x, knobs.num_heads)
    return x.view(*x.shape[:2], knobs.num_heads, -1).transpose(1, 2)


def _weights(heads: int, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(heads, rows, columns) / math.sqrt(columns))
