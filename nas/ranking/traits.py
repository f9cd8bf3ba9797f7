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

    def __call__(self, archs: Sequence[Arch]) -> Array:
        """`[N, F]`: size, work, depth, width and FFN, and the share of blocks that each operator has."""
        return np.array([self._general(arch) for arch in archs], dtype=np.float64)

    def detailed(self, archs: Sequence[Arch]) -> Array:
        """`[N, F]`: these, and what comes first and last, for a hundred networks or so."""
        return np.array([[*self._general(arch), *self._ends(arch)] for arch in archs], dtype=np.float64)

    def _general(self, arch: Arch) -> list[float]:
        cost, blocks = network_cost(self.space.frame, self.shape, arch), arch.blocks
        widths = [np.log(stage.embed_dim) for stage in arch.stages for _ in stage.blocks]
        hidden = [block.ffn.ratio for block in blocks]
        used = [block.operator.name for block in blocks]
        shares = [used.count(name) / len(used) for name in self.space.operator_names()]
        general = [np.log(cost.params), np.log(cost.flops), len(blocks), np.mean(widths), np.mean(hidden)]
        return [float(value) for value in (*general, *shares)]

    def _ends(self, arch: Arch) -> list[float]:
        """A network of one block has a first one and no last one."""
        names, (first, *others) = self.space.operator_names(), arch.blocks
        last = others[-1].operator.name if others else None
        marks = [first.operator.name == name for name in names] + [last == name for name in names]
        return [*map(float, marks), float(first.ffn.ratio), float(arch.blocks[-1].ffn.ratio)]
