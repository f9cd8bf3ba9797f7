"""Where operators lose on a device: each one's measured time over that of softmax at the same size."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nas.arch import NONE
from nas.profiling.parts import Part, space_parts
from nas.profiling.table import Row, at_one_pace
from nas.space import SearchSpace

SOFTMAX = "softmax"


def beside_softmax(rows: Sequence[Row], space: SearchSpace) -> dict[str, float]:
    """Operator -> its time over softmax's, the smallest of all its measured knobs and widths.

    Compared with softmax of as many heads at the same width, or, for an operator without heads, with the fastest there.
    An operator above 1 is nowhere faster on this device and workload; one without a measured rival is left out.
    """
    by_key = {part.key: part for part in space_parts(space) if part.kind == "mixer"}
    times = {by_key[row.name]: row.median_ms for row in at_one_pace(rows) if row.name in by_key}
    rivals = [part for part in times if part.operator.name == SOFTMAX]
    best: dict[str, float] = {}
    for part, ms in times.items():
        able = [times[rival] for rival in _matching(part, rivals)]
        name = part.operator.name
        if able and name not in (SOFTMAX, NONE):
            best[name] = min(best.get(name, np.inf), ms / min(able))
    return dict(sorted(best.items(), key=lambda item: item[1]))


def over_sizes(rows: Sequence[Row], space: SearchSpace, like: Row) -> dict[int, dict[str, float]]:
    """The same for every size of the input in the rows of one device: tokens of a sequence, or an image's side.

    Rows count that are of the batch, phase and runtime of `like`.
    """
    kinds: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if _setting(row) == _setting(like):
            kinds.setdefault((row.tokens or row.image_size, row.workload), []).append(row)
    found = {size: beside_softmax(own, space) for (size, _), own in sorted(kinds.items())}
    return {size: best for size, best in found.items() if best}


def _setting(row: Row) -> tuple[int, str, int, str, int]:
    return row.batch, row.phase, row.cache, row.runtime, row.threads


def losers(best: Mapping[str, float]) -> list[str]:
    """The operators that are faster than softmax nowhere."""
    return [name for name, ratio in best.items() if ratio >= 1]


def _matching(part: Part, rivals: Sequence[Part]) -> Iterator[Part]:
    for rival in rivals:
        if (rival.stage, rival.embed_dim) == (part.stage, part.embed_dim):
            heads = ("num_heads", "num_kv_heads")
            if all(part.operator[k] == rival.operator[k] for k in heads if k in part.operator):
                yield rival
