"""Latency tables that follow a known law."""

import random
from collections.abc import Callable

import numpy as np

from nas.arch import Arch
from nas.predict.features import PartFeatures
from nas.profiling.parts import Part, arch_parts, space_parts
from nas.profiling.table import Row, Split
from nas.shapes import TaskShape
from nas.space import SearchSpace, sample

Law = Callable[[Part], float]


def row(
    name: str, ms: float, *, split: Split = "", arch: Arch | None = None, pace: float = 1.0, space: str = "s"
) -> Row:
    return Row(
        kind="net" if arch else "part",
        name=name,
        split=split,
        arch=arch.to_dict() if arch else None,
        median_ms=ms * pace,
        low_ms=ms * pace,
        high_ms=ms * pace,
        repeats=9,
        reference_ms=pace,
        noise=0.0,
        clock="fake",
        foreign_load=None,
        device="d",
        runtime="eager",
        version="0",
        space=space,
        workload="w",
        batch=1,
        threads=1,
        dtype="float32",
        tokens=16,
        image_size=0,
        phase="prefill",
        cache=0,
        seconds=0.1,
    )


def costed(space: SearchSpace, shape: TaskShape) -> Law:
    """Linear in closed-form costs, the operators unlike each other, and nothing that a group's law cannot hold."""
    features = PartFeatures.of(space, shape)
    groups = sorted({part.group for part in space_parts(space)})

    def ms(part: Part) -> float:
        rank = groups.index(part.group)
        one, flops, params, pairs, width, _ = features.common(part)
        return float((0.05 + 0.01 * rank) * one + 0.02 * rank * flops + 0.004 * params + 0.1 * pairs + 0.2 * width)

    return ms


def table(
    space: SearchSpace, law: Law, *, nets: int, held_out: int, noise: float = 0.0, share: float = 1.0, seed: int = 0
) -> list[Row]:
    """Part rows for a share of the parts and rows of random nets, each with relative noise and at a pace of its own."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    parts = space_parts(space)
    kept = [part for part in parts if part.kind in ("stem", "head", "transition") or rng.random() < share]
    archs = {arch.digest: arch for arch in (sample(space, rng) for _ in range(2 * (nets + held_out)))}
    chosen = list(archs.values())[: nets + held_out]

    def wobble() -> float:
        return float(1.0 + noise * draw.standard_normal())

    rows = [row(part.key, law(part) * wobble(), pace=rng.choice((1.0, 1.5))) for part in kept]
    for index, arch in enumerate(chosen):
        ms = sum(law(part) for part in arch_parts(arch)) * wobble()
        split: Split = "fit" if index < nets else "held_out"
        rows.append(row(arch.digest, ms, split=split, arch=arch, pace=rng.choice((1.0, 1.5))))
    return rows
