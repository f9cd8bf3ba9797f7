"""Closed-form cost of whole networks, equal to what the extracted module has and does."""

import itertools

from nas import operators
from nas.arch import NONE, Arch, BlockArch
from nas.operators.contract import Cost, Site
from nas.shapes import TaskShape
from nas.space.space import Frame
from nas.supernet.block import block_cost
from nas.supernet.head import head_cost
from nas.supernet.layout import block_site, sites
from nas.supernet.stem import stem_cost, transition_cost


def network_cost(frame: Frame, shape: TaskShape, arch: Arch) -> Cost:
    """Parameters, flops, cache bytes and visited pairs of the extracted network for one sample."""
    stages = _stage_sites(frame, shape, arch)
    total = stem_cost(shape, frame.stem, stages[0]) + head_cost(frame.head, shape, stages[-1])
    for before, after in itertools.pairwise(stages):
        total += transition_cost(before, after)
    for block, site in _placed(arch, stages):
        total += block_cost(block, site)
    return total


def network_profile(frame: Frame, shape: TaskShape, arch: Arch) -> dict[str, float]:
    """Mean rank and sparsity over the blocks that mix: the two words with one meaning on every operator."""
    placed = _placed(arch, _stage_sites(frame, shape, arch))
    mixing = [(b.operator, site) for b, site in placed if b.operator.name != NONE]
    knobs = [(operators.get(op.name), operators.parse(op), site) for op, site in mixing]
    count = max(1, len(knobs))
    return {
        "rank": sum(mixer.rank(k, site) for mixer, k, site in knobs) / count,
        "sparsity": sum(mixer.sparsity(k, site) for mixer, k, site in knobs) / count,
    }


def _stage_sites(frame: Frame, shape: TaskShape, arch: Arch) -> list[Site]:
    placed = zip(sites(frame, shape), arch.stages, strict=True)
    return [block_site(site, stage.embed_dim, 0) for site, stage in placed]


def _placed(arch: Arch, stages: list[Site]) -> list[tuple[BlockArch, Site]]:
    return [
        (block, block_site(site, stage.embed_dim, j))
        for stage, site in zip(arch.stages, stages, strict=True)
        for j, block in enumerate(stage.blocks)
    ]
