"""Drawing archs: uniform over each knob, or spread evenly over a cost."""

import bisect
import math
import random
from collections.abc import Callable

from nas.arch import Arch, BlockArch
from nas.space.space import BlockSpace, SearchSpace, settle


def sample(space: SearchSpace, rng: random.Random) -> Arch:
    """An arch drawn with each operator, then each of its combinations, each FFN kind and ratio equally likely."""
    stages = []
    for stage in space.stages:
        depth = rng.choice(stage.depths)
        stages.append((rng.choice(stage.embed_dims), [sample_block(block, rng) for block in stage.blocks[:depth]]))
    return settle(space, stages)


def sample_block(space: BlockSpace, rng: random.Random, operator: str | None = None) -> BlockArch:
    """A block, of the named operator if the block offers it."""
    name = operator if operator in space.names else rng.choice(space.names)
    kind = rng.choice(sorted({ffn.kind for ffn in space.ffns}))
    ffn = rng.choice([ffn for ffn in space.ffns if ffn.kind == kind])
    return space.block(rng.choice(space.of(str(name))), ffn, rng.choice(space.gates))


def stratified(
    space: SearchSpace, count: int, cost: Callable[[Arch], float], rng: random.Random, *, oversample: int = 16
) -> list[Arch]:
    """Up to `count` different archs spread evenly over the logarithm of a positive cost, cheapest stratum first."""
    pool = {arch.digest: arch for arch in (sample(space, rng) for _ in range(count * oversample))}
    for corner in (space.smallest(), space.largest()):
        pool[corner.digest] = corner
    priced = sorted((math.log(max(cost(arch), 1e-12)), digest) for digest, arch in pool.items())
    low, high = priced[0][0], priced[-1][0]
    chosen: list[str] = []
    for i in range(min(count, len(priced))):
        wanted = low + (high - low) * i / max(1, count - 1)
        at = bisect.bisect_left(priced, (wanted, ""))
        near = min(range(max(0, at - 1), min(len(priced), at + 1)), key=lambda j: abs(priced[j][0] - wanted))
        chosen.append(priced.pop(near)[1])
    return [pool[digest] for digest in chosen]
