"""What the page's script needs to explore all archs of a run: packed columns, blocks, paints, specs and commands."""

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.arch import Arch, StageArch, describe
from nas.report import palette, stacks
from nas.report.archs import SOURCES, Archs, Quantity, archs_of
from nas.report.packed import Packed, pack, pack_whole
from nas.report.read import Record, mapping
from nas.report.scatter import parallel_spec, scatter_spec

SPARSE_BELOW = 0.25
LIMITED = ("latency_ms", "params", "kv_cache_bytes")
"""Budgets that have a slider: milliseconds, parameters, memory."""


def explorer(record: Record) -> dict[str, Any] | None:
    """Plain data for the page's script; None of a run that has evaluated nothing."""
    archs = archs_of(record)
    if not archs.digests or not any(archs.quantity(key) for key in ("latency_ms", "quality")):
        return None
    names = palette.ordered(archs.families)
    paints = [palette.paint(name) for name in names]
    return {
        "run": record.name,
        "count": len(archs.digests),
        "digests": _digests(archs),
        "families": [
            {"name": n, "colour": p.colour, "ink": p.ink, "letter": p.letter}
            for n, p in zip(names, paints, strict=True)
        ],
        "family": pack(np.array([names.index(f) for f in archs.families]), "u1"),
        "sources": SOURCES,
        "source": pack(archs.sources, "u1"),
        "quantities": [_packed(one) for one in archs.quantities],
        "limits": [key for key in LIMITED if archs.quantity(key)],
        "measured": archs.measured.tolist(),
        "front": archs.front.tolist(),
        "knee": archs.knee,
        "blocks": [_block(archs, i) for i in range(len(archs.blocks))],
        "widths": archs.widths,
        "tokens": pack_whole(archs.tokens),
        "offsets": pack_whole(archs.offsets),
        "spec": scatter_spec(names),
        "parallel": parallel_spec(names),
        "commands": commands(record),
    }


def commands(record: Record) -> dict[str, str]:
    """What to type to train an arch alone, or to export it; `{digest}` stands for the arch.

    The digest is quoted: Hydra would read one of digits alone as a number.
    """
    settings = mapping(record.asked.get("settings"))
    folder = str(mapping(settings.get("run")).get("dir") or f"runs/{record.name}")
    own = [shlex.quote(f"run.dir={folder}")]
    own += [] if record.search in ("", "main") else [shlex.quote(f"search.name={record.search}")]
    chosen = "'retrain.archs=[\"{digest}\"]'"
    return {
        "retrain": " ".join(["nas retrain", *own, chosen]),
        "export": " ".join(["nas export", *own, chosen]),
    }


def _digests(archs: Archs) -> Packed:
    raw = np.frombuffer(bytes.fromhex("".join(archs.digests)), dtype=np.uint8)
    return pack(raw, "u1")


def _packed(one: Quantity) -> dict[str, Any]:
    known = np.flatnonzero(np.isfinite(one.values))
    column: dict[str, Any] = {"key": one.key, "title": one.title, "better": one.better}
    column["spread"] = [[row, low, high] for row, (low, high) in one.spread.items()]
    if len(known) < SPARSE_BELOW * len(one.values):
        return column | {"at": pack_whole(known), "values": pack(one.values[known], "f4")}
    return column | {"values": pack(one.values, "f4")}


def _block(archs: Archs, index: int) -> dict[str, Any]:
    """What the panel draws of a block, and its part of an arch's JSON."""
    block = archs.blocks[index]
    cell = stacks.cell(block)
    plain = Arch((StageArch(1, (block,)),)).to_dict()["stages"][0]["blocks"][0] if not block.is_off else _off()
    paint = palette.paint(cell.family)
    shown: Mapping[str, Any] = {
        "operator": cell.operator,
        "family": cell.family,
        "colour": paint.colour,
        "ink": paint.ink,
        "letter": paint.letter,
        "heads": cell.heads,
        "knobs": [list(knob) for knob in cell.knobs],
        "ffn": cell.ffn,
        "gate": cell.gate,
        "text": describe(block),
    }
    return {**shown, "json": plain}


def _off() -> dict[str, Any]:
    return {"operator": {"name": "none"}}
