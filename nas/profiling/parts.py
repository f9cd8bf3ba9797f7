"""The parts that a network's time is made of: ends, transitions, mixers, gates and FFNs at a stage and a width."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nas.arch import NONE, Arch, BlockArch, FfnArch, OperatorArch
from nas.space import SearchSpace
from nas.space.space import StageSpace

PartKind = Literal["stem", "transition", "mixer", "gate", "ffn", "head"]
NO_MIXER = OperatorArch(NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part; of `operator`, `gate`, `ffn` and `to_dim` only that of its kind is set.

    A mixer and an FFN come with their norm, layer-scale and residual. The stage decides tokens and grid.
    """

    kind: PartKind
    stage: int
    embed_dim: int
    operator: OperatorArch = NO_MIXER
    gate: str = NONE
    ffn: FfnArch = FfnArch()
    to_dim: int = 0

    @property
    def key(self) -> str:
        """The part in one word, such as `mixer/0/64/softmax(head_dim=16,num_heads=4,num_kv_heads=2)`."""
        knobs = ",".join(f"{knob}={value}" for knob, value in self.operator.knobs)
        what = {
            "mixer": f"/{self.operator.name}({knobs})",
            "gate": f"/{self.gate}",
            "ffn": f"/{self.ffn.kind}x{self.ffn.ratio:g}",
            "transition": f"/{self.to_dim}",
        }
        return f"{self.kind}/{self.stage}/{self.embed_dim}{what.get(self.kind, '')}"

    @property
    def group(self) -> str:
        """The operator for a mixer, the kind for everything else: parts whose times obey one law."""
        return self.operator.name if self.kind == "mixer" else self.kind


def arch_parts(arch: Arch) -> tuple[Part, ...]:
    """The parts of a network in order, repeated ones repeated."""
    first, last = arch.stages[0].embed_dim, arch.stages[-1].embed_dim
    parts = [Part(kind="stem", stage=0, embed_dim=first)]
    for index, stage in enumerate(arch.stages):
        if index:
            before = arch.stages[index - 1].embed_dim
            parts.append(Part(kind="transition", stage=index, embed_dim=before, to_dim=stage.embed_dim))
        for block in stage.blocks:
            parts += block_parts(block, index, stage.embed_dim)
    return (*parts, Part(kind="head", stage=len(arch.stages) - 1, embed_dim=last))


def block_parts(block: BlockArch, stage: int, embed_dim: int) -> list[Part]:
    """Mixer, gate and FFN, as far as the block has them."""
    parts = []
    if block.operator.name != NONE:
        parts.append(Part(kind="mixer", stage=stage, embed_dim=embed_dim, operator=block.operator))
    if block.gate != NONE:
        parts.append(Part(kind="gate", stage=stage, embed_dim=embed_dim, gate=block.gate))
    if block.ffn.kind != NONE:
        parts.append(Part(kind="ffn", stage=stage, embed_dim=embed_dim, ffn=block.ffn))
    return parts


def space_parts(space: SearchSpace) -> tuple[Part, ...]:
    """Every distinct part of a space; what can follow nothing is none."""
    stages = space.stages
    found = [Part(kind="stem", stage=0, embed_dim=width) for width in stages[0].embed_dims]
    for index, (one, other) in enumerate(itertools.pairwise(stages), start=1):
        pairs = itertools.product(one.embed_dims, other.embed_dims)
        found += [Part(kind="transition", stage=index, embed_dim=a, to_dim=b) for a, b in pairs]
    for index, stage in enumerate(stages):
        found += _stage_parts(stage, index)
    found += [Part(kind="head", stage=len(stages) - 1, embed_dim=width) for width in stages[-1].embed_dims]
    return tuple(dict.fromkeys(found))


def _stage_parts(stage: StageSpace, index: int) -> Iterator[Part]:
    for width, (place, block) in itertools.product(stage.embed_dims, enumerate(stage.blocks)):
        for operator in block.operators:
            if stage.serves(place, operator):
                yield from block_parts(BlockArch(operator), index, width)
        for gate in block.gates:
            if gate != NONE:
                yield Part(kind="gate", stage=index, embed_dim=width, gate=gate)
        for ffn in block.ffns:
            yield from block_parts(BlockArch(NO_MIXER, ffn), index, width)
