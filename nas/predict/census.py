"""Archs as counts of parts: the numbers that every latency here is linear in, many archs at a time."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, BlockArch, StageArch
from nas.errors import MeasurementError
from nas.predict.contract import Array
from nas.profiling.parts import Part, arch_parts, block_parts, space_parts
from nas.space import SearchSpace

Codes = NDArray[np.int64]
ABSENT = 0


class Census:
    """The parts of one space in a fixed order, and the archs of that space as rows of codes.

    A code stands for a few parts: those of a block at a stage and a width, or the ends and transitions of an arch. It
    is given when first seen, so tables by code grow; code 0 has no part.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.name = space.frame.name
        self.parts = space_parts(space)
        self.groups = tuple(dict.fromkeys(part.group for part in self.parts))
        self.kinds = tuple(dict.fromkeys(_kind(part) for part in self.parts))
        self.kind_of: Codes = np.array([self.kinds.index(_kind(part)) for part in self.parts])
        self._position = {part: i for i, part in enumerate(self.parts)}
        self._slots = tuple(len(stage.blocks) for stage in space.stages)
        self._longest = max(3, len(space.stages) + 1)
        self._members = [len(self.parts)] * self._longest
        self._codes: dict[tuple[object, ...], int] = {}

    @property
    def width(self) -> int:
        """Columns of `table`."""
        return len(self.parts) + len(self.kinds) + 2

    def codes(self, archs: Iterable[Arch]) -> Codes:
        """`[archs, 1 + slots]`: the code of the ends, then one for each block that the space has room for."""
        held, found = list(archs), list[int]()  # identities below are good only while the archs live
        seen: dict[tuple[int, int], dict[tuple[int, int, str], int]] = {}
        for arch in held:
            found.append(self._ends(arch))
            for s, stage in enumerate(arch.stages):
                near = seen.setdefault((s, stage.embed_dim), {})
                for block in stage.blocks:
                    # a block's hash costs more than all the rest, and samplers share operators and FFNs
                    key = id(block.operator), id(block.ffn), block.gate
                    code = near.get(key)
                    if code is None:
                        code = near[key] = self._block(block, s, stage.embed_dim)
                    found.append(code)
                found.extend([ABSENT] * (self._slots[s] - len(stage.blocks)))
        if len(found) != len(held) * (1 + sum(self._slots)):
            raise MeasurementError(
                f"a latency is predicted only for archs of the measured space {self.name!r}, got one with more blocks "
                f"than its {'+'.join(map(str, self._slots))}: run `nas profile` on the arch's own space"
            )
        return np.array(found, dtype=np.int64).reshape(len(held), 1 + sum(self._slots))

    def members(self) -> Codes:
        """`[codes, a few]`: the positions of each code's parts in `parts`, filled up with `len(parts)`."""
        return np.array(self._members, dtype=np.int64).reshape(-1, self._longest)

    def has_kind(self) -> NDArray[np.bool_]:
        """`[codes, kinds]`: whether a code has parts of a kind."""
        one_hot = np.eye(len(self.kinds), dtype=bool)[self.kind_of]
        none = np.zeros((1, len(self.kinds)), dtype=bool)
        return np.asarray(np.concatenate([one_hot, none])[self.members()].any(1))

    def table(self, archs: Sequence[Arch]) -> Array:
        """`[archs, width]`: counts of the parts, kinds present as flags, their number, and one."""
        codes, parts = self.codes(archs), len(self.parts)
        members, kinds = self.members(), self.has_kind()
        found = np.ones((len(codes), self.width))
        for row, own in zip(found, codes, strict=True):
            row[:parts] = np.bincount(members[own].ravel(), minlength=parts + 1)[:parts]
            row[parts:-2] = kinds[own].any(0)
        found[:, -2] = found[:, parts:-2].sum(1)
        return found

    def _ends(self, arch: Arch) -> int:
        key = tuple([stage.embed_dim for stage in arch.stages])
        if key in self._codes:
            return self._codes[key]
        return self._add(key, arch_parts(Arch(tuple(StageArch(width, ()) for width in key))))

    def _block(self, block: BlockArch, stage: int, embed_dim: int) -> int:
        key = block, stage, embed_dim
        return self._codes[key] if key in self._codes else self._add(key, block_parts(block, stage, embed_dim))

    def _add(self, key: tuple[object, ...], parts: Sequence[Part]) -> int:
        if foreign := [part for part in parts if part not in self._position]:
            raise MeasurementError(
                f"a latency is predicted only for archs of the measured space {self.name!r}, which has no part "
                f"{foreign[0].key}: run `nas profile` on a space with it, {foreign[0].group!r} is not in the table"
            )
        places = [self._position[part] for part in parts]
        code = self._codes[key] = len(self._members) // self._longest
        self._members += places + [len(self.parts)] * (self._longest - len(places))
        return code


def _kind(part: Part) -> tuple[str, str, str]:
    return part.group, part.ffn.kind, part.gate
