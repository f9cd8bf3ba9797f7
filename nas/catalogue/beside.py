"""An operator timed beside softmax on this device, in turn, so that the ratio is free of drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from nas import operators
from nas.arch import Arch, BlockArch, OperatorArch, StageArch
from nas.errors import ArchError, MeasurementError, NasError
from nas.operators.contract import Site
from nas.profiling import ProfileConfig, time_interleaved
from nas.profiling.parts import Part
from nas.profiling.pieces import cut_part
from nas.profiling.program import Program
from nas.profiling.workload import workload
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet

PATCH = 4


@dataclass(frozen=True, slots=True)
class Timed:
    """Median milliseconds with the quartiles, and the median over softmax's; both None where it could not run."""

    arch: OperatorArch
    ms: float
    low_ms: float
    high_ms: float
    over_softmax: float


def beside_softmax(
    archs: Sequence[OperatorArch], site: Site, heads: int, head_dim: int, config: ProfileConfig | None = None
) -> list[Timed]:
    """Times of the mixers with norm, layer-scale and residual, by default eager, batch 1, one thread;
    `MeasurementError`.
    """
    config = config or ProfileConfig()
    softmax = OperatorArch.of("softmax", num_heads=heads, num_kv_heads=heads, head_dim=head_dim)
    rival, *programs = (_program(arch, site, config) for arch in (softmax, *archs))
    timings, whole = time_interleaved(programs, rival, config.timer)
    return [
        Timed(arch, timing.median_ms, timing.low_ms, timing.high_ms, timing.median_ms / whole.median_ms)
        for arch, timing in zip(archs, timings, strict=True)
    ]


def space_of(
    arch: OperatorArch, site: Site, *, depth: int = 2, stem: Mapping[str, int] | None = None, ratio: float = 1.0
) -> SearchSpace:
    """A space of `depth` blocks of this operator alone, behind what it needs, each with an MLP of that ratio."""
    heads = {knob: [arch[knob]] for knob in ("num_heads", "num_kv_heads", "head_dim") if knob in arch}
    own = {knob: [value] for knob, value in arch.knobs if knob not in heads}
    sources = [source(arch)] if operators.get(arch.name).consumes else []
    offered = {op.name: {k: [v] for k, v in op.knobs if k not in heads} for op in sources}
    block = {"num_heads": [1], "num_kv_heads": [1], "head_dim": [8], **heads}
    block |= {"operators": {arch.name: own, **offered}, "ffn": {"mlp": [ratio]}, "gate": ["none"]}
    first = {**block, "operators": offered or {arch.name: own}}
    stem = stem or ({"patch": PATCH} if site.domain == "image" else {"conv": 0})
    stage = {"embed_dim": [site.embed_dim], "depth": [depth], "block": block, "blocks": {0: first}}
    return load_space({"name": arch.name, "domain": site.domain, "stem": stem, "stages": [stage]})


def _program(arch: OperatorArch, site: Site, config: ProfileConfig) -> Program:
    sources = [BlockArch(source(arch))] if operators.get(arch.name).consumes else []
    try:
        space, shape = space_of(arch, site), _shape(site)
        alone = space.only(Arch((StageArch(site.embed_dim, (*sources, BlockArch(arch))),)))
        torch.manual_seed(0)
        net = Supernet(alone, shape).eval()
        part = Part(kind="mixer", stage=0, embed_dim=site.embed_dim, operator=arch)
        return cut_part(net, part, workload(alone, shape), seed=0).program(config.engine())
    except NasError as error:
        raise MeasurementError(f"{arch.name} cannot be timed at {site.tokens} tokens: {error}") from error


def source(arch: OperatorArch) -> OperatorArch:
    """An operator that publishes what this one reads, with heads that it can follow."""
    mixer, knobs = operators.get(arch.name), operators.parse(arch)
    heads = {knob: arch[knob] for knob in ("num_heads", "num_kv_heads", "head_dim") if knob in arch}
    for name in ("softmax", *operators.names()):
        able = operators.get(name)
        if mixer.consumes <= able.publishes and not able.consumes:
            first = {knob: values[0] for knob, values in able.suggested.items()}
            values = {**heads, **first, **dict(arch.knobs)}
            made = OperatorArch.of(name, **{knob: values[knob] for knob in operators.knob_names(name)})
            if mixer.can_follow(knobs, (made,)):
                return made
    raise ArchError(f"no operator publishes {sorted(mixer.consumes)} in a layout that {arch.name} can read")


def _shape(site: Site) -> TaskShape:
    if site.grid is None:
        return TokenShape(vocab=256, tokens=site.tokens, classes=256, is_causal=site.is_causal)
    return ImageShape(channels=1, height=PATCH * site.grid[0], width=PATCH * site.grid[1], classes=10)
