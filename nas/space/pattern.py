"""A hand-made architecture as a pattern without sizes, and what it becomes in a search space."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from nas.arch import NONE, Arch, BlockArch, FfnArch, Knob
from nas.config import config
from nas.errors import ArchError
from nas.shapes import Domain
from nas.space.space import BlockSpace, SearchSpace, StageSpace, can_follow, settle

Scale = Annotated[float, Field(gt=0.0, le=1.0)]
Wish = Knob | tuple[Knob, ...]
"""A knob's value, the nearest offered one standing in for a number; `largest` or `smallest`; or several, best first."""
ENDS: dict[Knob, Callable[[Sequence[Knob]], Knob]] = {
    "largest": lambda values: max(values, key=float),
    "smallest": lambda values: min(values, key=float),
}


@config
class Slot:
    """One block's mixing: operators, best first, of which the first that the block offers is taken."""

    operators: Annotated[tuple[str, ...], Field(min_length=1)]
    knobs: dict[str, Wish] = field(default_factory=dict)
    """What is not named takes its largest value, heads in proportion to the width."""
    kv_share: Scale = 1.0
    """Key and value heads over heads."""


@config
class FfnWish:
    """FFN kinds, best first, and the ratio; the block's first kind and the largest ratio if nothing is said."""

    kinds: tuple[str, ...] = ()
    ratio: Annotated[float, Field(gt=0)] | None = None


@config
class StagePattern:
    """The blocks of a stage: `cycle` over and over, but for single places; width and depth over the space's largest.

    The last place is a single one only if a block of the cycle lies before it, the middle if one lies on either side.
    """

    cycle: Annotated[tuple[Slot, ...], Field(min_length=1)]
    first: Slot | None = None
    middle: Slot | None = None
    last: Slot | None = None
    width: Scale = 1.0
    depth: Scale = 1.0
    ffn: FfnWish = field(default_factory=FfnWish)
    gate: str = NONE

    def slot(self, index: int, depth: int) -> Slot:
        """What block `index` of `depth` is to be."""
        places = {0: self.first}
        if depth >= 3:
            places[depth - 1] = self.last
        if depth >= 5:
            places[depth // 2] = self.middle
        return places.get(index) or self.cycle[index % len(self.cycle)]


@config
class Preset:
    """A preset file; a space with more stages than patterns spreads them evenly, first and last in place."""

    name: str
    source: str
    """Paper and year."""
    domains: tuple[Domain, ...]
    min_stages: Annotated[int, Field(ge=1)] = 1
    stages: Annotated[tuple[StagePattern, ...], Field(min_length=1)]

    def stage(self, index: int, count: int) -> StagePattern:
        """The pattern of stage `index` of `count`."""
        return self.stages[round(index * (len(self.stages) - 1) / max(1, count - 1))]


@dataclass(frozen=True, slots=True)
class Size:
    """A preset made smaller: width and depth over its own, and how many steps its FFN ratios are lower."""

    width: float = 1.0
    depth: float = 1.0
    ffn: int = 0


def resolve(space: SearchSpace, preset: Preset, size: Size = Size()) -> Arch:  # noqa: B008 (a frozen value)
    """The preset's arch of this space; `ArchError` says what the space lacks."""
    frame, count = space.frame, len(space.stages)
    if frame.domain not in preset.domains:
        raise ArchError(f"it is for {' and '.join(preset.domains)}, the space is for {frame.domain}")
    if count < preset.min_stages:
        raise ArchError(f"it needs {preset.min_stages} stages or more, the space has {count}")
    drafts = [_stage(stage, preset.stage(i, count), size, f"stage {i}") for i, stage in enumerate(space.stages)]
    return settle(space, drafts)


def nearest(values: Sequence[Knob], wanted: float) -> Knob:
    """The number nearest in proportion, of equally near ones the smaller."""
    return min(values, key=lambda value: (abs(math.log(float(value) / wanted)), float(value)))


def _stage(stage: StageSpace, pattern: StagePattern, size: Size, place: str) -> tuple[int, list[BlockArch]]:
    largest = stage.embed_dims[-1]
    width = int(nearest(stage.embed_dims, pattern.width * size.width * largest))
    depth = int(nearest(stage.depths, pattern.depth * size.depth * stage.depths[-1]))
    made: list[BlockArch] = []
    for i, block in enumerate(stage.blocks[:depth]):
        slot, ffn = pattern.slot(i, depth), _ffn(block, pattern.ffn, size.ffn)
        gate = next((g for g in (pattern.gate, NONE) if g in block.gates), block.gates[0])
        drafts = (
            _mixer(block, name, slot, width / largest, ffn, gate) for name in slot.operators if name in block.names
        )
        able = (draft for draft in drafts if can_follow([*made, draft], i))
        if (found := next(able, None)) is None:
            raise ArchError(
                f"block {i} of {place} must be {' or '.join(slot.operators)}, the space offers {', '.join(block.names)}"
            )
        made.append(found)
    return width, made


def _mixer(block: BlockSpace, name: str, slot: Slot, width: float, ffn: FfnArch, gate: str) -> BlockArch:
    """The block with this operator; `width` is over the space's largest."""
    offered: dict[str, list[Knob]] = {}
    for operator in block.of(name):
        for knob, value in operator.knobs:
            offered[knob] = list(dict.fromkeys((*offered.get(knob, []), value)))
    wanted = {knob: _knob(offered[knob], wish) for knob, wish in slot.knobs.items() if knob in offered}
    if "num_heads" in offered:
        wanted.setdefault(
            "num_heads", nearest(offered["num_heads"], width * float(max(offered["num_heads"], key=float)))
        )
    if "num_kv_heads" in offered:
        wanted.setdefault("num_kv_heads", nearest(offered["num_kv_heads"], slot.kv_share * float(wanted["num_heads"])))
    return block.block(block.closest(name, wanted), ffn, gate)


def _knob(offered: Sequence[Knob], wish: Wish) -> Knob:
    """The offered value that the wish comes nearest to, the first offered one if to none."""
    wishes = wish if isinstance(wish, tuple) else (wish,)
    for each in wishes:
        if each in ENDS:
            return ENDS[each](offered)
        if not isinstance(each, str):
            return nearest(offered, each)
        if each in offered:
            return each
    return offered[0]


def _ffn(block: BlockSpace, wish: FfnWish, lower: int) -> FfnArch:
    kinds = [*wish.kinds, *(ffn.kind for ffn in block.ffns)]
    kind = next(kind for kind in kinds if any(ffn.kind == kind for ffn in block.ffns))
    own = sorted((ffn for ffn in block.ffns if ffn.kind == kind), key=lambda ffn: -ffn.ratio)
    start = 0
    if wish.ratio is not None and kind != NONE:
        start = [ffn.ratio for ffn in own].index(float(nearest([ffn.ratio for ffn in own], wish.ratio)))
    return own[min(start + lower, len(own) - 1)]
