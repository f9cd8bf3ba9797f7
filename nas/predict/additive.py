"""Latency as a sum over parts, each kind of part with one factor that whole nets correct."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nas.arch import NONE, Arch
from nas.errors import MeasurementError
from nas.predict.contract import Array
from nas.predict.features import PartFeatures
from nas.predict.parts import PartTimes
from nas.profiling.parts import arch_parts, space_parts
from nas.profiling.table import Row
from nas.shapes import TaskShape
from nas.space import SearchSpace

ENDS = "ends"
STRENGTHS = tuple(10.0**power for power in np.arange(-3, 2.5, 0.5))
TRUSTS = (1.0, 0.5, 0.25, 0.0)
BLOCK_SHARE = 0.05  # a correction per block of this share of a block's mean time counts as much as one by factor two


@dataclass(frozen=True, slots=True)
class Additive:
    """time = sum over groups of factor x (sum of the group's part times) + per-block and constant corrections.

    Factors are one where parts explain the nets; ridge regression towards that, its strength by leave-one-out error.
    """

    times: PartTimes
    groups: tuple[str, ...]
    factors: Array
    per_block: float
    known: frozenset[str]
    """Operators that some row holds."""
    error: float = 0.0
    """Leave-one-out error on the nets that the factors were fitted to."""
    _sums: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def fit(cls, parts: Sequence[Row], nets: Sequence[Row], space: SearchSpace, shape: TaskShape) -> "Additive":
        """From rows at one pace: times of parts, and whole nets to correct their sum by."""
        by_key = {part.key: part for part in space_parts(space)}
        measured = {by_key[row.name]: row.median_ms for row in parts if row.name in by_key}
        times = PartTimes.fit(measured, PartFeatures.of(space, shape))
        archs = [row.network() for row in nets]
        wanted = np.array([row.median_ms for row in nets])
        known = {part.operator.name for part in measured} | {b.operator.name for a in archs for b in a.blocks}
        groups = (ENDS, "gate", "ffn", *(name for name in space.operator_names() if name != NONE))
        operators, start = frozenset(known | {NONE}), np.ones(len(groups) + 2)
        fitted = (
            cls(times.trusting(trust), groups, start, 1.0, operators).corrected(archs, wanted) for trust in TRUSTS
        )
        return min(fitted, key=lambda additive: additive.error)

    def corrected(self, archs: Sequence[Arch], wanted: Array) -> "Additive":
        """The same with factors that fit these nets."""
        size = len(self.groups)
        blocks = sum(len(arch.blocks) for arch in archs)
        per_block = BLOCK_SHARE * float(wanted.sum()) / max(1, blocks)
        start = np.concatenate([np.ones(size), np.zeros(2)])
        fresh = replace(self, factors=start, per_block=per_block)
        if not archs:
            return fresh
        table = fresh.table(archs) / wanted[:, None]
        change, error = _ridge(table, 1.0 - table @ start)
        return replace(fresh, factors=start + change, error=error)

    def predict(self, archs: Sequence[Arch]) -> Array:
        """Milliseconds `[len(archs)]`."""
        if not archs:
            return np.zeros(0)
        table = self.table(archs)
        # a sum of parts is never taken below a tenth of itself, whatever the factors say
        floor = 0.1 * table[:, : len(self.groups)].sum(1)
        predicted: Array = np.maximum(table @ self.factors, floor)
        return predicted

    def table(self, archs: Sequence[Arch]) -> Array:
        """`[len(archs), groups + 2]`: summed part times by group, then blocks and one, both in milliseconds."""
        return np.stack([self._row(arch) for arch in archs])

    def _row(self, arch: Arch) -> Array:
        if arch.digest in self._sums:
            sums = self._sums[arch.digest]
        else:
            sums = self._sums[arch.digest] = self._grouped(arch)
        alive = sum(not block.is_off for block in arch.blocks)
        return np.concatenate([sums, [self.per_block * alive, self.per_block]])

    def _grouped(self, arch: Arch) -> Array:
        sums = np.zeros(len(self.groups))
        for part in arch_parts(arch):
            if part.operator.name not in self.known:
                raise MeasurementError(
                    f"a latency is predicted only for measured operators, {part.operator.name!r} is not in the table: "
                    "run `nas profile` on this space, or raise profile.seconds"
                )
            group = part.group if part.kind in ("mixer", "gate", "ffn") else ENDS
            sums[self.groups.index(group)] += self.times.ms(part)
        return sums


def _ridge(table: Array, wanted: Array) -> tuple[Array, float]:
    best, least = np.zeros(table.shape[1]), float("inf")
    for strength in STRENGTHS:
        inverse = np.linalg.inv(table.T @ table + strength * np.eye(table.shape[1]))
        change = inverse @ table.T @ wanted
        leverage = np.einsum("ij,jk,ik->i", table, inverse, table)
        error = float(np.abs((wanted - table @ change) / (1 - np.minimum(leverage, 0.999))).mean())
        if error < least:
            best, least = change, error
    return best, least
