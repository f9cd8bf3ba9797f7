"""Drawing archs: uniform over each knob, or spread evenly over a cost."""

import bisect
import math
import random
from collections.abc import Callable, Iterable
from typing import TypeVar

from nas.arch import Arch, BlockArch
from nas.space.contract import Point
from nas.space.space import BlockSpace, SearchSpace, settle

P = TypeVar("P", bound=Point)


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


def stratified(points: Iterable[P], count: int, cost: Callable[[P], float]) -> list[P]:
    """Up to `count` of the points, spread evenly over the logarithm of a positive cost, cheapest stratum first."""
    pool = {point.digest: point for point in points}
    priced = sorted((math.log(max(cost(point), 1e-12)), digest) for digest, point in pool.items())
    low, high = priced[0][0], priced[-1][0]
    chosen: list[str] = []
    for i in range(min(count, len(priced))):
        wanted = low + (high - low) * i / max(1, count - 1)
        at = bisect.bisect_left(priced, (wanted, ""))
        near = min(range(max(0, at - 1), min(len(priced), at + 1)), key=lambda j: abs(priced[j][0] - wanted))
        chosen.append(priced.pop(near)[1])
    return [pool[digest] for digest in chosen]
