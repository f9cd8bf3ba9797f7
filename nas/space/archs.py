"""The architectures of a `SearchSpace`, as searches need them."""

import itertools
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from nas.arch import NONE, Arch, BlockArch, Knob
from nas.space.contract import Space
from nas.space.encode import Encoder
from nas.space.presets import references
from nas.space.sample import sample
from nas.space.space import BlockSpace, SearchSpace, StageSpace, settle
from nas.space.vary import crossover, mutate


class ArchSpace(Space):
    """Points are `Arch`; genes are the encoder's."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.name = space, space.frame.name
        self._encoder = Encoder(space)

    @property
    def digest(self) -> str:
        """That of the search space."""
        return self.space.digest

    @property
    def size(self) -> int:
        """Number of different archs, before rules between blocks."""
        return self.space.size

    @cached_property
    def choices(self) -> Mapping[str, tuple[Knob, ...]]:
        """The encoder's genes."""
        return {gene: _ascending(values) for gene, values in self._encoder.choices.items()}

    def __contains__(self, point: object) -> bool:
        return isinstance(point, Arch) and point in self.space

    def corners(self) -> dict[str, Arch]:
        """Smallest, largest, the largest with each family's first operator wherever offered, hand-made references."""
        anchors = {f"anchor/{family}": arch for family, arch in self.space.anchors().items()}
        made = {f"reference/{name}": arch for name, arch in references(self.space).items()}
        return {"smallest": self.space.smallest(), "largest": self.space.largest(), **anchors, **made}

    def sample(self, rng: random.Random) -> Arch:
        """Operators, then their combinations, FFN kinds and ratios equally likely."""
        return sample(self.space, rng)

    def mutate(self, point: Arch, rng: random.Random, rate: float = 0.15) -> Arch:
        """See `nas.space.vary.mutate`."""
        return mutate(self.space, point, rng, rate=rate)

    def crossover(self, one: Arch, other: Arch, rng: random.Random) -> Arch:
        """See `nas.space.vary.crossover`."""
        return crossover(self.space, one, other, rng)

    def genes(self, point: Arch) -> dict[str, Knob]:
        """Those of absent blocks and other operators are left out."""
        return self._encoder.genes(point)

    def point(self, genes: Mapping[str, Knob]) -> Arch:
        """Missing genes take their first value, illegal combinations the closest legal one."""
        return self._encoder.arch(genes)

    def read(self, data: Mapping[str, Any]) -> Arch:
        """The arch that `Arch.to_dict` wrote."""
        return Arch.from_dict(data)

    def every(self) -> Iterator[Arch]:
        """All archs, by depth and width."""
        drafts = [[(width, blocks) for width in s.embed_dims for blocks in _sequences(s)] for s in self.space.stages]
        seen = set()
        for stages in itertools.product(*drafts):
            arch = settle(self.space, stages)
            if arch not in seen:
                seen.add(arch)
                yield arch


def _sequences(stage: StageSpace) -> Iterator[tuple[BlockArch, ...]]:
    for depth in stage.depths:
        yield from itertools.product(*(tuple(_blocks(block)) for block in stage.blocks[:depth]))


def _blocks(space: BlockSpace) -> Iterator[BlockArch]:
    for operator, ffn in itertools.product(space.operators, space.ffns):
        for gate in space.gates if operator.name != NONE else space.gates[:1]:
            yield space.block(operator, ffn, gate)


def _ascending(values: tuple[Knob, ...]) -> tuple[Knob, ...]:
    return values if any(isinstance(value, str) for value in values) else tuple(sorted(values, key=float))
