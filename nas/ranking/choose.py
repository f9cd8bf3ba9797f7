"""Which architectures a ranking is tested on: equally many of every operator family and every size."""

import bisect
import random
from collections import Counter
from collections.abc import Callable

from nas import operators
from nas.arch import NONE, Arch
from nas.space import SearchSpace
from nas.space.sample import sample_block
from nas.space.space import settle

POOL_PER_ARCH = 40
LOYALTY = 0.6
"""Probability that a block takes an operator of the family whose turn it is, where it offers one."""


def choose(space: SearchSpace, count: int, size: Callable[[Arch], float], *, bins: int, seed: int | str) -> list[Arch]:
    """`count` different archs, drawn in turn for each (dominant family, size bin); fewer if the space has no more.

    size: what bins are quantiles of, over archs drawn alike
    """
    rng = random.Random(f"{seed}/ranking")
    families = space.families()
    pool = dict.fromkeys(_loyal(space, families[i % len(families)], rng) for i in range(POOL_PER_ARCH * count))
    edges = size_edges([size(arch) for arch in pool], bins)
    strata: dict[tuple[str, int], list[Arch]] = {(f, b): [] for b in range(bins) for f in families}
    for arch in pool:
        strata.setdefault((dominant(arch), size_bin(size(arch), edges)), []).append(arch)
    chosen: list[Arch] = []
    while len(chosen) < count and any(strata.values()):
        chosen += [archs.pop(0) for archs in strata.values() if archs]
    return chosen[:count]


def dominant(arch: Arch) -> str:
    """The family of most of the arch's blocks, the first of equals; `none` if nothing mixes."""
    known = operators.families()
    counts = Counter(known[block.operator.name] for block in arch.blocks if block.operator.name != NONE)
    return counts.most_common(1)[0][0] if counts else NONE


def size_edges(sizes: list[float], bins: int) -> list[float]:
    """The sizes between `bins` equally full bins."""
    ordered = sorted(sizes)
    return [ordered[len(ordered) * i // bins] for i in range(1, bins)]


def size_bin(size: float, edges: list[float]) -> int:
    """The bin that a size falls into, 0 for the smallest."""
    return bisect.bisect_right(edges, size)


def _loyal(space: SearchSpace, family: str, rng: random.Random) -> Arch:
    """An arch drawn knob by knob, with this family's operators in most of the blocks that offer one."""
    known = operators.families()
    stages = []
    for stage in space.stages:
        blocks = []
        for block in stage.blocks[: rng.choice(stage.depths)]:
            own = [name for name in block.names if name != NONE and known[name] == family]
            blocks.append(sample_block(block, rng, rng.choice(own) if own and rng.random() < LOYALTY else None))
        stages.append((rng.choice(stage.embed_dims), blocks))
    return settle(space, stages)
