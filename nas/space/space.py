"""A search space as a frozen value: the legal choices of every block and stage, and the frame around them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Self

from nas import operators
from nas.arch import NONE, OFF, Arch, BlockArch, FfnArch, Knob, OperatorArch, StageArch
from nas.shapes import Domain


@dataclass(frozen=True, slots=True)
class Stem:
    """How inputs become tokens: the edge of a square patch, or the length of the short convolution over tokens."""

    patch: int = 0
    conv: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """How an image's last tokens become logits: by their mean (rank 0), or by `count` Gram matrices of that rank."""

    rank: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """What all archs of a space share: domain, stem, token reduction in front of each stage, per axis, and head."""

    name: str
    domain: Domain
    stem: Stem
    reductions: tuple[int, ...]
    head: Head = Head()


@dataclass(frozen=True)
class BlockSpace:
    """The choices of one block. Order is meaning: the largest arch takes the first of a kind, the smallest the last."""

    operators: tuple[OperatorArch, ...]
    """Every legal combination of knobs of every operator, from an operator's largest to its smallest."""
    ffns: tuple[FfnArch, ...]
    gates: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Operators in the order listed."""
        return tuple(dict.fromkeys(operator.name for operator in self.operators))

    def of(self, name: str) -> tuple[OperatorArch, ...]:
        """The legal combinations of one operator."""
        return tuple(operator for operator in self.operators if operator.name == name)

    @property
    def can_be_off(self) -> bool:
        """Whether the block may be the identity."""
        return OFF.operator in self.operators and OFF.ffn in self.ffns

    @property
    def size(self) -> int:
        """Number of different blocks."""
        bare = len(self.of(NONE))
        return ((len(self.operators) - bare) * len(self.gates) + bare) * len(self.ffns)

    def __contains__(self, block: BlockArch) -> bool:
        gates = (NONE,) if block.operator.name == NONE else self.gates
        return block.operator in self.operators and block.ffn in self.ffns and block.gate in gates

    def block(self, operator: OperatorArch, ffn: FfnArch, gate: str) -> BlockArch:
        """The block; without a mixer it has no gate."""
        return BlockArch(operator, ffn, NONE if operator.name == NONE else gate)

    def closest(self, name: str, wanted: dict[str, Knob], among: Sequence[OperatorArch] = ()) -> OperatorArch:
        """The legal combination of an operator that agrees with most of the wanted knobs, the first of equals."""
        return max(among or self.of(name), key=lambda op: sum(wanted.get(knob) == value for knob, value in op.knobs))

    def largest(self, name: str | None = None) -> BlockArch:
        """First operator (or the named one) at its largest, with the first FFN and gate."""
        return self.block(self.of(name or self.names[0])[0], self.ffns[0], self.gates[0])

    def smallest(self) -> BlockArch:
        """Last operator at its smallest, with the last FFN and gate."""
        return self.block(self.operators[-1], self.ffns[-1], self.gates[-1])


@dataclass(frozen=True)
class StageSpace:
    """Widths and depths, ascending, and one `BlockSpace` for each possible position."""

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    blocks: tuple[BlockSpace, ...]

    @property
    def size(self) -> int:
        """Number of different stages: those that end in a switched-off block are counted once, without it."""
        return len(self.embed_dims) * sum(self._ending_at(length) for length in range(len(self.blocks) + 1))

    def _ending_at(self, length: int) -> int:
        if not self.allows_depth(length):
            return 0
        if length == 0:
            return 1
        last = self.blocks[length - 1]
        return prod(b.size for b in self.blocks[: length - 1]) * (last.size - last.can_be_off)

    def allows_depth(self, length: int) -> bool:
        """Whether `length` blocks are a depth, or a depth whose remaining blocks are off."""
        return any(d >= length and all(b.can_be_off for b in self.blocks[length:d]) for d in self.depths)

    def source(self, index: int, operator: OperatorArch) -> tuple[int, OperatorArch] | None:
        """Block and value of the first earlier operator that `operator` at block `index` can follow."""
        mixer, knobs = operators.get(operator.name), operators.parse(operator)
        earlier = ((i, op) for i, block in enumerate(self.blocks[:index]) for op in block.operators)
        return next(((i, op) for i, op in earlier if mixer.can_follow(knobs, (op,))), None)

    def serves(self, index: int, operator: OperatorArch) -> bool:
        """Whether `operator` at block `index` needs no earlier block, or may find one that it can follow."""
        return not operators.get(operator.name).consumes or self.source(index, operator) is not None

    def __contains__(self, stage: StageArch) -> bool:
        return (
            stage.embed_dim in self.embed_dims
            and self.allows_depth(len(stage.blocks))
            and all(block in space for block, space in zip(stage.blocks, self.blocks, strict=False))
            and all(can_follow(stage.blocks, i) for i in range(len(stage.blocks)))
        )


@dataclass(frozen=True)
class SearchSpace:
    """A frame and the choices of its stages; built by `nas.space.load_space` or, for one arch, by `only`."""

    frame: Frame
    stages: tuple[StageSpace, ...]

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the content, whatever the name."""
        frame = self.frame
        stem = (frame.stem.patch, frame.stem.conv)
        content = [frame.domain, stem, frame.reductions, [_content(stage) for stage in self.stages]]
        if frame.head != Head():  # spaces without one are older than heads
            content.append((frame.head.rank, frame.head.count))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Number of different archs, before rules between blocks."""
        return prod(stage.size for stage in self.stages)

    def __contains__(self, arch: Arch) -> bool:
        return len(arch.stages) == len(self.stages) and all(
            stage in space for stage, space in zip(arch.stages, self.stages, strict=True)
        )

    def largest(self, operator: str | None = None) -> Arch:
        """The arch at the top of every knob, with this operator wherever a block offers it."""
        return settle(self, [_top(stage, operator) for stage in self.stages])

    def smallest(self) -> Arch:
        """The arch at the bottom of every knob."""
        stages = [(s.embed_dims[0], [b.smallest() for b in s.blocks[: s.depths[0]]]) for s in self.stages]
        return settle(self, stages)

    def families(self) -> tuple[str, ...]:
        """Families of the operators that mix, in the order first listed."""
        found = (operators.families()[name] for s in self.stages for b in s.blocks for name in b.names if name != NONE)
        return tuple(dict.fromkeys(found))

    def anchors(self) -> dict[str, Arch]:
        """Family -> the largest arch with that family's first operator wherever a block offers it."""
        named = {operators.families()[name]: name for name in reversed(self.operator_names()) if name != NONE}
        return {family: self.largest(named[family]) for family in self.families()}

    def operator_names(self) -> tuple[str, ...]:
        """Operators offered anywhere, in the order first listed."""
        return tuple(dict.fromkeys(name for s in self.stages for b in s.blocks for name in b.names))

    def only(self, arch: Arch) -> Self:
        """The space of one arch, as wide as it and no wider: what a standalone network is built from."""
        stages = tuple(
            StageSpace((s.embed_dim,), (len(s.blocks),), tuple(_single(b) for b in s.blocks)) for s in arch.stages
        )
        return type(self)(self.frame, stages)


def can_follow(blocks: Sequence[BlockArch], index: int) -> bool:
    """Whether block `index` works after the earlier blocks of its stage."""
    operator = blocks[index].operator
    earlier = [block.operator for block in blocks[:index]]
    return operators.get(operator.name).can_follow(operators.parse(operator), earlier)


def settle(space: SearchSpace, stages: Sequence[tuple[int, Sequence[BlockArch]]]) -> Arch:
    """The arch of these widths and blocks; a block that cannot follow its predecessors gives way to the closest."""
    settled = []
    for stage, (embed_dim, blocks) in zip(space.stages, stages, strict=True):
        kept: list[BlockArch] = []
        for block, choices in zip(blocks, stage.blocks, strict=False):
            kept.append(block)
            if not can_follow(kept, len(kept) - 1):
                kept[-1] = _replacement(choices, block, kept[:-1])
        settled.append(StageArch.of(embed_dim, tuple(kept)))
    return Arch(tuple(settled))


def _replacement(choices: BlockSpace, block: BlockArch, earlier: list[BlockArch]) -> BlockArch:
    """The block with other knobs of its operator, or with another operator where none of them can follow."""
    able = [op for op in choices.operators if can_follow([*earlier, choices.block(op, block.ffn, block.gate)], -1)]
    same = [op for op in able if op.name == block.operator.name]
    operator = choices.closest("", dict(block.operator.knobs), same or able)
    return choices.block(operator, block.ffn, block.gate if block.gate in choices.gates else choices.gates[0])


def _top(stage: StageSpace, operator: str | None) -> tuple[int, list[BlockArch]]:
    blocks = [b.largest(operator if operator in b.names else None) for b in stage.blocks[: stage.depths[-1]]]
    return stage.embed_dims[-1], blocks


def _single(block: BlockArch) -> BlockSpace:
    return BlockSpace((block.operator,), (block.ffn,), (block.gate,))


def _content(stage: StageSpace) -> tuple[object, ...]:
    """What the digest is of: written out, so that it changes with the choices and not with our classes."""
    blocks = [
        ([(op.name, op.knobs) for op in b.operators], [(ffn.kind, ffn.ratio) for ffn in b.ffns], b.gates)
        for b in stage.blocks
    ]
    return stage.embed_dims, stage.depths, blocks
