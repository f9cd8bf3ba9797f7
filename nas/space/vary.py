"""New archs from old ones: mutation and crossover, always inside the space."""

import random
from typing import Any

from nas.arch import Arch, BlockArch, OperatorArch, StageArch
from nas.space.sample import sample, sample_block
from nas.space.space import BlockSpace, SearchSpace, StageSpace, settle

TRIES = 64
Draft = tuple[int, list[BlockArch]]


def mutate(space: SearchSpace, arch: Arch, rng: random.Random, *, rate: float = 0.15) -> Arch:
    """A different arch: each width, depth, operator, knob, FFN and gate changes with probability `rate`."""
    for _ in range(TRIES):
        drafts = [_mutate_stage(s, stage, rng, rate) for s, stage in zip(space.stages, arch.stages, strict=True)]
        changed = settle(space, drafts)
        if changed != arch:
            return changed
    return sample(space, rng)


def crossover(space: SearchSpace, one: Arch, other: Arch, rng: random.Random) -> Arch:
    """An arch with each width, depth and block taken from either parent."""
    drafts = [
        _cross_stage(stage, rng, a, b) for stage, a, b in zip(space.stages, one.stages, other.stages, strict=True)
    ]
    return settle(space, drafts)


def _mutate_stage(space: StageSpace, stage: StageArch, rng: random.Random, rate: float) -> Draft:
    width = rng.choice(space.embed_dims) if rng.random() < rate else stage.embed_dim
    depth = rng.choice(space.depths) if rng.random() < rate else _depth(space, stage)
    blocks = _fill(space, stage, depth, rng)
    blocks = [_mutate_block(choices, b, rng, rate) for choices, b in zip(space.blocks, blocks, strict=False)]
    return width, blocks


def _depth(space: StageSpace, stage: StageArch) -> int:
    return next(depth for depth in space.depths if depth >= len(stage.blocks))


def _fill(space: StageSpace, stage: StageArch, depth: int, rng: random.Random) -> list[BlockArch]:
    missing = space.blocks[len(stage.blocks) : depth]
    return [*stage.blocks[:depth], *(sample_block(choices, rng) for choices in missing)]


def _mutate_block(space: BlockSpace, block: BlockArch, rng: random.Random, rate: float) -> BlockArch:
    operator, ffn, gate = block.operator, block.ffn, block.gate
    if rng.random() < rate:
        operator = space.closest(rng.choice(space.names), dict(operator.knobs))
    for knob, _ in operator.knobs:
        if rng.random() < rate:
            operator = _turn(space, operator, knob, rng)
    if rng.random() < rate:
        ffn = rng.choice(space.ffns)
    if rng.random() < rate or gate not in space.gates:
        gate = rng.choice(space.gates)
    return space.block(operator, ffn, gate)


def _turn(space: BlockSpace, operator: OperatorArch, knob: str, rng: random.Random) -> OperatorArch:
    able = space.of(operator.name)
    value = rng.choice(sorted({op[knob] for op in able}, key=str))
    wanted: dict[str, Any] = {**dict(operator.knobs), knob: value}
    return space.closest(operator.name, wanted, [op for op in able if op[knob] == value])


def _cross_stage(space: StageSpace, rng: random.Random, one: StageArch, other: StageArch) -> Draft:
    width = rng.choice((one.embed_dim, other.embed_dim))
    depth = _depth(space, rng.choice((one, other)))
    parents = [[s.blocks[i] for s in (one, other) if i < len(s.blocks)] for i in range(depth)]
    blocks = [
        rng.choice(able) if able else sample_block(choices, rng)
        for able, choices in zip(parents, space.blocks, strict=False)
    ]
    return width, blocks
