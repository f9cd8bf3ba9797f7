"""The figures of `summary.json` as text for a terminal, with the front as a table and a small plot."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nas.report.alone import Alone, trained_alone
from nas.report.figures import Evaluated, FrontPoint, alone_val, evaluated_points, front_points
from nas.report.ranking import agreement_cells, rival_cells, sentences, trust
from nas.report.read import Record, read
from nas.report.terminal import fitted, plot, stairs
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
    "retrain.<arch>.val": "metric on val after training alone, mean over seeds",
    "retrain.<arch>.val_std": "its standard deviation over seeds",
    "retrain.<arch>.test": "the same nets on test, scored once",
    "retrain.<arch>.test_std": "its standard deviation over seeds",
    "retrain.<arch>.seeds": "trainings of the arch",
    "retrain.<arch>.start": "weights that they began with",
    "retrain.<arch>.teacher": "whose output was mixed into the targets",
    "retrain.<arch>.steps": "steps of each",
    "retrain.<arch>.lr": "their highest learning rate",
    "rank.nets": "archs trained alone to test inherited scores",
    "rank.tau": "Kendall's rank correlation of inherited with standalone scores",
    "rank.tau_low": "lower end of its 95 % interval",
    "rank.tau_high": "upper end of it",
    "rank.spearman": "the same by Spearman's correlation",
    "rank.ceiling": "tau between halves of the standalone seeds",
    "rank.share_of_ceiling": "tau over it",
    "rank.corrected_largest": "the same of the space's largest architecture",
    "rank.corrected_error": "per cent by which corrected scores are off standalone ones (median, either way)",
    "rank.within_bins.tau": "tau over pairs of archs of one size",
    "rank.within_families.tau": "tau over pairs of one operator family",
    "rank.family.<family>.tau": "tau among archs of the family",
    "rank.rival.<name>.tau": "tau of what else ranks them",
    "rank.gap.<figure>": "per cent by which inherited scores are worse",
    "rank.noise.<over>": "standard deviation of standalone scores",
    "export.<arch>.<form>": "largest difference of its logits from the supernet's",
}
"""Every dotted name of `summary.json` and what it means; `<…>` stands for one part of a name."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(run: Run, width: int | None = None) -> str:
    """All figures, what was trained alone, the ranking, and at the end the front as a table and a plot.

    `width` is that of the terminal; without one no line is cut.
    """
    record = read(run)
    parts = [_figures(record.summary), _ranking(record), _alone(record), _table(record), _plot(record, width)]
    parts += [f"skipped {line}" for line in record.skipped]
    return fitted("\n\n".join([f"run {record.name}", *(part for part in parts if part)]), width)


def front_table(run: Run) -> str:
    """The measured front, fastest first."""
    return _table(read(run))


def ranking_text(run: Run) -> str:
    """What `nas rank` found; empty before it has run."""
    return _ranking(read(run))


def alone_table(run: Run) -> str:
    """What was trained alone, winners and references, fastest first."""
    return _alone(read(run))


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
    note += "; ~ expected, not trained" if any(row[3].startswith("~") for row in rows) else ""
    return columns([head, *rows], right=range(6)) + f"\n{note}"


def _ranking(record: Record) -> str:
    found = trust(record)
    if found is None:
        return ""
    tables = [columns(agreement_cells(found), right=(1,)), columns(rival_cells(found))]
    return "\n\n".join([*tables, "\n".join(sentences(found))])


def _alone(record: Record) -> str:
    found = trained_alone(record)
    if not found:
        return ""
    head = ("latency ms", "inherited", "alone val", "test", "seeds", "params", "arch", "what", "how", "blocks")
    rows = [_alone_row(one) for one in found]
    note = "trained alone: mean ± standard deviation over seeds; test was read once, at the end"
    return columns([head, *rows], right=range(6)) + f"\n{note}"


def _alone_row(one: Alone) -> tuple[str, ...]:
    return (
        "" if one.latency_ms is None else f"{one.latency_ms:.3f}",
        "" if one.inherited is None else f"{one.inherited:.4f}",
        one.val.text,
        one.test.text,
        str(one.seeds),
        "" if one.params is None else f"{one.params:,.0f}",
        one.digest,
        " ".join(part for part in (one.kind, one.name) if part),
        one.how,
        one.outline,
    )


def _row(point: FrontPoint) -> tuple[str, ...]:
    def known(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    mark = " *" if point.is_knee else "" if point.is_front else " -"
    return (
        f"{point.latency_ms:.3f}",
        f"{point.high_ms - point.low_ms:.3f}",
        f"{point.quality:.4f}",
        alone_val(point),
        known(point.quality_test),
        "" if point.params is None else f"{point.params:,.0f}",
        point.digest + mark,
        point.outline,
    )


def _plot(record: Record, width: int | None) -> str:
    points, seen = front_points(record), evaluated_points(record)
    if not points and not seen:
        return ""
    places, measured = _places(seen), _places(points)
    best = stairs(places, is_less=not record.is_maximised)
    better = "more" if record.is_maximised else "less"
    title = f"{record.metric} over latency, {better} is better: ● measured, ○ best as evaluated, · evaluated"
    return f"{title}\n{plot({'·': places, '○': best, '●': measured}, 'ms', width)}"


def _places(group: Sequence[Evaluated] | Sequence[FrontPoint]) -> list[tuple[float, float]]:
    return [(point.latency_ms, point.quality) for point in group]
