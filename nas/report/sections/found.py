"""What was found: the headline, the explorer of all archs, the front's layers and figures, and what else there is."""

from collections.abc import Sequence
from typing import Any

from nas.report import charts, controls, markup
from nas.report.alone import trained_alone
from nas.report.comparison import Comparison, compare, device
from nas.report.figures import FrontPoint, front_points, stage_costs
from nas.report.read import Record, mapping
from nas.report.sections.section import Section, absent, section
from nas.report.stacks import operator_shares, stacks
from nas.report.summary import shown


def headline(record: Record) -> Section:
    """Task, device, budget and the ends of the front."""
    overrides = " ".join(map(str, record.asked.get("overrides") or [])) or "the defaults"
    started = f", started {record.asked['started']}" if "started" in record.asked else ""
    others = [name for name in record.searches if name != record.search]
    also = f"; search {record.search}, beside {', '.join(others)}" if others else ""
    said = markup.paragraph(f"Settings: {overrides}{started}{also}", "note")
    skipped = "".join(markup.paragraph(f"Left out: {line}", "missing") for line in record.skipped)
    head = f"<header>{markup.heading(record.name)}{said}</header>"
    return Section("headline", f'<div id="headline">{head}{skipped}{markup.facts(_facts(record))}</div>')


def _facts(record: Record) -> dict[str, str]:
    summary, points = record.summary, [p for p in front_points(record) if p.is_front]
    settings = mapping(record.asked.get("settings"))
    data, space, search, limits = (mapping(settings.get(k)) for k in ("data", "space", "search", "constraints"))
    known: dict[str, list[Any]] = {
        "task": [data.get("name"), record.metric.replace("_", " ")],
        "space": [space.get("name"), _worded(summary.get("space.size"), "architectures")],
        "device": [device(record) or str(mapping(record.asked.get("machine")).get("system", ""))],
        "budget": [_worded(summary.get("search.evaluations"), "evaluations"), search.get("strategy")],
        "limits": [f"{name} {shown(value)}" for name, value in _limits(limits).items()],
        "front": [_worded(len(points) or None, "measured architectures")],
        "time": [_worded(sum(cost.seconds for cost in stage_costs(record)) or None, "s, all stages")],
        **_best(record, points),
    }
    joined = {name: ", ".join(str(value) for value in values if value) for name, values in known.items()}
    return {name: value for name, value in joined.items() if value}


def _limits(asked: dict[str, Any]) -> dict[str, Any]:
    """Those that are set; a confidence says nothing without a latency."""
    unused = set() if asked.get("latency_ms") else {"confidence"}
    return {name: value for name, value in asked.items() if value is not None and name not in unused}


def explored(data: dict[str, Any] | None) -> Section:
    """The explorer of all archs, which the script fills from what `explorer.explorer` gives."""
    title = "Everything evaluated"
    if data is None:
        return absent("front", title, "No search yet: run `nas search`.")
    return section("front", title, controls.explorer(data), controls.NOTE)


def layers(record: Record) -> Section:
    """The front's layer stacks and the share of operators by depth."""
    title = "Layers of the front"
    if not record.front:
        return absent("layers", title, "No front yet: run `nas search`.")
    points = {point.digest: point for point in front_points(record)}
    drawn = "".join(markup.stack(found, points.get(found.digest), record.metric) for found in stacks(record))
    shares = operator_shares(record)
    body = f'<div class="stacks" tabindex="0" role="group" aria-label="layer stacks">{drawn}</div>'
    body += markup.blocks("Point at an architecture, or tap it, to read its blocks.")
    body += markup.subtitle("Operators by depth, share of the front")
    note = (
        "Fastest first; input at the bottom; C is the width of a token. Grey is the feed-forward part, a line above a "
        "mixer its gate. 4/2x16 stands for 4 query heads on 2 key and value heads of width 16, further numbers for the "
        "operator's other knobs."
    )
    body += markup.chart("shares", "share of the front's architectures with each operator at each depth")
    return section("layers", title, body, note, {"shares": charts.shares(shares)} if shares else {})


def table(record: Record) -> Section:
    """The measured archs in figures."""
    points = front_points(record)
    if not points:
        return absent("table", "The front in figures", "Run `nas search` first.")
    body = markup.table(points, record.metric)
    if not record.retrained:
        body += markup.missing("None was trained alone yet: run `nas retrain`.")
    note = (
        "± is half the distance of the quartiles of repeated timings. Test data is read once, after everything is "
        "chosen."
    )
    if any(point.quality_expected is not None for point in points):
        note += " After ~ stands what training alone is expected to give."
    return section("table", "The front in figures", body, note)


def alone(record: Record) -> Section:
    """Winners beside hand-made references, trained and timed in the same way."""
    found, title = trained_alone(record), "Trained alone"
    if not found:
        return absent("alone", title, "None yet: run `nas retrain`.")
    note = (
        "Circles are winners of the search, diamonds references made by hand, trained in the "
        "same way; bars reach from the lowest seed to the highest, ± is a standard deviation over seeds. Test data is "
        "read once, at the end."
    )
    body = markup.chart("alone", "quality after training alone over latency") + markup.alone(found, record.metric)
    return section("alone", title, body, note, {"alone": charts.alone(found, record.metric)})


def compared(record: Record, beside: Sequence[Record]) -> Section:
    """Several runs side by side."""
    found, title = compare(record, beside), "Beside other runs"
    if found is None:
        text = "Nothing to compare with: run `nas report 'report.compare=[FOLDER]'` with folders of other runs."
        return absent("compared", title, text)
    note = (
        "Measured fronts in one plane. Hypervolume is the share of the box around all of them that a run beats. "
        "Milliseconds of different devices compare the devices as well."
    )
    body = "".join(markup.missing(f"Left out: {line}") for line in found.left_out) + _runs(found)
    return section("compared", title, body, note, {"compared": charts.compared(found)} if found.runs else {})


def _runs(found: Comparison) -> str:
    if not found.runs:
        return ""
    drawn = markup.chart("compared", "measured fronts of several runs") + markup.compared(found)
    return drawn + (markup.subtitle("Measured by more than one run") + markup.shared(found) if found.shared else "")


def _best(record: Record, points: Sequence[FrontPoint]) -> dict[str, list[Any]]:
    if not points:
        return {}
    has_expected = all(point.quality_expected is not None for point in points)
    best = (max if record.is_maximised else min)(points, key=lambda point: _reached(point, has_expected))
    chosen = {"fastest": points[0], "balanced": next((p for p in points if p.is_knee), points[0]), "best": best}
    unit = record.metric.replace("_", " ") + (" expected" if has_expected else "")
    return {
        name: [f"{point.latency_ms:.3g} ms, {_reached(point, has_expected):.4g} {unit}"]
        for name, point in chosen.items()
    }


def _reached(point: FrontPoint, has_expected: bool) -> float:
    """What the search went by: what training alone is expected to give, or the inherited score."""
    return point.quality_expected if has_expected and point.quality_expected is not None else point.quality


def _worded(value: object, unit: str) -> str:
    return "" if value is None else f"{shown(round(value) if isinstance(value, float) else value)} {unit}"
