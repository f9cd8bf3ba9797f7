"""The parts of the page that are not charts, as HTML; every text that comes from a file is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from nas.report.alone import Alone
from nas.report.comparison import Comparison
from nas.report.device import FamilyError, OperatorTime, Score, Worst
from nas.report.families import Dependences, Restricted
from nas.report.figures import FrontPoint, alone_val
from nas.report.importance import Importances
from nas.report.palette import colour, ink
from nas.report.ranking import Trust, agreement_cells, rival_cells
from nas.report.stacks import NO_MIXING, Cell, Stack
from nas.report.summary import meaning, shown
from nas.searching.objectives import METRICS


def section(key: str, title: str, body: str, note: str = "") -> str:
    """A section of the page; `note` says in a sentence how to read it."""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    head = f'<h2 id="{key}-title">{escape(title)}</h2>'
    return f'<section id="{key}" aria-labelledby="{key}-title">{head}{said}{body}</section>'


def heading(text: str) -> str:
    """The page's title."""
    return f"<h1>{escape(text)}</h1>"


def subtitle(text: str) -> str:
    """A title within a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str, kind: str) -> str:
    """A sentence or two of the given kind; words in backquotes are what one types."""
    parts = [escape(part) if i % 2 == 0 else f"<code>{escape(part)}</code>" for i, part in enumerate(text.split("`"))]
    return f'<p class="{kind}">{"".join(parts)}</p>'


def chart(key: str, label: str) -> str:
    """The place of a chart, and what it shows for those who do not see it."""
    return f'<div class="chart" id="chart-{key}" role="img" aria-label="{escape(label, quote=True)}"></div>'


def missing(text: str) -> str:
    """What to run to fill a section."""
    return paragraph(text, "missing")


def facts(values: Mapping[str, str]) -> str:
    """Figures with their names, the headline of the page."""
    cells = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">{"".join(cells)}</dl>'


def legend(families: Sequence[str]) -> str:
    """The colours of the families that occur."""
    items = (f'<li><i style="background:{colour(name)}"></i>{escape(name)}</li>' for name in families)
    return f'<ul class="legend" aria-label="families of operators">{"".join(items)}</ul>'


def blocks(text: str) -> str:
    """The place where the blocks of the chosen stack are written out; tooltips need a mouse."""
    return f'<p class="note" id="blocks" aria-live="polite">{escape(text)}</p>'


def stack(found: Stack, point: FrontPoint | None, metric: str) -> str:
    """One arch as columns of blocks, first block at the bottom."""
    layers = "".join(
        f'<div class="layer" title="width {layer.embed_dim}">{"".join(_cell(cell) for cell in layer.cells)}'
        f"<small>C={layer.embed_dim}</small></div>"
        for layer in found.layers
    )
    caption = "" if point is None else f"<b>{point.latency_ms:.3g} ms</b><span>{point.quality:.4g}</span>"
    label = f"architecture {found.digest}" + (
        "" if point is None else f", {point.latency_ms:.3g} ms, {metric} {point.quality:.4g}"
    )
    return (
        f'<figure class="stack" tabindex="0" data-arch="{escape(found.digest, quote=True)}" '
        f'aria-label="{escape(label, quote=True)}"><div class="layers">{layers}</div>'
        f"<figcaption>{caption}<code>{escape(found.digest[:6])}</code></figcaption></figure>"
    )


def table(points: Sequence[FrontPoint], metric: str) -> str:
    """The measured archs with spread, and the scores of those trained alone."""
    scores = (f"{metric}, val", "alone, val", "alone, test")
    heads = ("latency, ms", *scores, "parameters", "MFLOPs", "KV cache, kB", "arch", "blocks")
    return _tabled(heads, map(_front_row, points), key="front-table")


def alone(found: Sequence[Alone], metric: str) -> str:
    """Winners and references trained alone."""
    heads = ("architecture", "kind", "latency, ms", "inherited", f"{metric}, val", "test", "seeds", "parameters", "how")
    rows = [
        _row(
            one.digest[:8] if not one.name else one.name,
            [
                one.kind,
                _decimal(one.latency_ms, 3),
                _decimal(one.inherited),
                one.val.text,
                one.test.text,
                str(one.seeds),
                _count(one.params),
                escape(one.how),
            ],
            _dot(one.family),
            wide=one.outline,
        )
        for one in found
    ]
    return _tabled((*heads, "blocks"), rows, key="alone-table")


def dependence(found: Dependences, metric: str) -> str:
    """Families against the whole: share of the hypervolume, and the best quality at equal latency."""
    heads = ("evaluated", "architectures", "hypervolume", *(f"best at {at.latency_ms:.3g} ms" for at in found.whole.at))
    groups = [("whole space", "", found.whole)]
    groups += [(f"only {each.family}", each.family, each.only) for each in found.families]
    groups += [(f"without {each.family}", each.family, each.without) for each in found.families]
    caption = f"best: best {metric} among architectures that are at most this slow"
    return _tabled(heads, [_restricted_row(*group) for group in groups], caption=caption)


def scores(found: Sequence[Score]) -> str:
    """The predictor beside its baselines."""
    rows = [
        _row(s.name, [_percent(s.mape), _percent(s.within_5), _percent(s.within_10), _decimal(s.tau)]) for s in found
    ]
    return _tabled(("from", "error", "≤ 5 %", "≤ 10 %", "tau"), rows)


def family_errors(found: Sequence[FamilyError]) -> str:
    """The predictor's error by operator family."""
    rows = [_row(row.family, [_percent(row.mape), _count(row.nets)], _dot(row.family)) for row in found]
    return _tabled(("nets with", "mean error", "held-out nets"), rows)


def worst_cases(found: Sequence[Worst]) -> str:
    """The nets that the predictor is most wrong about."""
    rows = [
        _row(w.net.digest, [f"{w.net.measured:.3g}", f"{w.net.predicted:.3g}", f"{w.error:+.1%}"], wide=w.blocks)
        for w in found
    ]
    return _tabled(("most wrong", "measured, ms", "predicted, ms", "error", "blocks"), rows)


def operator_times(found: Sequence[OperatorTime]) -> str:
    """Operators beside softmax."""
    rows = [
        _row(row.operator, [f"{row.ratio:.2f}", "nowhere faster" if row.loses else ""], _dot(row.family))
        for row in found
    ]
    return _tabled(("operator", "best time over softmax's", "so it is"), rows)


def importances(found: Importances) -> str:
    """Choices with their importance and their mean, over everything and on the front."""
    rows = [
        _row(one.choice, [_percent(one.quality), _percent(one.latency), f"{one.mean:.2f}", _decimal(one.front, 2)])
        for one in found.choices
    ]
    return _tabled(("choice", "quality", "latency", "mean", "on the front"), rows)


def compared(found: Comparison) -> str:
    """Runs with the ends of their fronts and the share of the common box that they beat."""
    pick = max if METRICS.get(found.metric) == "maximise" else min
    rows = [
        _row(
            run.name,
            [
                f"{len(run.points):,}",
                f"{run.points[0].latency_ms:.3g} ms",
                _decimal(pick(point.quality for point in run.points)),
                _percent(run.hypervolume),
            ],
            wide=run.device or "not known",
        )
        for run in found.runs
    ]
    best = f"best {found.metric.replace('_', ' ')}"
    return _tabled(("run", "architectures", "fastest", best, "hypervolume", "measured on"), rows)


def shared(found: Comparison) -> str:
    """Archs that several runs measured, milliseconds in each."""
    rows = [_row(one.digest[:8], [_decimal(ms, 3) for ms in one.latencies], wide=one.outline) for one in found.shared]
    return _tabled(("architecture, ms", *(run.name for run in found.runs), "blocks"), rows)


def agreements(found: Trust) -> str:
    """How far the order by inherited scores is that by standalone ones, by size and by family."""
    head, *cells = agreement_cells(found)
    marks = (_dot(group.family) for group in found.agreements)
    return _tabled(head, [_row(row[0], row[1:], mark) for row, mark in zip(cells, marks, strict=True)])


def rivals(found: Trust) -> str:
    """The same order from the loss, sizes, short trainings and zero-cost proxies."""
    head, *cells = rival_cells(found)
    return _tabled(head, [_row(row[0], row[1:]) for row in cells])


def figures(summary: Mapping[str, Any]) -> str:
    """All figures of the run, folded away."""
    rows = [_row(name, [escape(shown(value)), escape(meaning(name))]) for name, value in sorted(summary.items())]
    table = _tabled(("figure", "value", "meaning"), rows, key="figures-table")
    return f"<details><summary>all {len(summary)} figures</summary>{table}</details>"


def _tabled(heads: Sequence[str], rows: Iterable[str], *, key: str = "", caption: str = "") -> str:
    cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    name = f' id="{key}"' if key else ""
    body = f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table"><table{name}>{said}{body}</table></div>'


def _row(name: str, cells: Sequence[str], mark: str = "", wide: str = "") -> str:
    plain = "".join(f"<td>{cell}</td>" for cell in cells)
    plain += f'<td class="wide">{escape(wide)}</td>' if wide else ""
    return f'<tr><th scope="row">{mark}{escape(name)}</th>{plain}</tr>'


def _dot(family: str) -> str:
    return f'<i class="dot" style="background:{colour(family)}"></i>' if family else ""


def _restricted_row(name: str, family: str, group: Restricted) -> str:
    mark = _dot(family)
    width = f"{100 * min(1.0, group.share):.1f}%"
    bar = f'<span class="bar"><i style="width:{width}"></i></span> {group.share:.1%}'
    return _row(name, [f"{group.archs:,}", bar, *(_decimal(at.best) for at in group.at)], mark)


def _cell(cell: Cell) -> str:
    knobs = " ".join(value for _, value in cell.knobs)
    inner = "".join(f"<span>{escape(part)}</span>" for part in (cell.heads, knobs) if part)
    mixer = (
        ""
        if cell.family == NO_MIXING
        else (
            f'<div class="mixer" style="background:{colour(cell.family)};color:{ink(cell.family)}">'
            f"<b>{escape(cell.operator).replace('_', '_<wbr>')}</b>{inner}</div>"
        )
    )
    gate = f'<div class="gate">{escape(cell.gate)}</div>' if cell.gate else ""
    ffn = f'<div class="ffn">{escape(cell.ffn)}</div>' if cell.ffn else ""
    return f'<div class="cell" title="{escape(cell.text, quote=True)}">{ffn}{gate}{mixer}</div>'


def _front_row(point: FrontPoint) -> str:
    spread = f'<span class="spread">± {(point.high_ms - point.low_ms) / 2:.3f}</span>'
    mark = " · balanced" if point.is_knee else "" if point.is_front else " · dominated"
    cells = (
        f"{point.latency_ms:.3f} {spread}",
        _decimal(point.quality),
        alone_val(point) or _decimal(None),
        _decimal(point.quality_test),
        _count(point.params),
        _count(point.flops, 1e6),
        _count(point.kv_cache_bytes, 1e3),
        f"<code>{escape(point.digest)}</code>{mark}",
    )
    plain = "".join(f"<td>{cell}</td>" for cell in cells)
    digest = escape(point.digest, quote=True)
    kind = "" if point.is_front else ' class="dominated"'
    return f'<tr data-arch="{digest}" tabindex="0"{kind}>{plain}<td class="wide">{escape(point.outline)}</td></tr>'


def _decimal(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _count(value: float | None, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:,.0f}" if unit == 1.0 else f"{value / unit:,.2f}"
