"""Softmax attention under a fixed visibility rule: what window, neighbourhood and power-distance attention share."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention, visibility
from nas.kernels.visibility import Visibility
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

H = TypeVar("H", bound=HeadKnobs)


class Patterned(Operator[H]):
    """Masked attention without private parameters; a subclass states its rule twice, as a pattern and as a table."""

    publishes = KV

    def __init__(self, choices: Sequence[H], site: Site) -> None:
        super().__init__(choices, site)
        # cached now, since tensors have no values while a model is being exported
        for knobs in choices:
            self.pattern(knobs, site, site.tokens)

    @classmethod
    @abstractmethod
    def pattern(cls, knobs: H, site: Site, tokens: int) -> Visibility:
        """The rule for `tokens` tokens as block lists, cached, on the CPU."""

    @classmethod
    @abstractmethod
    def mask(cls, knobs: H, site: Site, tokens: int) -> Tensor:
        """The rule as bool `[tokens, tokens]`, built the obvious way."""

    @classmethod
    def cached_tokens(cls, knobs: H, site: Site) -> int:
        """Tokens whose keys and values decoding must keep."""
        return site.tokens

    def forward(self, x: Tensor, projections: Projections, knobs: H, context: Context) -> Tensor:
        """Gathered blocks or a dense mask, whichever the pattern's shape makes cheaper."""
        q, k, v = self._qkv(x, projections, knobs, context)
        pattern = placed(self.pattern(knobs, context.site, x.shape[1]), x.device)
        return projections.output(attention.sparse(q, k, v, pattern), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: H, context: Context) -> Tensor:
        """Explicit softmax under the table."""
        q, k, v = self._qkv(x, projections, knobs, context)
        mask = self.mask(knobs, context.site, x.shape[1]).to(x.device)
        return projections.output(attention.reference(q, k, v, mask), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: H, site: Site) -> Cost:
        """Flops of the pairs that the executor computes, padding included; `pairs` are the visible ones alone."""
        pattern = cls.pattern(knobs, site, site.tokens)
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * executed_pairs(pattern),
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * cls.cached_tokens(knobs, site),
            pairs=_visible_pairs(pattern),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: H, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _qkv(self, x: Tensor, projections: Projections, knobs: H, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        return qkv(x, projections, knobs, context if self.publishes else None)


def executed_pairs(pattern: Visibility) -> int:
    """Pairs per head that `attention.sparse` computes scores for, the padding of its blocks and lists included."""
    if visibility.prefers_gather(pattern):
        return pattern.num_blocks * pattern.lists.shape[3] * pattern.block_size**2
    return pattern.tokens**2


def build(tokens: int, block_size: int, predicate: visibility.Predicate, *, order: Tensor | None = None) -> Visibility:
    """The pattern of a predicate, whatever inference mode or default device the first caller is in."""
    with torch.inference_mode(False), torch.device("cpu"):
        return visibility.from_predicate(tokens, block_size, predicate, order=order)


def placed(pattern: Visibility, device: torch.device) -> Visibility:
    """The pattern on the device, moved there once."""
    return pattern if pattern.lists.device == device else _moved(pattern, device)


@lru_cache(maxsize=64)
def _moved(pattern: Visibility, device: torch.device) -> Visibility:
    with torch.inference_mode(False):
        return pattern.to(device)


@lru_cache(maxsize=256)
def _visible_pairs(pattern: Visibility) -> float:
    return visibility.pairs(pattern)
