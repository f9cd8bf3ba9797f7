"""What to measure, in an order whose every beginning is a fair choice, so that any budget may end it."""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.arch import NONE, Arch, BlockArch, StageArch
from nas.profiling.parts import Part, space_parts
from nas.profiling.table import Split
from nas.shapes import TaskShape
from nas.space import SearchSpace, sample, stratified
from nas.space.sample import sample_block
from nas.space.space import settle
from nas.supernet import network_cost

FIRST = ("stem", "head", "transition")


@dataclass(frozen=True, slots=True)
class PlannedNet:
    """A whole net to measure, and what for."""

    arch: Arch
    split: Split


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


def plan_nets(space: SearchSpace, shape: TaskShape, *, fit: int, held_out: int, rng: random.Random) -> list[PlannedNet]:
    """Held-out nets, spread over flops, and nets to fit, in turn; no arch is in both.

    Those to fit are the corners and anchors, then nets spread over flops and nets dominated by each operator in turn.
    """

    def flops(arch: Arch) -> float:
        return network_cost(space.frame, shape, arch).flops

    corners = [space.smallest(), space.largest(), *space.anchors().values()]
    spread = _shuffled(stratified(space, fit + held_out, flops, rng), rng)
    chosen = {arch.digest: arch for arch in corners[:fit]}
    apart = [arch for arch in spread if arch.digest not in chosen][:held_out]
    taken = {arch.digest for arch in apart}
    rest = (arch for arch in spread if arch.digest not in taken)
    for arch in _alternate(rest, _dominated(space, rng, count=2 * fit)):
        if len(chosen) < fit and arch.digest not in taken:
            chosen.setdefault(arch.digest, arch)
    fitted = [PlannedNet(arch, "fit") for arch in chosen.values()]
    judged = [PlannedNet(arch, "held_out") for arch in apart]
    return [net for pair in itertools.zip_longest(fitted, judged) for net in pair if net is not None]


def middling(space: SearchSpace, shape: TaskShape) -> Arch:
    """The net of median flops among a few fixed ones: the reference that shows the machine's drift."""
    rng = random.Random(0)
    few = sorted((sample(space, rng) for _ in range(9)), key=lambda a: network_cost(space.frame, shape, a).flops)
    return few[len(few) // 2]


def workload(space: SearchSpace, shape: TaskShape, batch: int) -> str:
    """Twelve hex digits of what rows must share to compare: frame, task shape, batch and reference net."""
    frame = space.frame
    content = repr((frame.domain, frame.stem, frame.reductions, shape, batch, middling(space, shape).digest))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


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


def _shuffled(archs: Sequence[Arch], rng: random.Random) -> list[Arch]:
    return rng.sample(archs, len(archs))
