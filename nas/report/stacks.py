"""Architectures as layer stacks: cells with operator, family and knobs, and how operators are spread over depth."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nas import operators
from nas.arch import NONE, Arch, BlockArch, describe
from nas.report.read import Record

UNKNOWN, MIXED, NO_MIXING = "unknown", "mixed", "no mixing"
HEADS = ("num_heads", "num_kv_heads", "head_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One block: its operator and family, heads such as `4/2x16`, the other knobs, FFN and gate."""

    operator: str
    family: str
    heads: str
    knobs: tuple[tuple[str, str], ...]
    ffn: str
    gate: str
    text: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The cells of one stage, and their width."""

    embed_dim: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """One arch of the front."""

    digest: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Share of the front's archs that have this operator at this depth, counted from 1."""

    depth: int
    operator: str
    family: str
    share: float


def stacks(record: Record) -> list[Stack]:
    """The measured archs as layer stacks, fastest first."""
    ordered = sorted(record.front, key=lambda point: point.measured.get("latency_ms", 0.0))
    return [Stack(point.arch.digest, _layers(point.arch)) for point in ordered]


def operator_shares(record: Record) -> list[Share]:
    """How often the front has each operator at each depth; an arch that ends earlier counts as having none there."""
    archs = [point.arch for point in record.front if point.is_front]
    counts = Counter((i, block.operator.name) for arch in archs for i, block in enumerate(arch.blocks, 1))
    return [Share(depth, name, family(name), count / len(archs)) for (depth, name), count in sorted(counts.items())]


def family(operator: str) -> str:
    """The operator's family; `no mixing` of operator none, `unknown` of a name that this version does not have."""
    return NO_MIXING if operator == NONE else operators.families().get(operator, UNKNOWN)


def families_of(arch: Arch) -> frozenset[str]:
    """Families of the operators that mix."""
    return frozenset(family(block.operator.name) for block in arch.blocks) - {NO_MIXING}


def leading_family(arch: Arch) -> str:
    """The family of most mixing blocks; `mixed` where several have as many, `no mixing` where none mixes."""
    counts = Counter(family(block.operator.name) for block in arch.blocks)
    del counts[NO_MIXING]
    most = [name for name, count in counts.items() if count == max(counts.values())]
    return MIXED if len(most) > 1 else next(iter(most), NO_MIXING)


def outline(arch: Arch) -> str:
    """Runs of operators in one short line, such as `2x window, linear`; stages are split by a bar."""
    return " | ".join(_runs([block.operator.name for block in stage.blocks]) for stage in arch.stages)


def _runs(names: Sequence[str]) -> str:
    runs = [(name, len(list(run))) for name, run in itertools.groupby(names)]
    return ", ".join(f"{count}x {_word(name)}" if count > 1 else _word(name) for name, count in runs) or "no blocks"


def _word(operator: str) -> str:
    return "ffn" if operator == NONE else operator


def _layers(arch: Arch) -> tuple[Layer, ...]:
    return tuple(Layer(stage.embed_dim, tuple(cell(block) for block in stage.blocks)) for stage in arch.stages)


def cell(block: BlockArch) -> Cell:
    """One block as it is drawn."""
    knobs = dict(block.operator.knobs)
    heads, kv, dim = (knobs.get(name) for name in HEADS)
    shown = (
        "" if heads is None else f"{heads}{'' if kv in (None, heads) else f'/{kv}'}{'' if dim is None else f'x{dim}'}"
    )
    return Cell(
        operator=block.operator.name,
        family=family(block.operator.name),
        heads=shown,
        knobs=tuple((name, str(value)) for name, value in block.operator.knobs if name not in HEADS),
        ffn="" if block.ffn.kind == NONE else f"{block.ffn.kind} x{block.ffn.ratio:g}",
        gate="" if block.gate == NONE else block.gate,
        text=describe(block),
    )
