"""Every architecture of a run as columns: what is known of it in numbers, and its blocks as ids of distinct ones.

A hundred thousand archs are a few megabytes this way; nothing is thinned out here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.arch import Arch, BlockArch, StageArch
from nas.report import stacks
from nas.report.alone import trained_alone
from nas.report.mixing import mixing_profiles
from nas.report.read import Point, Record, arch_of
from nas.searching.objectives import STANDALONE

Floats = NDArray[np.float32]
Ids = NDArray[np.uint32]
Better = Literal["less", "more", ""]
SOURCES = ("search", "random", "trained alone")
COUNTED: Mapping[str, str] = {"params": "parameters", "flops": "FLOPs", "kv_cache_bytes": "KV cache, bytes"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantity:
    """One number of every arch, NaN where it is not known."""

    key: str
    title: str
    better: Better
    values: Floats
    spread: Mapping[int, tuple[float, float]]
    """Row -> lowest and highest, of those that were measured or trained more than once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Archs:
    """All different archs; row i of every column is one arch."""

    digests: tuple[str, ...]
    families: tuple[str, ...]
    """Leading family of each."""
    sources: NDArray[np.uint8]
    """Index into `SOURCES`."""
    quantities: tuple[Quantity, ...]
    measured: Ids
    """Rows that were measured on the device, fastest first."""
    front: Ids
    """Those of them that none dominates in the search's objectives."""
    knee: int | None
    blocks: tuple[BlockArch, ...]
    widths: tuple[int, ...]
    tokens: Ids
    """Stage by stage: number of blocks + index into `widths`, then indices into `blocks`."""
    offsets: Ids
    """Where each arch starts in `tokens` `[archs + 1]`."""

    def quantity(self, key: str) -> Quantity | None:
        """The quantity of this name, if anything is known of it."""
        return next((one for one in self.quantities if one.key == key), None)


def archs_of(record: Record) -> Archs:
    """Search, random baseline, measured front and what was trained alone, each arch once and its best known source."""
    found = _unique(record)
    archs = [point.arch for _, point in found.values()]
    row = {digest: i for i, digest in enumerate(found)}
    measured = sorted(
        (point for point in record.front if "latency_ms" in point.measured), key=lambda p: p.measured["latency_ms"]
    )
    blocks, widths, tokens, offsets = _encoded(archs)
    return Archs(
        digests=tuple(found),
        families=tuple(map(_Leading(), archs)),
        sources=np.array([SOURCES.index(source) for source, _ in found.values()], dtype=np.uint8),
        quantities=tuple(q for q in _quantities(record, found, row, measured) if np.isfinite(q.values).any()),
        measured=_ids(row[point.arch.digest] for point in measured),
        front=_ids(row[point.arch.digest] for point in measured if point.is_front),
        knee=next((row[point.arch.digest] for point in measured if point.is_knee), None),
        blocks=blocks,
        widths=widths,
        tokens=tokens,
        offsets=offsets,
    )


Found = Mapping[str, tuple[str, Point]]


def _unique(record: Record) -> Found:
    found: dict[str, tuple[str, Point]] = {}
    for source, points in (("search", record.evaluated), ("random", record.random), ("search", record.front)):
        for point in points:
            found.setdefault(point.arch.digest, (source, point))
    for row in record.retrained.values():
        arch = arch_of(row)
        if arch is not None:
            found.setdefault(arch.digest, ("trained alone", Point(arch=arch, values={})))
    return found


def _quantities(record: Record, found: Found, row: Mapping[str, int], front: Sequence[Point]) -> Iterator[Quantity]:
    metric, count = record.metric, len(found)
    more: Better = "more" if record.is_maximised else "less"
    title = metric.replace("_", " ") or "quality"
    points = [point for _, point in found.values()]
    alone = {one.digest: one for one in trained_alone(record) if one.digest in row}
    spreads = {row[p.arch.digest]: _around(p) for p in front if "latency_spread_ms" in p.measured}
    beside = {row[d]: (one.low_ms, one.high_ms) for d, one in alone.items() if row[d] not in spreads}
    spreads |= {i: (low, high) for i, (low, high) in beside.items() if low is not None and high is not None}
    times = {row[digest]: one.latency_ms for digest, one in alone.items() if one.latency_ms is not None}
    times |= {row[p.arch.digest]: p.measured["latency_ms"] for p in front}
    whole = {row[p.arch.digest]: p.measured[metric] for p in record.front if metric in p.measured}
    whole |= {row[d]: one.inherited for d, one in alone.items() if one.inherited is not None and row[d] not in whole}
    predicted, part = _column(points, "latency_ms"), _column(points, metric)
    scores = {row[d]: one.val.mean for d, one in alone.items() if one.val.mean is not None}
    seeds = {row[d]: (one.val.low, one.val.high) for d, one in alone.items()}
    ranges = {i: (low, high) for i, (low, high) in seeds.items() if low is not None and high is not None}
    none: dict[int, tuple[float, float]] = {}
    yield _quantity("latency_ms", "latency, ms (measured if known)", "less", _over(predicted, times), spreads)
    yield _quantity("predicted_ms", "latency, predicted, ms", "less", predicted, none)
    yield _quantity("measured_ms", "latency, measured, ms", "less", _over(_unknown(count), times), spreads)
    guessed = _over(part + _shift(part, whole), whole)
    yield _quantity("quality", f"{title} (all of val or estimate)", more, guessed, none)
    surer = {row[p.arch.digest]: p.measured[STANDALONE] for p in record.front if STANDALONE in p.measured}
    yield _quantity(STANDALONE, f"{title}, expected alone, val", more, _over(_column(points, STANDALONE), surer), none)
    yield _quantity("part", f"{title}, on part of val", more, part, none)
    yield _quantity("alone", f"{title}, trained alone, val", more, _over(_unknown(count), scores), ranges)
    yield from _sizes(record, points, alone={row[d]: one.params for d, one in alone.items() if one.params is not None})


def _sizes(record: Record, points: Sequence[Point], alone: Mapping[int, float]) -> Iterator[Quantity]:
    for key, title in COUNTED.items():
        values = _column(points, key)
        if key == "params":
            values = _over(_over(_unknown(len(points)), alone), {i: v for i, v in enumerate(values) if np.isfinite(v)})
        yield _quantity(key, title, "less", values, {})
    archs = [point.arch for point in points]
    profiles = mixing_profiles(record, archs)
    yield _quantity("rank", "rank, mean of mixing blocks", "", profiles[:, 0], {})
    yield _quantity("sparsity", "sparsity, mean of mixing blocks", "", profiles[:, 1], {})
    yield _quantity("depth", "blocks", "", np.array([len(arch.blocks) for arch in archs], dtype=np.float32), {})


def _quantity(
    key: str, title: str, better: Better, values: Floats, spread: Mapping[int, tuple[float, float]]
) -> Quantity:
    return Quantity(key=key, title=title, better=better, values=values, spread=spread)


def _column(points: Sequence[Point], key: str) -> Floats:
    return np.array([point.values.get(key, np.nan) for point in points], dtype=np.float32)


def _over(values: Floats, known: Mapping[int, float]) -> Floats:
    found = values.copy()
    found[list(known)] = list(known.values())
    return found


def _shift(part: Floats, whole: Mapping[int, float]) -> np.float32:
    """How much the scores on all of val are above those on part of it, a mean over the archs that have both.

    The part is the same for all archs and may be easier or harder than the rest: without this, measured archs would lie
    beside the others as if they were worse or better.
    """
    both = [value - part[i] for i, value in whole.items() if np.isfinite(part[i])]
    return np.float32(np.mean(both) if both else 0.0)


def _unknown(count: int) -> Floats:
    return np.full(count, np.nan, dtype=np.float32)


def _around(point: Point) -> tuple[float, float]:
    middle, spread = point.measured["latency_ms"], point.measured["latency_spread_ms"]
    return middle - spread / 2, middle + spread / 2


def _ids(rows: Iterator[int]) -> Ids:
    return np.array(list(rows), dtype=np.uint32)


class _Leading:
    """`stacks.leading_family`, once per multiset of operators."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def __call__(self, arch: Arch) -> str:
        names = tuple(sorted(block.operator.name for stage in arch.stages for block in stage.blocks))
        found = self._known.get(names)
        if found is None:
            found = self._known[names] = stacks.leading_family(arch)
        return found


def _encoded(archs: Sequence[Arch]) -> tuple[tuple[BlockArch, ...], tuple[int, ...], Ids, Ids]:
    blocks: dict[BlockArch, int] = {}
    widths: dict[int, int] = {}
    tokens: list[int] = []
    offsets = [0]
    for arch in archs:
        for stage in arch.stages:
            tokens.append(-1 - widths.setdefault(stage.embed_dim, len(widths)))
            tokens.extend(blocks.setdefault(block, len(blocks)) for block in stage.blocks)
        offsets.append(len(tokens))
    signed = np.array(tokens, dtype=np.int64)
    placed = np.where(signed < 0, len(blocks) - 1 - signed, signed)
    return tuple(blocks), tuple(widths), placed.astype(np.uint32), np.array(offsets, dtype=np.uint32)


def decoded(archs: Archs, row: int) -> Arch:
    """The arch of a row, from its tokens."""
    stages: list[tuple[int, list[BlockArch]]] = []
    for token in archs.tokens[archs.offsets[row] : archs.offsets[row + 1]].tolist():
        if token >= len(archs.blocks):
            stages.append((archs.widths[token - len(archs.blocks)], []))
        else:
            stages[-1][1].append(archs.blocks[token])
    return Arch(tuple(StageArch(width, tuple(own)) for width, own in stages))
