"""What an operator is, where it is legal, what it costs at a given shape, and how to put it into a space."""

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from nas import operators
from nas.arch import NONE, Knob, OperatorArch
from nas.catalogue.papers import Paper, behind
from nas.config import config
from nas.errors import ArchError, ConfigError
from nas.operators.contract import Site
from nas.shapes import Domain

HEADS = ("num_heads", "num_kv_heads", "head_dim")
DOMAINS: tuple[Domain, ...] = ("image", "sequence", "causal")


@config
class Shape:
    """The input that costs and times are for: one sample of `tokens` tokens, a square grid of them in an image."""

    domain: Domain | None = None
    tokens: int = 1024
    width: int = 256
    heads: int = 4
    head_dim: int = 64
    timed: bool = False

    def __post_init__(self) -> None:
        for name in ("tokens", "width", "heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}: raise it")


@dataclass(frozen=True, slots=True)
class Card:
    """One operator: the text of its file, its family, where it is legal, its own knobs with values worth searching."""

    name: str
    family: str
    text: str
    domains: tuple[Domain, ...]
    heads: tuple[str, ...]
    suggested: Mapping[str, Sequence[Knob]]
    consumes: frozenset[str]
    papers: tuple[Paper, ...]

    @property
    def headline(self) -> str:
        """What it is in one sentence."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def snippet(self) -> str:
        """The line of a search space that offers it."""
        knobs = ", ".join(f"{knob}: [{', '.join(map(str, values))}]" for knob, values in self.suggested.items())
        return f"{self.name}: {{{knobs}}}"

    def arch(self, shape: Shape, **chosen: Knob) -> OperatorArch:
        """The operator with the shape's heads and the first suggested value of each other knob, or the chosen ones."""
        heads = {"num_heads": shape.heads, "num_kv_heads": shape.heads, "head_dim": shape.head_dim}
        first = {knob: values[0] for knob, values in self.suggested.items()}
        return OperatorArch.of(self.name, **{knob: heads[knob] for knob in self.heads}, **{**first, **chosen})

    def site(self, shape: Shape) -> Site:
        """Where it sits at that shape; `ConfigError` if it is not legal there."""
        domain = shape.domain or next(d for d in ("causal", "sequence", "image") if d in self.domains)
        if domain not in self.domains:
            raise ConfigError(
                f"{self.name} is legal in {' and '.join(self.domains)}, got domain={domain}: leave domain out"
            )
        side = math.isqrt(shape.tokens)
        if domain == "image" and side * side != shape.tokens:
            raise ConfigError(f"tokens must be a square number in an image, got {shape.tokens}: use {side * side}")
        grid = (side, side) if domain == "image" else None
        return Site(embed_dim=shape.width, tokens=shape.tokens, domain=domain, grid=grid)


def cards() -> tuple[Card, ...]:
    """Every operator, by family and name."""
    found = (card(name) for name in operators.names() if name != NONE)
    return tuple(sorted(found, key=lambda card: (card.family, card.name)))


def card(name: str) -> Card:
    """The operator's card; `ArchError` lists the names there are."""
    mixer, family = operators.get(name), operators.families()[name]
    text = importlib.import_module(mixer.__module__).__doc__ or ""
    knobs = [field.name for field in fields(mixer.knobs_type)]
    return Card(
        name=name,
        family=family,
        text=text.strip(),
        domains=tuple(domain for domain in DOMAINS if domain in mixer.domains),
        heads=tuple(knob for knob in HEADS if knob in knobs),
        suggested=mixer.suggested,
        consumes=mixer.consumes,
        papers=behind("operator", name),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Costs of one choice of knobs at a site: counts of one sample, the state of decoding in bytes."""

    arch: OperatorArch
    params: int
    flops: int
    kv_cache_bytes: int
    rank: int
    sparsity: float


def figures(arch: OperatorArch, site: Site) -> Figures:
    """Closed-form costs; `ArchError` where the knobs do not fit the site."""
    mixer, knobs = operators.get(arch.name), operators.parse(arch)
    mixer.check(knobs, site)
    cost = mixer.cost(knobs, site)
    return Figures(
        arch=arch,
        params=cost.params,
        flops=cost.flops,
        kv_cache_bytes=cost.kv_cache_bytes if site.is_causal else 0,
        rank=mixer.rank(knobs, site),
        sparsity=mixer.sparsity(knobs, site),
    )


def varied(found: Card, shape: Shape) -> Iterable[OperatorArch]:
    """The first suggestion of every knob, then each other suggested value alone that fits with it."""
    yield found.arch(shape)
    for knob, values in found.suggested.items():
        for value in values[1:]:
            try:
                operators.parse(arch := found.arch(shape, **{knob: value}))
            except ArchError:
                continue
            yield arch
