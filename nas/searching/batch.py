"""Choosing a batch of candidates that together widen the front most."""

import heapq
from collections.abc import Iterator

import numpy as np

from nas.pareto import Points, front, hypervolume, least, ranks

MARGIN = 0.1


def by_gain(candidates: Points, known: Points) -> Iterator[int]:
    """Indices of `candidates` `[N, D]` in the order of what each adds to the hypervolume of `known` and those before.

    Less is better everywhere. Gains shrink as the front grows, so a stale gain is an upper bound and only the best is
    computed anew. Candidates that add nothing follow by rank.
    """
    low, high = known.min(axis=0), known.max(axis=0)
    scale = np.where(high > low, high - low, 1.0)
    points, base = (candidates - low) / scale, (known - low) / scale
    reference = np.full(points.shape[1], 1.0 + MARGIN)

    def volume(rows: Points) -> float:
        return hypervolume(rows, reference, least(rows))

    base = base[front(base, least(base))]
    covered, size = volume(base), 0
    heap = [(-(volume(np.vstack([base, row])) - covered), i, size) for i, row in enumerate(points)]
    heapq.heapify(heap)
    while heap and heap[0][0] < 0:
        _, i, seen = heapq.heappop(heap)
        grown = np.vstack([base, points[i]])
        if seen == size:
            base, size = grown, size + 1
            covered = volume(base)
            yield i
        else:
            heapq.heappush(heap, (min(0.0, covered - volume(grown)), i, size))
    rest = np.array(sorted(i for _, i, _ in heap), dtype=np.intp)
    yield from (int(i) for i in rest[np.argsort(ranks(points[rest], least(points)), kind="stable")])
