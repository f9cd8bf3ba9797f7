"""Rank and sparsity of every arch, from its operators at the sites that the run's device saw; NaN where not known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas import operators
from nas.arch import NONE, Arch, OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site
from nas.report.read import Record, mapping
from nas.shapes import shape_from_dict
from nas.space.space import Frame, Stem
from nas.supernet.layout import block_site, sites

Profile = tuple[float, float]
UNKNOWN: Profile = (float("nan"), float("nan"))
ODD = (ArchError, TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError)
"""What a file's content that is no architecture of this version may raise."""


def mixing_profiles(record: Record, archs: Sequence[Arch]) -> NDArray[np.float32]:
    """Mean rank and sparsity over the blocks that mix `[archs, 2]`, as `supernet.cost.network_profile` counts them.

    NaN without a profiled device, for an arch that does not fit its workload, and where no block mixes.
    """
    stages = _sites(record)
    known: dict[tuple[int, int, int, OperatorArch], Profile] = {}
    found = [_mean(arch, stages, known) for arch in archs]
    return np.array(found, dtype=np.float32).reshape(-1, 2)


def _mean(arch: Arch, stages: Sequence[Site], known: dict[tuple[int, int, int, OperatorArch], Profile]) -> Profile:
    if len(stages) != len(arch.stages):
        return UNKNOWN
    ranks, sparsities = [], []
    for i, stage in enumerate(arch.stages):
        for j, block in enumerate(stage.blocks):
            if block.operator.name != NONE:
                key = (i, stage.embed_dim, j, block.operator)
                if key not in known:
                    known[key] = _profile(block.operator, stages[i], stage.embed_dim, j)
                ranks.append(known[key][0])
                sparsities.append(known[key][1])
    return (sum(ranks) / len(ranks), sum(sparsities) / len(sparsities)) if ranks else UNKNOWN


def _profile(operator: OperatorArch, site: Site, embed_dim: int, index: int) -> Profile:
    placed = block_site(site, embed_dim, index)
    try:
        mixer, knobs = operators.get(operator.name), operators.parse(operator)
        return float(mixer.rank(knobs, placed)), float(mixer.sparsity(knobs, placed))
    except ODD:
        return UNKNOWN


def _sites(record: Record) -> Sequence[Site]:
    """One site per stage; none where the run's profile does not say what it was measured on."""
    workload = mapping(record.device.get("workload"))
    frame, shape = mapping(workload.get("frame")), mapping(workload.get("shape"))
    try:
        stem, reductions = Stem(**mapping(frame["stem"])), tuple(int(r) for r in frame["reductions"])
        placed = Frame(str(frame["name"]), frame["domain"], stem, reductions)
        return sites(placed, shape_from_dict(shape))
    except ODD:
        return ()
