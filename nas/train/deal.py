"""Random archs for training: operators dealt so that each gets equal updates, sizes drawn among the axes that are open.

"FairNAS" (2021) for the dealing, "Once-for-All" (2020) for the opening of axes one after another, "ElasticViT" (2023)
for archs whose FLOPs change little from one step to the next.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from nas.arch import NONE, Arch, BlockArch, Knob, OperatorArch
from nas.space.sample import sample_block
from nas.space.space import BlockSpace, SearchSpace, settle

HEADS = ("num_heads", "num_kv_heads", "head_dim")
PERIOD = 64
"""Draws between two visits of the smallest FLOPs."""
CANDIDATES = 6


@dataclass(frozen=True)
class Dealer:
    """Draws number 0, 1, … of one seed.

    Axes open in the order: operator types, their knobs but for heads, heads and FFNs, width and depth; what is not open
    has its largest value.
    """

    GROUPS: ClassVar[int] = 3
    """How many groups open after the types."""

    space: SearchSpace
    seed: int
    is_latin: bool = True
    depth_draws: int = 1
    """A stage has the largest of so many depths that are drawn."""
    flops: Callable[[Arch], float] | None = None

    def deal(self, draw: int, opened: int = GROUPS) -> Arch:
        """The arch of a draw; with known FLOPs, the candidate nearest to those whose turn it is."""
        if self.flops is None:
            return self._drawn(draw, 0, opened)
        wanted = self._wanted(draw)
        candidates = (self._drawn(draw, i, opened) for i in range(CANDIDATES))
        return min(candidates, key=lambda arch: abs(math.log(self._flops(arch)) - wanted))

    def of(self, names: Sequence[str], rng: random.Random, opened: int = GROUPS) -> Arch:
        """An arch of random sizes with the first of these operators that a block offers, any if it offers none."""

        def named(block: BlockSpace, _: str) -> str | None:
            return next((name for name in names if name in block.names), None)

        return self._built(rng, opened, named)

    def smallest(self, opened: int = GROUPS) -> Arch:
        """The space's smallest arch, as far as axes are open."""
        if opened >= self.GROUPS:
            return self.space.smallest()
        whole = [(s.embed_dims[-1], [b.smallest() for b in s.blocks[: s.depths[-1]]]) for s in self.space.stages]
        pairs = zip(whole, self.space.stages, strict=True)
        return settle(self.space, [(width, _held(blocks, stage.blocks, opened)) for (width, blocks), stage in pairs])

    def operator(self, block: BlockSpace, place: str, draw: int) -> str:
        """The operator at a place: seat `draw` in an endless row of shuffled decks, or any."""
        if not self.is_latin:
            return random.Random(f"{self.seed}/any/{place}/{draw}").choice(block.names)
        turn, seat = divmod(draw, len(block.names))
        order = list(block.names)
        random.Random(f"{self.seed}/order/{place}/{turn}").shuffle(order)
        return order[seat]

    def _drawn(self, draw: int, candidate: int, opened: int) -> Arch:
        rng = random.Random(f"{self.seed}/deal/{draw}/{candidate}" if candidate else f"{self.seed}/deal/{draw}")
        return self._built(rng, opened, lambda block, place: self.operator(block, place, draw))

    def _built(self, rng: random.Random, opened: int, named: Callable[[BlockSpace, str], str | None]) -> Arch:
        stages = []
        for s, stage in enumerate(self.space.stages):
            depth = max(rng.choice(stage.depths) for _ in range(self.depth_draws))
            width = rng.choice(stage.embed_dims)
            if opened < self.GROUPS:
                depth, width = stage.depths[-1], stage.embed_dims[-1]
            names = (named(block, f"{s}.{b}") for b, block in enumerate(stage.blocks[:depth]))
            drawn = [sample_block(block, rng, name) for block, name in zip(stage.blocks, names, strict=False)]
            stages.append((width, _held(drawn, stage.blocks, opened)))
        return settle(self.space, stages)

    @cached_property
    def _range(self) -> tuple[float, float]:
        return math.log(self._flops(self.space.smallest())), math.log(self._flops(self.space.largest()))

    def _wanted(self, draw: int) -> float:
        """Log FLOPs that go up and down between those of the smallest and the largest arch."""
        low, high = self._range
        return low + (high - low) * (1 - abs(1 - 2 * (draw % PERIOD) / PERIOD))

    def _flops(self, arch: Arch) -> float:
        return max(1.0, self.flops(arch)) if self.flops is not None else 1.0


def _held(drawn: Sequence[BlockArch], choices: Sequence[BlockSpace], opened: int) -> list[BlockArch]:
    """The drawn blocks, what is not open yet at its largest."""
    if opened >= 2:
        return list(drawn)
    return [_largest(block, space, opened) for block, space in zip(drawn, choices, strict=False)]


def _largest(block: BlockArch, choices: BlockSpace, opened: int) -> BlockArch:
    drawn, largest = block.operator, choices.of(block.operator.name)[0]
    wanted = {name: _open(name, value, drawn, opened) for name, value in largest.knobs}
    operator = choices.closest(drawn.name, wanted) if drawn.name != NONE else drawn
    return choices.block(operator, choices.ffns[0], block.gate if block.gate in choices.gates else choices.gates[0])


def _open(name: str, largest: Knob, drawn: OperatorArch, opened: int) -> Knob:
    return drawn[name] if opened >= 1 and name not in HEADS else largest
