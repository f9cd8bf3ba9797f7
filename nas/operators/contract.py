"""What every operator (kind of token mixing) is: typed knobs, a mixer with its private parameters, and its cost."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from nas.arch import Knob, OperatorArch
from nas.elastic import Projections, by_group
from nas.errors import ArchError
from nas.shapes import Domain

ANYWHERE: frozenset[Domain] = frozenset(("image", "sequence", "causal"))
QKVO = frozenset("qkvo")
KV = frozenset(("k", "v"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Base of an operator's knobs: fields are the elastic sizes, `__post_init__` holds the legality rules.

    Fields of type int are whole numbers from 1, or from `least` in the field's metadata.
    """

    def __post_init__(self) -> None:
        for knob in fields(self):
            value, least = getattr(self, knob.name), knob.metadata.get("least", 1)
            if knob.type is int and (type(value) is not int or value < least):
                raise ArchError(f"{knob.name} must be a whole number of at least {least}, got {value!r}: change it")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKnobs(Knobs):
    """Knobs of an operator on shared q, k, v heads: equal counts are MHA, one kv head MQA, between GQA."""

    num_heads: int
    num_kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        Knobs.__post_init__(self)
        if self.num_heads % self.num_kv_heads:
            raise ArchError(
                f"num_kv_heads must divide num_heads, got {self.num_kv_heads} and {self.num_heads}: change one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualHeadKnobs(Knobs):
    """Knobs of an operator on shared q, k, v heads that has as many kv heads as query heads."""

    num_heads: int
    head_dim: int

    @property
    def heads(self) -> HeadKnobs:
        """The same, counting both."""
        return HeadKnobs(num_heads=self.num_heads, num_kv_heads=self.num_heads, head_dim=self.head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a mixer sits: width, tokens, the grid they form (or None), the domain, the block's index in its stage."""

    embed_dim: int
    tokens: int
    domain: Domain
    grid: tuple[int, int] | None = None
    index: int = 0

    @property
    def is_causal(self) -> bool:
        """Whether a token may only see itself and earlier ones."""
        return self.domain == "causal"

    @property
    def allowed_pairs(self) -> int:
        """(query, key) pairs that full attention visits."""
        return self.tokens * (self.tokens + 1) // 2 if self.is_causal else self.tokens**2


@dataclass(frozen=True, slots=True)
class Context:
    """What travels with one forward pass: the site, what earlier blocks published, and training penalties.

    `published` is made anew for each stage and `penalties` for each forward pass of the network; nothing outlives it.
    In a decoding step `published` holds what a whole forward pass over the tokens so far would have published.
    """

    site: Site
    published: dict[str, Tensor] = field(default_factory=dict)
    penalties: list[Tensor] = field(default_factory=list)
    """Scalar losses of operators that have one, such as load balance, added to the training loss."""
    entered: Tensor | None = None
    """What the block's mixer read, `[B, T, C]`, for gates that weigh its output against it."""

    def read(self, name: str) -> Tensor:
        """What the nearest earlier block published under the name; `ArchError` if none did."""
        if name not in self.published:
            raise ArchError(
                f"an operator reads only what an earlier block of its stage published, {name!r} is not among "
                f"{sorted(self.published)}: put an operator that publishes it in front"
            )
        return self.published[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Closed-form cost of one sample; flops count matrix products, convolutions and attention, multiply-add = 2.

    `kv_cache_bytes` is what decoding must keep at the site's length in float32; `pairs` are visited (query, key) pairs
    of one head, averaged over heads.
    """

    params: int = 0
    flops: int = 0
    kv_cache_bytes: int = 0
    pairs: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            params=self.params + other.params,
            flops=self.flops + other.flops,
            kv_cache_bytes=self.kv_cache_bytes + other.kv_cache_bytes,
            pairs=self.pairs + other.pairs,
        )


K = TypeVar("K", bound=Knobs)
KeyValues = tuple[Tensor, Tensor]
"""k and v, `[B, Hkv, T, D]` each: the decoding state of operators that keep those of every token."""


class Operator(nn.Module, Generic[K]):
    """A token mixer. The block owns the shared projections and hands them over; nothing here says which arch is active.

    Built from all the knob values its block may take (`choices`), so that private parameters have the largest size and
    every subnet is a leading corner of them.
    """

    knobs_type: ClassVar[type[Knobs]]
    domains: ClassVar[frozenset[Domain]] = ANYWHERE
    projections: ClassVar[frozenset[str]] = QKVO
    publishes: ClassVar[frozenset[str]] = frozenset()
    """Names of the tensors that it leaves in `context.published` for later blocks of the stage."""
    consumes: ClassVar[frozenset[str]] = frozenset()
    """Names that it reads there; `can_follow` says from which operators."""
    suggested: ClassVar[Mapping[str, Sequence[Knob]]] = MappingProxyType({})
    """Values worth searching of every knob but heads and their width, the most costly first."""

    def __init__(self, choices: Sequence[K], site: Site) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, projections: Projections, knobs: K, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]` by the fast path."""

    @abstractmethod
    def reference(self, x: Tensor, projections: Projections, knobs: K, context: Context) -> Tensor:
        """The same by the slow, obvious way."""

    def inherit(self, projections: Projections) -> None:
        """Sets private parameters from trained q, k, v and o, where the operator can be had from those; by default
        they stay."""

    @classmethod
    @abstractmethod
    def cost(cls, knobs: K, site: Site) -> Cost:
        """Cost of the whole mixer with the projections that it uses."""

    @classmethod
    @abstractmethod
    def rank(cls, knobs: K, site: Site) -> int:
        """Width of the narrowest linear bottleneck that the token mixing goes through."""

    @classmethod
    def check(cls, knobs: K, site: Site) -> None:
        """Raises `ArchError` where the knobs do not fit the site; by default everything fits."""

    @classmethod
    def can_follow(cls, knobs: K, earlier: Sequence[OperatorArch]) -> bool:
        """Whether the operator works after these of its stage: the rule of those that consume published tensors."""
        return True

    @classmethod
    def sparsity(cls, knobs: K, site: Site) -> float:
        """Share of the allowed (query, key) pairs that are not visited, from the pattern itself."""
        return 1.0 - cls.cost(knobs, site).pairs / site.allowed_pairs

    def step(
        self, x: Tensor, projections: Projections, knobs: K, context: Context, state: Any = None
    ) -> tuple[Tensor, Any]:
        """One decoded token `[B, 1, C]` and the new state; by default the state is the inputs so far.

        Right for every causal operator, what it publishes included; those with a real cache override it, and those
        that publish then publish that whole cache. States are pytrees of tensors and None.
        """
        seen = x if state is None else torch.cat((state, x), dim=1)
        return self(seen, projections, knobs, context)[:, -1:], seen

    def prefill(self, x: Tensor, projections: Projections, knobs: K, context: Context) -> Any:
        """The state that steps over the tokens `[B, T, C]`, T >= 1, would leave; publishes what the last would have.

        By default those steps one by one, or at once where `step` is the default. An operator that consumes and has a
        step of its own overrides it: single steps would read what was published for all T tokens.
        """
        if type(self).step is Operator.step:
            if self.publishes:
                self(x, projections, knobs, context)
            return x
        state = None
        for token in torch.split(x, 1, dim=1):
            _, state = self.step(token, projections, knobs, context, state)
        return state


def projection_cost(knobs: HeadKnobs, site: Site, parts: frozenset[str] = QKVO) -> Cost:
    """Parameters and flops of the shared projections `parts` at these heads."""
    heads = sum(knobs.num_heads for part in "qo" if part in parts)
    heads += sum(knobs.num_kv_heads for part in "kv" if part in parts)
    params = heads * knobs.head_dim * site.embed_dim
    return Cost(params=params, flops=2 * params * site.tokens)


def qkv(
    x: Tensor,
    projections: Projections,
    knobs: HeadKnobs,
    publish_in: Context | None = None,
    *,
    cache: KeyValues | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """q `[B, Hq, T, D]`, k and v `[B, Hkv, T, D]` of the shared projections; k and v are published if told where.

    In a step k and v are those of all S earlier tokens in the `cache` and of x, `[B, Hkv, S + T, D]`.
    """
    k, v = _kv(x, projections, knobs)
    if cache is not None:
        k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
    if publish_in is not None:
        publish_in.published.update(k=k, v=v)
    return projections.query(x, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads), k, v


def of_heads(own: Tensor, knobs: HeadKnobs) -> Tensor:
    """What an operator owns of each head, `[most heads, ...]`: that of as many as it has, in the order of q's."""
    return by_group(own[: knobs.num_heads], knobs.num_kv_heads)


def kv_state(x: Tensor, projections: Projections, knobs: HeadKnobs, publish_in: Context | None = None) -> KeyValues:
    """k and v of the tokens as steps with a `cache` leave them, in memory too; published if told where."""
    k, v = (part.contiguous() for part in _kv(x, projections, knobs))
    if publish_in is not None:
        publish_in.published.update(k=k, v=v)
    return k, v


def _kv(x: Tensor, projections: Projections, knobs: HeadKnobs) -> KeyValues:
    k = projections.key(x, knobs.num_kv_heads, knobs.head_dim)
    return k, projections.value(x, knobs.num_kv_heads, knobs.head_dim)
