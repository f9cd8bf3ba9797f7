"""One elastic block: shared projections, the mixers that may use them, gate and FFN, each on a residual branch."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from nas import gates, operators
from nas.arch import NONE, BlockArch, OperatorArch
from nas.elastic import ElasticNorm, Projections
from nas.gates.contract import Gate
from nas.operators.contract import Context, Cost, Operator, Site
from nas.space.space import BlockSpace
from nas.supernet.ffn import Ffn, ffn_cost

Share = Literal["all", "family", "none"]
Scales = Literal["operator", "block", "none"]
SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the operators of a block have in common."""

    projections: Share = "none"
    """q, k, v and o are those of `all` operators, of a `family`, or of `none` but one."""
    scales: Scales = "operator"
    """Gains on the output: of each `operator`, of the whole `block`, or `none`, which leaves them at 1."""


OWN = Sharing()


class Block(nn.Module):
    """`[B, T, C] -> [B, T, C]`: x + s_op * gate(mixer(norm x)), then x + s * ffn(norm x).

    Layer-scales per operator are those of "NASViT" (2022).
    """

    def __init__(self, space: BlockSpace, site: Site, sharing: Sharing) -> None:
        super().__init__()
        width = site.embed_dim
        mixing = tuple(name for name in space.names if name != NONE)
        self.sharing = sharing
        self.mixers = nn.ModuleDict({name: operators.get(name)(_knobs(space, name), site) for name in mixing})
        self.projections = nn.ModuleDict(_projections(space, mixing, width, sharing.projections))
        self.gates = nn.ModuleDict({name: gates.get(name)(site) for name in space.gates if name != NONE})
        self.scales = nn.ParameterDict(_scales(mixing, width, sharing.scales))
        self.norm = ElasticNorm(width) if mixing else None
        ffns = [ffn for ffn in space.ffns if ffn.kind != NONE]
        self.ffn = Ffn(ffns, width) if ffns else None
        self.ffn_norm = ElasticNorm(width) if ffns else None
        self.ffn_scale = nn.Parameter(torch.ones(width)) if ffns else None

    def forward(self, x: Tensor, arch: BlockArch, context: Context) -> Tensor:
        """The subnet `arch` of the block."""
        return self.fed_forward(self.mixed(x, arch, context), arch)

    def mixed(self, x: Tensor, arch: BlockArch, context: Context) -> Tensor:
        """The first of the two branches alone: all of the arch but its FFN, as if that were off."""
        if arch.operator.name == NONE:
            return x
        mixer, projections, knobs = self._mixer(arch.operator)
        normed = self._normed(x)
        return x + self._scaled(mixer(normed, projections, knobs, context), normed, arch, context)

    def fed_forward(self, x: Tensor, arch: BlockArch) -> Tensor:
        """The second branch alone."""
        if self.ffn is not None and self.ffn_norm is not None and self.ffn_scale is not None and arch.ffn.kind != NONE:
            x = x + self.ffn_scale[: x.shape[-1]] * self.ffn(self.ffn_norm(x), arch.ffn)
        return x

    def step(self, x: Tensor, arch: BlockArch, context: Context, state: Any) -> tuple[Tensor, Any]:
        """One decoded token `[B, 1, C]` and the operator's new state; None is that before the first token."""
        if arch.operator.name != NONE:
            mixer, projections, knobs = self._mixer(arch.operator)
            normed = self._normed(x)
            y, state = mixer.step(normed, projections, knobs, context, state)
            x = x + self._scaled(y, normed, arch, context)
        return self.fed_forward(x, arch), state

    def prefill(self, x: Tensor, arch: BlockArch, context: Context) -> tuple[Tensor, Any]:
        """The block's output for the first tokens `[B, T, C]`, and the state that steps over them would leave."""
        if arch.operator.name == NONE:
            return self(x, arch, context), None
        mixer, projections, knobs = self._mixer(arch.operator)
        return self(x, arch, context), mixer.prefill(self._normed(x), projections, knobs, context)

    def projections_of(self, operator: str) -> Projections:
        """The projections that an operator uses."""
        return cast(Projections, self.projections[_group(operator, self.sharing.projections)])

    def private(self, operator: str, *, beside: str) -> list[nn.Parameter]:
        """The parameters of an operator's branch that the operator `beside` does not use."""
        parts: list[nn.Module] = [self.mixers[operator]]
        if self.projections_of(operator) is not self.projections_of(beside):
            parts.append(self.projections_of(operator))
        scales = [self.scales[operator]] if self.sharing.scales == "operator" else []
        return [parameter for part in parts for parameter in part.parameters()] + scales

    def gains(self) -> list[nn.Parameter]:
        """Those of both residual branches, as far as they are trained."""
        own = [*self.scales.values(), *([] if self.ffn_scale is None else [self.ffn_scale])]
        return [cast(nn.Parameter, gain) for gain in own if gain.requires_grad]

    def _mixer(self, operator: OperatorArch) -> tuple[Operator[Any], Projections, Any]:
        mixer = cast(Operator[Any], self.mixers[operator.name])
        return mixer, self.projections_of(operator.name), operators.parse(operator)

    def _normed(self, x: Tensor) -> Tensor:
        normed: Tensor = cast(ElasticNorm, self.norm)(x)
        return normed

    def _scaled(self, y: Tensor, normed: Tensor, arch: BlockArch, context: Context) -> Tensor:
        if arch.gate != NONE:
            y = cast(Gate, self.gates[arch.gate])(y, replace(context, entered=normed))
        name = arch.operator.name if self.sharing.scales == "operator" else SHARED
        scaled: Tensor = self.scales[name][: y.shape[-1]] * y
        return scaled


def block_cost(arch: BlockArch, site: Site) -> Cost:
    """Cost of the extracted block."""
    total = Cost()
    if arch.operator.name != NONE:
        knobs = operators.parse(arch.operator)
        total += operators.get(arch.operator.name).cost(knobs, site) + Cost(params=3 * site.embed_dim)
    if arch.gate != NONE:
        total += gates.get(arch.gate).cost(site)
    if arch.ffn.kind != NONE:
        total += ffn_cost(arch.ffn, site) + Cost(params=3 * site.embed_dim)
    return total


def _knobs(space: BlockSpace, name: str) -> list[Any]:
    return [operators.parse(operator) for operator in space.of(name)]


def _scales(mixing: tuple[str, ...], width: int, scales: Scales) -> dict[str, nn.Parameter]:
    names = mixing if scales == "operator" else (SHARED,) if mixing else ()
    return {name: nn.Parameter(torch.ones(width), requires_grad=scales != "none") for name in names}


def _group(operator: str, share: Share) -> str:
    return {"all": SHARED, "family": operators.families()[operator], "none": operator}[share]


def _projections(space: BlockSpace, mixing: tuple[str, ...], width: int, share: Share) -> dict[str, Projections]:
    groups: dict[str, list[OperatorArch]] = {}
    for operator in space.operators:
        if operator.name in mixing:
            groups.setdefault(_group(operator.name, share), []).append(operator)
    return {group: _sized(members, width) for group, members in groups.items()}


def _sized(members: list[OperatorArch], width: int) -> Projections:
    parts = frozenset().union(*(operators.get(operator.name).projections for operator in members))
    return Projections(
        parts,
        width,
        num_heads=_most(members, "num_heads", "qo"),
        num_kv_heads=_most(members, "num_kv_heads", "kv"),
        head_dim=_most(members, "head_dim", "qkvo"),
    )


def _most(members: list[OperatorArch], knob: str, parts: str) -> int:
    users = [op for op in members if operators.get(op.name).projections & set(parts)]
    fallback = "num_heads"  # an operator without kv heads of its own has as many as query heads
    return max((int(op[knob] if knob in op else op[fallback]) for op in users), default=0)
