"""When does an operator beat softmax? Time of one mixer over sequence length and image size, runtime by runtime.

    python -m analysis.studies.crossover [runtime ...] [--figure FILE]

Width 64, 4 heads of 16, batch 1, one thread; each operator at the cheapest knobs that `lm_small` and `vit_small` offer
for 4 heads, with its norm, layer-scale and residual. Every time is taken in turn with softmax at the same size, so that
the ratio is free of drift; medians, random weights. A mixer that does not run at a size or on a runtime is left out.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from nas import operators
from nas.arch import NONE, Arch, BlockArch, OperatorArch, StageArch
from nas.errors import NasError
from nas.operators.contract import Site
from nas.profiling import ProfileConfig, time_interleaved
from nas.profiling.parts import Part
from nas.profiling.pieces import cut_part
from nas.profiling.program import Program
from nas.profiling.workload import workload
from nas.resources import ROOT
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet

DIM, HEADS = 64, 4
SOFTMAX = OperatorArch.of("softmax", num_heads=HEADS, num_kv_heads=HEADS, head_dim=16)
LENGTHS: Mapping[str, Sequence[int]] = {
    "causal": (64, 128, 256, 512, 1024, 2048, 4096),
    "image": (28, 56, 84, 112, 168),
}
SPACES = {"causal": "lm_small", "image": "vit_small"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mixer at one size: its time, and that time over softmax's."""

    runtime: str
    domain: str
    tokens: int
    operator: str
    ms: float
    ratio: float


def measure(runtime: str) -> Iterator[Point]:
    """All points of a runtime, size by size."""
    config = ProfileConfig(runtime=runtime)
    for domain, sizes in LENGTHS.items():
        space = load_space(yaml.safe_load((ROOT / "search_spaces" / f"{SPACES[domain]}.yaml").read_text()))
        for size in sizes:
            shape = _shape(domain, size)
            chosen = _cheapest(space, shape)
            programs = {op.name: p for op in chosen if (p := _program(space, shape, op, config)) is not None}
            reference = programs.pop("softmax")
            timings, softmax = time_interleaved(list(programs.values()), reference, config.timer)
            times = {"softmax": softmax.median_ms}
            times |= {name: t.median_ms for name, t in zip(programs, timings, strict=True)}
            for name, ms in times.items():
                yield Point(
                    runtime=runtime,
                    domain=domain,
                    tokens=_tokens(shape),
                    operator=name,
                    ms=ms,
                    ratio=ms / softmax.median_ms,
                )


def crossover(points: Sequence[Point]) -> float:
    """Tokens from which one operator on one runtime is faster than softmax at all larger sizes; infinite if nowhere.

    Between two sizes the ratio is taken to follow a power law.
    """
    ordered = sorted(points, key=lambda p: p.tokens)
    if not ordered or ordered[-1].ratio >= 1:
        return math.inf
    slow = [i for i, p in enumerate(ordered) if p.ratio >= 1]
    if not slow:
        return float(ordered[0].tokens)
    one, other = ordered[slow[-1]], ordered[slow[-1] + 1]
    share = math.log(one.ratio) / (math.log(one.ratio) - math.log(other.ratio))
    return one.tokens * (other.tokens / one.tokens) ** share


def _shape(domain: str, size: int) -> TaskShape:
    if domain == "image":
        return ImageShape(channels=1, height=size, width=size, classes=10)
    return TokenShape(vocab=256, tokens=size, classes=256)


def _tokens(shape: TaskShape) -> int:
    return shape.tokens if isinstance(shape, TokenShape) else (shape.height // 4) ** 2


def _cheapest(space: SearchSpace, shape: TaskShape) -> list[OperatorArch]:
    tokens = _tokens(shape)
    side = math.isqrt(tokens)
    grid = (side, side) if isinstance(shape, ImageShape) else None
    site = Site(embed_dim=DIM, tokens=tokens, domain=space.frame.domain, grid=grid)
    offered: dict[str, list[OperatorArch]] = {}
    for op in dict.fromkeys(op for block in space.stages[0].blocks for op in block.operators):
        if all(op[knob] == HEADS for knob in ("num_heads", "num_kv_heads") if knob in op) and op.name != NONE:
            offered.setdefault(op.name, []).append(op)

    def flops(op: OperatorArch) -> int:
        return operators.get(op.name).cost(operators.parse(op), site).flops

    return [min(same, key=flops) for same in offered.values()]


def _program(space: SearchSpace, shape: TaskShape, op: OperatorArch, config: ProfileConfig) -> Program | None:
    source = (BlockArch(SOFTMAX),) if operators.get(op.name).consumes else ()
    arch = Arch((StageArch(DIM, (*source, BlockArch(op))),))
    alone = space.only(arch)
    try:
        torch.manual_seed(0)
        net = Supernet(alone, shape).eval()
        part = Part(kind="mixer", stage=0, embed_dim=DIM, operator=op)
        return cut_part(net, part, workload(alone, shape), seed=0).program(config.engine())
    except NasError as error:
        print(f"left out {op.name} at {_tokens(shape)} tokens: {error}")
        return None


def table(points: Sequence[Point]) -> str:
    """Rows of operators, columns of tokens: time over softmax's; then the crossover."""
    lines = []
    for runtime, domain in dict.fromkeys((p.runtime, p.domain) for p in points):
        here = [p for p in points if (p.runtime, p.domain) == (runtime, domain)]
        sizes = sorted({p.tokens for p in here})
        softmax = {p.tokens: p.ms for p in here if p.operator == "softmax"}
        lines += [
            f"\n{runtime}, {domain}: time over softmax's",
            f"| tokens | {' | '.join(map(str, sizes))} | faster from |",
        ]
        lines += ["|---" * (len(sizes) + 2) + "|", f"| softmax, ms | {_cells(softmax, sizes, '.3g')} | |"]
        for name in sorted({p.operator for p in here} - {"softmax"}):
            own = [p for p in here if p.operator == name]
            start = crossover(own)
            said = "nowhere" if math.isinf(start) else f"{start:.0f}"
            lines.append(f"| {name} | {_cells({p.tokens: p.ratio for p in own}, sizes, '.2f')} | {said} |")
    return "\n".join(lines)


def _cells(values: Mapping[int, float], sizes: Sequence[int], form: str) -> str:
    return " | ".join(format(values[size], form) if size in values else "" for size in sizes)


def draw(points: Sequence[Point], file: Path) -> None:
    """Ratio over tokens, one panel for each runtime and domain."""
    import altair as alt
    import vl_convert

    panels = []
    for runtime, domain in dict.fromkeys((p.runtime, p.domain) for p in points):
        rows: list[dict[str, Any]] = [
            {"tokens": p.tokens, "ratio": p.ratio, "operator": p.operator}
            for p in points
            if (p.runtime, p.domain) == (runtime, domain) and p.operator != "softmax"
        ]
        lines = alt.Chart(alt.Data(values=rows), title=f"{runtime}, {domain}").mark_line(point=True)
        encoded = lines.encode(
            x=alt.X("tokens:Q", scale=alt.Scale(type="log", base=2), title="tokens"),
            y=alt.Y("ratio:Q", scale=alt.Scale(type="log"), title="time over softmax's"),
            color=alt.Color("operator:N", scale=alt.Scale(scheme="tableau20"), title=None),
        )
        even = alt.Chart(alt.Data(values=[{"ratio": 1}])).mark_rule(strokeDash=[4, 3]).encode(y="ratio:Q")
        panels.append((encoded + even).properties(width=330, height=230))
    spec = alt.concat(*panels, columns=2).to_dict()
    file.write_bytes(vl_convert.vegalite_to_png(spec, scale=1.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", nargs="*", default=["eager", "onnxruntime"])
    parser.add_argument("--figure", type=Path, default=None)
    asked = parser.parse_args()
    points = [point for runtime in asked.runtime for point in measure(runtime)]
    print(table(points))
    if asked.figure:
        draw(points, asked.figure)


if __name__ == "__main__":
    main()
