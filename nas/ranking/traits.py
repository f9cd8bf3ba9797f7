"""What an arch is made of, as numbers that trained networks are enough to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch import Arch
from nas.ranking.correlation import Array
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import network_cost


@dataclass(frozen=True, slots=True)
class Traits:
    """Of the archs of a space, as networks of a shape."""

    space: SearchSpace
    shape: TaskShape

    def sizes(self, archs: Sequence[Arch]) -> Array:
        """`[N, 3]`: logarithms of parameters and FLOPs, and the depth."""
        return np.array([self._sizes(arch) for arch in archs], dtype=np.float64)

    def __call__(self, archs: Sequence[Arch]) -> Array:
        """`[N, F]`: these, width and FFN, and the share of blocks that each operator has."""
        return np.array([self._general(arch) for arch in archs], dtype=np.float64)

    def detailed(self, archs: Sequence[Arch]) -> Array:
        """`[N, F]`: these, and what comes first and last, for a hundred networks or so."""
        return np.array([[*self._general(arch), *self._ends(arch)] for arch in archs], dtype=np.float64)

    def _sizes(self, arch: Arch) -> list[float]:
        cost = network_cost(self.space.frame, self.shape, arch)
        return [np.log(cost.params), np.log(cost.flops), float(len(arch.blocks))]

    def _general(self, arch: Arch) -> list[float]:
        """Means over no blocks are 0."""
        blocks = arch.blocks
        count = max(1, len(blocks))
        width = sum(np.log(stage.embed_dim) * len(stage.blocks) for stage in arch.stages) / count
        hidden = sum(block.ffn.ratio for block in blocks) / count
        used = [block.operator.name for block in blocks]
        shares = [used.count(name) / count for name in self.space.operator_names()]
        return [*self._sizes(arch), width, hidden, *shares]

    def _ends(self, arch: Arch) -> list[float]:
        """A network of one block has a first one and no last one; its FFN is at both ends."""
        names, blocks = self.space.operator_names(), arch.blocks
        ends = (blocks[0].operator.name if blocks else None, blocks[-1].operator.name if blocks[1:] else None)
        hidden = [blocks[place].ffn.ratio if blocks else 0.0 for place in (0, -1)]
        return [*(float(end == name) for end in ends for name in names), *hidden]
