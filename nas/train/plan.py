"""Which archs a step trains, as a function of (seed, step) alone, so that every rank and every resumed run agrees.

Sandwich rule ("Universally Slimmable Networks", 2019): largest, smallest and random archs. Largest and smallest do not
bound a categorical axis, so one anchor per operator family takes turns as well. Operators of the random archs are dealt
by permutations, so that each operator of each block gets equal updates ("FairNAS", 2021).
"""

import random
from dataclasses import dataclass
from functools import cached_property

from nas.arch import Arch
from nas.space.sample import sample_block
from nas.space.space import BlockSpace, SearchSpace, settle


@dataclass(frozen=True)
class Sandwich:
    """Largest first (the teacher), then smallest, the anchor whose turn it is, and `randoms` dealt archs."""

    space: SearchSpace
    seed: int
    randoms: int = 1

    @cached_property
    def _anchors(self) -> tuple[tuple[str, Arch], ...]:
        largest = self.space.largest()
        return tuple((family, arch) for family, arch in self.space.anchors().items() if arch != largest)

    @cached_property
    def _fixed(self) -> tuple[Arch, Arch]:
        return self.space.largest(), self.space.smallest()

    def __call__(self, step: int) -> dict[Arch, str]:
        """The step's archs with their roles (`largest`, `smallest`, a family, `random`), teacher first."""
        largest, smallest = self._fixed
        roles = {largest: "largest", smallest: "smallest"}
        if self._anchors:
            family, arch = self._anchors[step % len(self._anchors)]
            roles.setdefault(arch, family)
        for i in range(self.randoms):
            roles.setdefault(self._deal(step * self.randoms + i), "random")
        return roles

    def _deal(self, draw: int) -> Arch:
        rng = random.Random(f"{self.seed}/deal/{draw}")
        stages = []
        for s, stage in enumerate(self.space.stages):
            depth = rng.choice(stage.depths)
            names = (self._operator(block, f"{s}.{b}", draw) for b, block in enumerate(stage.blocks[:depth]))
            blocks = [sample_block(block, rng, name) for block, name in zip(stage.blocks, names, strict=False)]
            stages.append((rng.choice(stage.embed_dims), blocks))
        return settle(self.space, stages)

    def _operator(self, block: BlockSpace, place: str, draw: int) -> str:
        turn, seat = divmod(draw, len(block.names))
        order = list(block.names)
        random.Random(f"{self.seed}/order/{place}/{turn}").shuffle(order)
        return order[seat]


@dataclass(frozen=True)
class Alone:
    """The same arch every step: how a standalone network is trained."""

    arch: Arch

    def __call__(self, step: int) -> dict[Arch, str]:
        """Just the arch."""
        return {self.arch: "largest"}
