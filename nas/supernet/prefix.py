"""A network's pass as a walk of steps, so that archs that begin with the same steps can share what these compute."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from torch import Tensor

from nas import gates, operators
from nas.arch import NONE, Arch, BlockArch
from nas.operators.contract import Context, Site
from nas.space.space import SearchSpace
from nas.supernet.block import Block
from nas.supernet.model import Supernet


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a step hands to the next: tokens `[B, T, C]`, and what blocks of this stage published for later ones."""

    x: Tensor
    published: dict[str, Tensor] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All it holds."""
        return (self.x, *self.published.values())


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One stretch of a walk, and the number of the prefix that ends with it.

    Steps of one `Walk` with equal numbers compute the same tensors from the same inputs, bit for bit.
    """

    prefix: int
    run: Callable[[State], State]


class Walk:
    """The steps of a network: stem, then of each block the mixer and the FFN, and transitions between stages.

    Branches that are off are no steps, so a block that is off is none at all. Training losses of operators are dropped.
    The numbers of prefixes are kept for as long as the walk: about a kilobyte per arch.
    """

    def __init__(self, net: Supernet) -> None:
        self.net = net
        self._readable = _readable(net.space)
        self._numbers: dict[tuple[int, Hashable], int] = {}

    def steps(self, arch: Arch) -> list[Step]:
        """The steps from `State(inputs)` to the tokens that the network's head takes."""
        steps, prefix = [], -1
        for part, run in self._stretches(arch):
            prefix = self._numbers.setdefault((prefix, part), len(self._numbers))
            steps.append(Step(prefix, run))
        return steps

    def _stretches(self, arch: Arch) -> Iterator[tuple[Hashable, Callable[[State], State]]]:
        for i, (stage, readable) in enumerate(zip(arch.stages, self._readable, strict=True)):
            yield (i, stage.embed_dim), partial(self._enter, i, stage.embed_dim)
            for (block, block_arch, site), names in zip(self.net.placed(i, stage), readable, strict=False):
                if block_arch.operator.name != NONE:
                    part = (i, site.index, block_arch.operator, block_arch.gate)
                    yield part, partial(_mix, block, block_arch, site, names)
                if block_arch.ffn.kind != NONE:
                    yield (i, site.index, block_arch.ffn), partial(_feed, block, block_arch)

    def _enter(self, stage: int, embed_dim: int, state: State) -> State:
        if stage:
            return State(self.net.enter(state.x, stage, embed_dim))
        return State(cast(Tensor, self.net.stem(state.x, embed_dim)))


def _mix(block: Block, arch: BlockArch, site: Site, names: frozenset[str], state: State) -> State:
    context = Context(site, dict(state.published))
    x = block.mixed(state.x, arch, context)
    return State(x, {name: value for name, value in context.published.items() if name in names})


def _feed(block: Block, arch: BlockArch, state: State) -> State:
    return State(block.fed_forward(state.x, arch), state.published)


def _readable(space: SearchSpace) -> list[list[frozenset[str]]]:
    """For every block of every stage, the names that an operator or gate of a later block reads; only they are kept."""
    kept = []
    for stage in space.stages:
        reads = [
            frozenset[str]().union(
                *(operators.get(n).consumes for n in b.names), *(gates.get(n).shares for n in b.gates if n != NONE)
            )
            for b in stage.blocks
        ]
        kept.append([frozenset[str]().union(*reads[j + 1 :]) for j in range(len(reads))])
    return kept
