"""What to measure, in an order whose every beginning is a fair choice, so that any budget may end it."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from nas.arch import NONE, Arch, BlockArch, StageArch
from nas.profiling.parts import Part, space_parts
from nas.shapes import TaskShape
from nas.space import SearchSpace, sample, stratified
from nas.space.sample import sample_block
from nas.space.space import settle
from nas.supernet import network_cost

FIRST = ("stem", "head", "transition")
OVERSAMPLE = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Whole nets to measure; no arch is in two of them."""

    corners: list[Arch]
    """Smallest, largest and one anchor per family."""
    calibrate: list[Arch]
    held_out: list[Arch]
    """Drawn like those to calibrate: spread over flops."""
    pool: list[Arch]
    """Candidates for the choice of what else to measure, half of them dominated by each operator in turn."""


def plan_parts(space: SearchSpace, rng: random.Random) -> list[Part]:
    """All parts: the ends first, then the groups (operators, gates, FFNs) in turn, each in random order."""
    parts = space_parts(space)
    groups: dict[str, list[Part]] = {}
    for part in parts:
        if part.kind not in FIRST:
            groups.setdefault(part.group, []).append(part)
    for members in groups.values():
        rng.shuffle(members)
    turns = itertools.zip_longest(*groups.values())
    inner = [part for turn in turns for part in turn if part is not None]
    return [*(part for part in parts if part.kind in FIRST), *inner]


def plan_nets(space: SearchSpace, shape: TaskShape, *, calibrate: int, held_out: int, pool: int, seed: int) -> Plan:
    """The nets of a seed, the same whenever it is asked."""

    def flops(arch: Arch) -> float:
        return network_cost(space.frame, shape, arch).flops

    rng = random.Random(f"{seed}/profile")
    corners = dict.fromkeys([space.smallest(), space.largest(), *space.anchors().values()])
    count = calibrate + held_out + len(corners)
    priced = [sample(space, rng) for _ in range(OVERSAMPLE * count)]
    spread = stratified([*priced, space.smallest(), space.largest()], count, flops)
    spread = [arch for arch in rng.sample(spread, len(spread)) if arch not in corners]
    rng = random.Random(f"{seed}/pool")
    drawn = (sample(space, rng) for _ in range(pool))
    taken = set(corners).union(spread)
    others = dict.fromkeys(_alternate(drawn, _dominated(space, rng, count=pool)))
    return Plan(
        corners=list(corners),
        calibrate=spread[held_out : held_out + calibrate],
        held_out=spread[:held_out],
        pool=[arch for arch in others if arch not in taken][:pool],
    )


def _dominated(space: SearchSpace, rng: random.Random, *, count: int) -> Iterator[Arch]:
    names = [name for name in space.operator_names() if name != NONE]
    for name in itertools.islice(itertools.cycle(names), count):
        drawn = sample(space, rng)
        yield settle(space, [_refilled(space, i, stage, name, rng) for i, stage in enumerate(drawn.stages)])


def _refilled(
    space: SearchSpace, index: int, stage: StageArch, name: str, rng: random.Random
) -> tuple[int, list[BlockArch]]:
    choices = space.stages[index].blocks[: len(stage.blocks)]
    return stage.embed_dim, [sample_block(block, rng, operator=name) for block in choices]


def _alternate(one: Iterator[Arch], other: Iterator[Arch]) -> Iterator[Arch]:
    return (arch for pair in itertools.zip_longest(one, other) for arch in pair if arch is not None)
