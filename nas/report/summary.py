"""The figures of `summary.json` as text for a terminal, with the front as a table and a small plot."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nas.report.figures import Evaluated, FrontPoint, evaluated_points, front_points
from nas.report.read import Record, read
from nas.run import Run

DOCUMENTED: Mapping[str, str] = {
    "stage.<stage>.seconds": "wall seconds, all attempts together",
    "space.size": "different architectures",
    "space.digest": "content of the space",
    "supernet.params": "parameters of the supernet",
    "supernet.largest.val_<metric>": "largest subnet on val",
    "predictor.held_out": "nets that the predictor never saw",
    "predictor.fitted": "nets that it was fitted to",
    "predictor.parts": "measured parts that it adds up",
    "predictor.correction": "learned part on top of the sum",
    "predictor.mape": "mean relative error on held-out nets",
    "predictor.within_<percent>": "share of them within that many per cent",
    "predictor.r2": "explained share of variance",
    "predictor.tau": "Kendall's rank correlation",
    "predictor.noise_floor": "error of a measurement repeated",
    "predictor.confidence": "stated of the intervals",
    "predictor.coverage": "share of held-out nets inside theirs",
    "predictor.upper_coverage": "share of them below their upper bound",
    "predictor.width": "mean width of an interval over the time",
    "predictor.baseline.<feature>.<figure>": "the same from one number of a net",
    "predictor.family.<family>.mape": "error on nets that hold the family",
    "search.evaluations": "archs scored",
    "search.failed": "archs whose scoring failed",
    "search.duplicates": "archs scored twice at one fidelity",
    "search.spent": "the same as so many evaluations on all of search.val_limit",
    "search.seconds_per_evaluation": "of one worker",
    "search.hypervolume": "share of the objectives' box dominated",
    "search.evaluations_to_random": "evaluations that reach random search's hypervolume",
    "search.random.<figure>": "the same of random search",
    "search.front.measured": "archs of the front that were measured",
    "search.front.violations": "of them beyond the latency limit",
    "search.front.size": "measured archs that none dominates",
    "search.front.operators": "different operators on it",
    "search.front.<objective>.<figure>": "range over the measured front",
    "retrain.<arch>.inherited_val": "metric on val with the supernet's weights",
    "retrain.<arch>.val": "metric on val after training alone",
    "retrain.<arch>.test": "the same net on test, scored once",
    "export.<arch>.<form>": "largest difference of its logits from the supernet's",
}
"""Every dotted name of `summary.json` and what it means; `<…>` stands for one part of a name."""

PLOT_WIDTH, PLOT_HEIGHT = 60, 14
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(run: Run) -> str:
    """All figures by group, the front as a table, and a plot of quality over latency."""
    record = read(run)
    parts = [_figures(record.summary), _table(record), _plot(record), *(f"skipped {line}" for line in record.skipped)]
    return "\n\n".join([f"run {record.name}", *(part for part in parts if part)])


def front_table(run: Run) -> str:
    """The measured front, fastest first."""
    return _table(read(run))


def meaning(name: str) -> str:
    """What a figure of the summary means; empty for a name that is not documented."""
    return next((text for pattern, text in DOCUMENTED.items() if _matches(pattern, name)), "")


def shown(value: Any) -> str:
    """A figure as people read it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not known" if value is None else str(value)
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    digits, _, power = f"{value:.3g}".partition("e") if abs(value) >= 1e9 else f"{value:.4g}".partition("e")
    return f"{digits}×10{str(int(power)).translate(RAISED)}" if power else digits


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells in aligned columns; those numbered in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(re.sub(r"<\w+>", r"[^.]+", pattern.replace(".", r"\.")), name) is not None


def _figures(summary: Mapping[str, Any]) -> str:
    if not summary:
        return "no figures yet: start with `nas train`, or `nas run` for all stages"
    return columns([(name, shown(value), meaning(name)) for name, value in sorted(summary.items())], right=(1,))


def _table(record: Record) -> str:
    points = front_points(record)
    if not points:
        return "no measured front yet: run `nas search`"
    metric = record.metric
    head = ("latency ms", "spread", f"{metric} val", "alone val", "alone test", "params", "arch", "blocks")
    rows = [_row(point) for point in points]
    note = "spread: distance of the quartiles of repeated timings; * balanced; - off the front once measured"
    return columns([head, *rows], right=range(6)) + f"\n{note}"


def _row(point: FrontPoint) -> tuple[str, ...]:
    def known(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    mark = " *" if point.is_knee else "" if point.is_front else " -"
    return (
        f"{point.latency_ms:.3f}",
        f"{point.high_ms - point.low_ms:.3f}",
        f"{point.quality:.4f}",
        known(point.quality_alone),
        known(point.quality_test),
        "" if point.params is None else f"{point.params:,.0f}",
        point.digest + mark,
        point.outline,
    )


def _plot(record: Record) -> str:
    points, seen = front_points(record), evaluated_points(record)
    if not points and not seen:
        return ""
    places = {"·": _places(seen), "●": _places(points)}
    (left, right), (low, high) = (_range(axis) for axis in zip(*itertools.chain(*places.values()), strict=True))
    grid = [[" "] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]
    for mark, group in places.items():
        for x, y in group:
            column = round((x - left) / (right - left) * (PLOT_WIDTH - 1))
            grid[round((high - y) / (high - low) * (PLOT_HEIGHT - 1))][column] = mark
    label = [f"{high:.4g}", *[""] * (PLOT_HEIGHT - 2), f"{low:.4g}"]
    body = columns([(name, "│" + "".join(row)) for name, row in zip(label, grid, strict=True)], right=(0,))
    pad = " " * max(map(len, label))
    ends = f"{left:.3g}{f'{right:.3g} ms'.rjust(PLOT_WIDTH - len(f'{left:.3g}'))}"
    return f"{record.metric} over latency: ● measured, · evaluated\n{body}\n{pad}  └{'─' * PLOT_WIDTH}\n{pad}   {ends}"


def _places(group: Sequence[Evaluated] | Sequence[FrontPoint]) -> list[tuple[float, float]]:
    return [(point.latency_ms, point.quality) for point in group]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
