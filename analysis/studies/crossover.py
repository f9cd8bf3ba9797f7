"""When does an operator beat softmax? Time of one mixer over sequence length and image size, for every operator.

    python -m analysis.studies.crossover [runtime ...] [--domain causal sequence image] [--keep FILE] [--figure FILE]

Width 64, 4 heads of 16, batch 1, one thread; each operator at the suggested knobs with the fewest FLOPs at that size
(and, at the largest size, at those with the most), with its norm, layer-scale and residual. It is timed in turn with
softmax of the same domain, so that the ratio is free of drift; medians, random weights. An operator is timed on the
first of causal sequences and sequences where it is legal, and on images. What does not run at a size or on a runtime is
left out, as are sizes beyond one at which it took eight times as long. Points in `--keep` are not measured again.
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.arch import OperatorArch
from nas.catalogue.beside import beside_softmax
from nas.catalogue.cards import Card, Shape, cards, figures, varied
from nas.errors import NasError
from nas.journal import Log
from nas.operators.contract import Site
from nas.profiling import ProfileConfig
from nas.shapes import Domain

HEADS, HOPELESS = 4, 8.0
SHAPE = Shape(width=64, heads=HEADS, head_dim=16)
SIZES: Mapping[Domain, Sequence[int]] = {
    "causal": (64, 128, 256, 512, 1024, 2048, 4096),
    "sequence": (64, 256, 1024, 4096),
    "image": (49, 196, 784, 1764),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mixer at one size: its time, and that time over softmax's; `dearest` at its most costly suggested knobs."""

    runtime: str
    domain: Domain
    tokens: int
    family: str
    operator: str
    ms: float
    ratio: float
    dearest: float | None = None


def measure(runtime: str, domain: Domain, known: Mapping[tuple[str, str, str, int], float]) -> Iterator[Point]:
    """All points of a runtime and domain whose ratio is not known, operator by operator."""
    config = ProfileConfig(runtime=runtime)
    for card in cards():
        if not _is_timed(card, domain):
            continue
        for tokens in SIZES[domain]:
            ratio = known.get((runtime, domain, card.name, tokens))
            if ratio is None:
                try:
                    point = _point(card, card.site(replace(SHAPE, domain=domain, tokens=tokens)), config)
                except (NasError, RuntimeError) as error:
                    print(f"left out {card.name} at {tokens} tokens: {error}", flush=True)
                    continue
                yield point
                ratio = point.ratio
            if ratio > HOPELESS:
                break


def _is_timed(card: Card, domain: Domain) -> bool:
    is_second = domain == "sequence" and "causal" in card.domains and card.name != "softmax"
    return domain in card.domains and not is_second


def _point(card: Card, site: Site, config: ProfileConfig) -> Point:
    archs = _by_flops(card, site)
    is_last = site.tokens == SIZES[site.domain][-1]
    timed = beside_softmax([archs[0]], site, HEADS, SHAPE.head_dim, config)[0]
    more = beside_softmax([archs[-1]], site, HEADS, SHAPE.head_dim, config)[0] if is_last and len(archs) > 1 else None
    return Point(
        runtime=config.runtime,
        domain=site.domain,
        tokens=site.tokens,
        family=card.family,
        operator=card.name,
        ms=timed.ms,
        ratio=timed.over_softmax,
        dearest=more.over_softmax if more else None,
    )


def _by_flops(card: Card, site: Site) -> list[OperatorArch]:
    """Suggested knobs that fit, the cheapest first; `NasError` if none does."""
    able, last = [], None
    for arch in varied(card, SHAPE):
        try:
            able.append(figures(arch, site))
        except NasError as error:
            last = error
    if not able and last is not None:
        raise last
    return [found.arch for found in sorted(able, key=lambda found: found.flops)]


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


def table(points: Sequence[Point]) -> str:
    """Rows of operators by family, columns of tokens: time over softmax's; then the crossover."""
    lines = []
    for runtime, domain in dict.fromkeys((p.runtime, p.domain) for p in points):
        here = [p for p in points if (p.runtime, p.domain) == (runtime, domain)]
        sizes = sorted({p.tokens for p in here})
        softmax = {p.tokens: p.ms for p in here if p.operator == "softmax"}
        last = f"{sizes[-1]}, most FLOPs"
        lines += [
            f"\n{runtime}, {domain}: time over softmax's",
            f"| family | operator | {' | '.join(map(str, sizes))} | {last} | faster from |",
            "|---" * (len(sizes) + 4) + "|",
            f"| | softmax, ms | {_cells(softmax, sizes, '.3g')} | | |",
        ]
        lines += [_row(name, [p for p in here if p.operator == name], sizes) for name in _ordered(here)]
    return "\n".join(lines)


def _ordered(points: Sequence[Point]) -> list[str]:
    """Names by family, and in it by the ratio at the largest size."""
    last = {p.operator: (p.family, p.ratio) for p in sorted(points, key=lambda p: p.tokens)}
    return sorted((name for name in last if name != "softmax"), key=last.__getitem__)


def _row(name: str, own: Sequence[Point], sizes: Sequence[int]) -> str:
    start = crossover(own)
    said = "nowhere" if math.isinf(start) else f"{start:.0f}"
    dearest = next((f"{p.dearest:.2f}" for p in own if p.dearest is not None), "")
    cells = _cells({p.tokens: p.ratio for p in own}, sizes, ".2f")
    return f"| {own[0].family} | {name} | {cells} | {dearest} | {said} |"


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
    parser.add_argument("runtime", nargs="*", default=["eager"])
    parser.add_argument("--domain", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--figure", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    log = Log(asked.keep) if asked.keep else None
    points = [Point(**row) for row in log.rows()] if log else []
    for runtime, domain in itertools.product(asked.runtime, asked.domain):
        known = {(p.runtime, p.domain, p.operator, p.tokens): p.ratio for p in points}
        for point in measure(runtime, domain, known):
            points.append(point)
            if log:
                log.append(asdict(point))
        print(table([p for p in points if (p.runtime, p.domain) == (runtime, domain)]), flush=True)
    if asked.figure:
        draw(points, asked.figure)


if __name__ == "__main__":
    main()
