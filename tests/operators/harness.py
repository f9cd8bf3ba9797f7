"""Operators as the contract tests see them: inside a block that is larger than the active case on every axis."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas import operators
from nas.arch import OperatorArch
from nas.elastic import Projections
from nas.errors import ArchError
from nas.operators.contract import Context, Operator, Site
from nas.shapes import Domain
from tests.operators.cases import KNOBS

EMBED_DIM, ACTIVE_EMBED_DIM = 40, 24
ROUTERS = ("expert_heads", "mixture_of_heads")
"""Operators whose tokens choose among the heads, so that one more head changes the choice."""
LARGER = {"num_heads": 8, "num_kv_heads": 8, "head_dim": 12}
SIZES: dict[Domain, tuple[Site, ...]] = {
    "image": tuple(
        Site(embed_dim=ACTIVE_EMBED_DIM, tokens=grid[0] * grid[1], domain="image", grid=grid)
        for grid in ((6, 5), (7, 7), (13, 11))
    ),
    "sequence": tuple(
        Site(embed_dim=ACTIVE_EMBED_DIM, tokens=tokens, domain="sequence") for tokens in (17, 63, 64, 150)
    ),
    "causal": tuple(
        Site(embed_dim=ACTIVE_EMBED_DIM, tokens=tokens, domain="causal") for tokens in (1, 17, 63, 64, 150)
    ),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One operator with one choice of knobs in one domain."""

    domain: Domain
    arch: OperatorArch
    number: int

    def __str__(self) -> str:
        return f"{self.domain}-{self.arch.name}-{self.number}"

    @property
    def operator(self) -> type[Operator[Any]]:
        return operators.get(self.arch.name)

    @property
    def knobs(self) -> Any:
        return operators.parse(self.arch)

    @property
    def site(self) -> Site:
        """A small site of odd sizes."""
        return next(site for site in SIZES[self.domain] if site.tokens > 1)


@dataclass(frozen=True, slots=True)
class Rig:
    """An operator ready to run at `knobs` and `site`, behind one that publishes what it consumes."""

    mixer: Operator[Any]
    projections: Projections
    knobs: Any
    site: Site
    source: "Rig | None" = None

    def __call__(self, x: Tensor, context: Context | None = None) -> Tensor:
        context = context or Context(self.site)
        if self.source:
            self.source(x, context)
        y: Tensor = self.mixer(x, self.projections, self.knobs, context)
        return y

    def reference(self, x: Tensor, context: Context | None = None) -> Tensor:
        context = context or Context(self.site)
        if self.source:
            self.source.reference(x, context)
        return self.mixer.reference(x, self.projections, self.knobs, context)

    def step(self, x: Tensor, state: Any = None, context: Context | None = None) -> tuple[Tensor, Any]:
        context, (before, own) = context or Context(self.site), state or (None, None)
        if self.source:
            before = self.source.step(x, before, context)[1]
        y, own = self.mixer.step(x, self.projections, self.knobs, context, own)
        return y, (before, own)

    def prefill(self, x: Tensor, context: Context | None = None) -> Any:
        context = context or Context(self.site)
        before = self.source.prefill(x, context) if self.source else None
        return before, self.mixer.prefill(x, self.projections, self.knobs, context)

    def steps(self, x: Tensor, state: Any = None, context: Context | None = None) -> tuple[Tensor, Any]:
        """All tokens one by one."""
        outputs = []
        for token in x.split(1, dim=1):
            y, state = self.step(token, state, context)
            outputs.append(y)
        return torch.cat(outputs, dim=1), state

    def modules(self) -> nn.ModuleDict:
        return nn.ModuleDict({"mixer": self.mixer, "projections": self.projections})

    def inputs(self, batch: int = 2) -> Tensor:
        weight = next(iter(self.modules().parameters()), torch.zeros(0))
        return torch.randn(batch, self.site.tokens, self.site.embed_dim, dtype=weight.dtype)


class Layer(nn.Module):
    """A rig as a module, for export."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.parts, self.rig = rig.modules(), rig
        self.source = rig.source and rig.source.modules()

    def forward(self, x: Tensor) -> Tensor:
        return self.rig(x)


def all_cases() -> list[Case]:
    """Every case of every operator that exists, in every domain that it is for."""
    return [
        Case(domain, OperatorArch.of(name, **knobs), number)
        for domain in SIZES
        for name in operators.names()
        if domain in operators.get(name).domains
        for number, knobs in enumerate(KNOBS.get(name, ()))
    ]


def larger(arch: OperatorArch) -> OperatorArch:
    """The same operator with every size raised."""
    knobs = {name: _larger(name, value) for name, value in arch.knobs}
    return OperatorArch.of(arch.name, **knobs)


def build(case: Case, site: Site | None = None, dtype: torch.dtype = torch.float64) -> Rig:
    """The case inside a mixer and projections that are larger on every axis, no parameter at a special value."""
    site = site or case.site
    choices = (case.knobs, operators.parse(larger(case.arch)))
    mixer = case.operator(choices, replace(site, embed_dim=EMBED_DIM))
    projections = Projections(case.operator.projections, EMBED_DIM, **LARGER)
    rig = Rig(mixer, projections, case.knobs, site, _source(case, site, dtype))
    for parameter in rig.modules().parameters():
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    rig.modules().to(dtype)
    return rig


def extract(rig: Rig) -> Rig:
    """The rig in modules of exactly its size, filled with the leading corners of the larger ones."""
    heads = getattr(rig.knobs, "num_heads", 1)
    sizes = {
        "num_heads": heads,
        "num_kv_heads": getattr(rig.knobs, "num_kv_heads", heads),
        "head_dim": getattr(rig.knobs, "head_dim", 1),
    }
    mixer = type(rig.mixer)
    projections = Projections(mixer.projections, rig.site.embed_dim, **sizes)
    source = extract(rig.source) if rig.source else None
    alone = Rig(mixer((rig.knobs,), rig.site), projections, rig.knobs, rig.site, source)
    alone.modules().to(next(iter(rig.modules().parameters()), torch.zeros(0)).dtype)
    values = rig.modules().state_dict()
    corners = {name: corner(values[name], value.shape) for name, value in alone.modules().state_dict().items()}
    alone.modules().load_state_dict(corners)
    return alone


def grown(rig: Rig, knobs: Any, embed_dim: int) -> Rig:
    """The rig in modules for larger knobs and more channels, whose further weights are all zero."""
    site = replace(rig.site, embed_dim=embed_dim)
    heads = {name: getattr(knobs, name, getattr(knobs, "num_heads", 1)) for name in ("num_heads", "num_kv_heads")}
    sizes = {**heads, "head_dim": getattr(knobs, "head_dim", 1)}
    projections = Projections(type(rig.mixer).projections, embed_dim, **sizes)
    source = grown(rig.source, rig.source.knobs, embed_dim) if rig.source else None
    wide = Rig(type(rig.mixer)((knobs,), site), projections, knobs, site, source)
    wide.modules().to(torch.float64)
    known = rig.modules().state_dict()
    with torch.no_grad():
        for name, value in wide.modules().state_dict().items():
            corner(value.zero_(), known[name].shape).copy_(known[name])
    return wide


def more_query_heads(case: Case) -> tuple[Case, Any] | None:
    """The case with two query heads to two kv heads, and its knobs with four to the same two, where both are legal."""
    knobs = dict(case.arch.knobs)
    if "num_kv_heads" not in knobs or case.operator.consumes or case.arch.name in ROUTERS:
        return None
    few, many = ({**knobs, "num_heads": heads, "num_kv_heads": 2} for heads in (2, 4))
    try:
        found = operators.parse(OperatorArch.of(case.arch.name, **many))
        small = replace(case, arch=OperatorArch.of(case.arch.name, **few))
        for one in (found, small.knobs):
            case.operator.check(one, case.site)
    except ArchError:
        return None
    return small, found


def corner(tensor: Tensor, shape: torch.Size) -> Tensor:
    return tensor[tuple(map(slice, shape))]


def gradients(rig: Rig, x: Tensor, output: Tensor, penalties: list[Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """Gradients of x and of every parameter, zeros where there is none."""
    named = {"x": x, **dict(rig.modules().named_parameters())}
    # an operator that mixes nothing returns zeros, which have no graph
    loss = (output * cotangent).sum() + sum(penalties) + 0.0 * x.sum()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


def counted_flops(rig: Rig) -> int:
    """What PyTorch's own counter sees in one forward pass of one sample, without the operator in front."""
    x = rig.inputs(batch=1)
    return counted(lambda: rig(x)) - (counted(lambda: rig.source(x)) if rig.source else 0)


def counted(call: Callable[[], Tensor]) -> int:
    """What PyTorch's own counter sees in a call."""
    # the counter does not know the fused CPU kernel by itself
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=fused)
    with torch.no_grad(), counter:
        call()
    return counter.get_total_flops()


def _source(case: Case, site: Site, dtype: torch.dtype) -> Rig | None:
    if not case.operator.consumes:
        return None
    able = (c for c in all_cases() if c.domain == case.domain and case.operator.can_follow(case.knobs, (c.arch,)))
    return build(next(able), site, dtype)


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *rest: object, **options: object) -> int:
    batch, heads, queries, width = q
    return 2 * batch * heads * queries * k[2] * (width + v[3])


def _larger(name: str, value: int | float | str) -> int | float | str:
    if name in LARGER:
        return LARGER[name]
    if isinstance(value, str):
        return value
    return value + 2 if name == "kernel_size" else value + 1
