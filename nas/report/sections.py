"""The sections of the page: each takes the record and gives HTML and charts, or says what to run to have some."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.report import charts, markup
from nas.report.alone import trained_alone
from nas.report.charts import Spec
from nas.report.device import (
    calibration,
    family_errors,
    interval_facts,
    operator_times,
    predictor_scores,
    worst_cases,
)
from nas.report.families import dependences
from nas.report.figures import (
    FrontPoint,
    evaluated_points,
    front_points,
    hypervolume_curves,
    stage_costs,
    training_curves,
)
from nas.report.palette import COLOURS
from nas.report.ranking import AGAIN, sentences, trust
from nas.report.read import Record, mapping, number
from nas.report.stacks import operator_shares, stacks
from nas.report.summary import shown


@dataclass(frozen=True, slots=True)
class Section:
    """HTML, and the specifications of the charts in it by name."""

    html: str
    charts: dict[str, Spec] = field(default_factory=dict)


def all_of(record: Record) -> list[Section]:
    """The page from top to bottom."""
    return [make(record) for make in _ORDER]


def headline(record: Record) -> Section:
    """Task, device, budget and the ends of the front."""
    summary, points = record.summary, [p for p in front_points(record) if p.is_front]
    settings = mapping(record.asked.get("settings"))
    data, space, search, limits = (mapping(settings.get(k)) for k in ("data", "space", "search", "constraints"))
    known: dict[str, list[Any]] = {
        "task": [data.get("name"), record.metric.replace("_", " ")],
        "space": [space.get("name"), _worded(summary.get("space.size"), "architectures")],
        "device": [_device(record)],
        "budget": [_worded(summary.get("search.evaluations"), "evaluations"), search.get("strategy")],
        "limits": [f"{name} {shown(value)}" for name, value in _limits(limits).items()],
        "front": [_worded(len(points) or None, "measured architectures")],
        "time": [_worded(sum(cost.seconds for cost in stage_costs(record)) or None, "s, all stages")],
        **_best(record, points),
    }
    joined = {name: ", ".join(str(value) for value in values if value) for name, values in known.items()}
    overrides = " ".join(map(str, record.asked.get("overrides") or [])) or "the defaults"
    started = f", started {record.asked['started']}" if "started" in record.asked else ""
    others = [name for name in record.searches if name != record.search]
    also = f"; search {record.search}, beside {', '.join(others)}" if others else ""
    said = markup.paragraph(f"Settings: {overrides}{started}{also}", "note")
    skipped = "".join(markup.paragraph(f"Left out: {line}", "missing") for line in record.skipped)
    facts = markup.facts({name: value for name, value in joined.items() if value})
    return Section(f"<header>{markup.heading(record.name)}{said}</header>{skipped}{facts}")


def _limits(asked: dict[str, Any]) -> dict[str, Any]:
    """Those that are set; a confidence says nothing without a latency."""
    unused = set() if asked.get("latency_ms") else {"confidence"}
    return {name: value for name, value in asked.items() if value is not None and name not in unused}


def front(record: Record) -> Section:
    """The scatter with the hovered arch beside it."""
    points, evaluated = front_points(record), evaluated_points(record)
    title = "Quality over latency"
    if not points and not evaluated:
        return Section(markup.section("front", title, markup.missing("No search yet: run `nas search`.")))
    families = {point.family for point in points} | {point.family for point in evaluated}
    label = f"{len(points)} measured architectures among {len(evaluated)} evaluated ones, {record.metric} over latency"
    body = markup.legend([name for name in COLOURS if name in families]) + markup.chart("front", label)
    note = (
        "Large dots are measured on the device, with the spread as a line, and scored on all validation data; small "
        "marks are what the search saw, a predicted latency and the score on part of that data. Diamonds are the same "
        "networks trained alone. Point at a dot, or tap it, to find its layers below."
    )
    spec = charts.front(points, evaluated, record.metric)
    return Section(markup.section("front", title, body, note), {"front": spec})


def layers(record: Record) -> Section:
    """The front's layer stacks and the share of operators by depth."""
    title = "Layers of the front"
    if not record.front:
        return Section(markup.section("layers", title, markup.missing("No front yet: run `nas search`.")))
    points = {point.digest: point for point in front_points(record)}
    drawn = "".join(markup.stack(found, points.get(found.digest), record.metric) for found in stacks(record))
    shares = operator_shares(record)
    body = f'<div class="stacks">{drawn}</div>' + markup.blocks(
        "Point at an architecture, or tap it, to read its blocks."
    )
    body += markup.subtitle("Operators by depth, share of the front")
    note = (
        "Fastest first; input at the bottom; C is the width of a token. Grey is the feed-forward part, a line above a "
        "mixer its gate. 4/2x16 stands for 4 query heads on 2 key and value heads of width 16, further numbers for the "
        "operator's other knobs."
    )
    body += markup.chart("shares", "share of the front's architectures with each operator at each depth")
    return Section(markup.section("layers", title, body, note), {"shares": charts.shares(shares)} if shares else {})


def table(record: Record) -> Section:
    """The measured archs in figures."""
    points = front_points(record)
    if not points:
        return Section(markup.section("table", "The front in figures", markup.missing("Run `nas search` first.")))
    body = markup.table(points, record.metric)
    if not record.retrained:
        body += markup.missing("None was trained alone yet: run `nas retrain`.")
    note = (
        "± is half the distance of the quartiles of repeated timings. Test data is read once, after everything is "
        "chosen."
    )
    return Section(markup.section("table", "The front in figures", body, note))


def alone(record: Record) -> Section:
    """Winners beside hand-made references, trained and timed in the same way."""
    found, title = trained_alone(record), "Trained alone"
    if not found:
        return Section(markup.section("alone", title, markup.missing("None yet: run `nas retrain`.")))
    note = (
        "Circles are winners of the search, diamonds references made by hand, trained in the "
        "same way; bars reach from the lowest seed to the highest, ± is a standard deviation over seeds. Test data is "
        "read once, at the end."
    )
    body = markup.chart("alone", "quality after training alone over latency") + markup.alone(found, record.metric)
    return Section(markup.section("alone", title, body, note), {"alone": charts.alone(found, record.metric)})


def dependence(record: Record) -> Section:
    """What one family alone, or all but it, reaches."""
    title, found = "Does the front depend on operators?", dependences(record)
    if found is None:
        return Section(markup.section("families", title, markup.missing("No search yet: run `nas search`.")))
    note = (
        "Every evaluated architecture, the baseline's included, by predicted latency and the score on part of the "
        "validation data. Hypervolume is the share of the plane of both that architectures beat, the whole space being "
        "100 %. A family that keeps most of it alone could replace the others; one that is missed is needed. The "
        "search looks where the whole front is, so few architectures mean little."
    )
    return Section(markup.section("families", title, markup.dependence(found, record.metric), note))


def ranking(record: Record) -> Section:
    """Inherited against standalone scores, and what else would rank the nets."""
    found, title = trust(record), "Can the ranking be trusted?"
    if found is None:
        text = "Not tested yet: run `nas rank`; it trains some architectures alone, which takes its time."
        return Section(markup.section("ranking", title, markup.missing(text)))
    stale = markup.missing(f"The supernet has changed since: {AGAIN}.") if found.is_stale else ""
    said = markup.paragraph(" ".join(sentences(found)[1 if found.is_stale else 0 :]), "note")
    families = {net.family for net in found.nets}
    chart = markup.chart("ranking", "scores of networks trained alone over those that they inherit")
    drawn = (markup.legend([name for name in COLOURS if name in families]) + chart) if found.nets else ""
    body = f'{stale}{said}<div class="pair"><div>{drawn}</div><div>{markup.agreements(found)}</div></div>'
    note = (
        f"Architectures of every operator family and size, trained alone from scratch with {found.seeds} seeds"
        f"{'' if found.steps is None else f' for {found.steps:,.0f} steps'}"
        f"{'' if found.batch_size is None else f' in batches of {found.batch_size:,.0f}'}; the bar is the spread over "
        "seeds, the large mark the largest architecture, which is in no correlation. Intervals are from resampled "
        "architectures. Training alone again is the tau between halves of the seeds, the ceiling for anything that "
        "foretells it."
    )
    spec = {"ranking": charts.ranking(found.nets, found.metric)} if found.nets else {}
    return Section(markup.section("ranking", title, body + markup.rivals(found), note), spec)


def predictor(record: Record) -> Section:
    """Calibration on held-out nets, and baselines."""
    held, scores, title = calibration(record), predictor_scores(record), "Latency predictor"
    if not held and not scores:
        text = "No error card yet: run `nas profile`, then `nas fit`."
        return Section(markup.section("predictor", title, markup.missing(text)))
    note = f"{len(held)} networks that it never saw, beside what one number of a network would give."
    note += " Error: mean relative; then shares within 5 and 10 %; tau: Kendall's rank correlation."
    note += _intervals(interval_facts(record))
    body = markup.chart("calibration", "predicted over measured latency") if held else ""
    body = f'<div class="pair">{body}<div>{markup.scores(scores)}</div></div>'
    errors, worst = family_errors(record), worst_cases(record)
    body += markup.family_errors(errors) if errors else ""
    body += markup.worst_cases(worst) if worst else ""
    return Section(
        markup.section("predictor", title, body, note), {"calibration": charts.calibration(held)} if held else {}
    )


def operators(record: Record) -> Section:
    """Which operators pay on this device, and which lose everywhere."""
    found, title = operator_times(record), "Operators on this device"
    if not found:
        text = "No comparison yet: run `nas profile` and `nas fit` on a space with softmax."
        return Section(markup.section("operators", title, markup.missing(text)))
    lost = [row.operator for row in found if row.loses]
    note = (
        "Measured time of a mixer over that of softmax with as many heads at the same width, at its best knobs and "
        "width. "
    )
    note += f"Nowhere faster here: {', '.join(lost)}." if lost else "Each is faster somewhere."
    return Section(markup.section("operators", title, markup.operator_times(found), note))


def hypervolume(record: Record) -> Section:
    """Search against random search."""
    curves, title = hypervolume_curves(record), "Search against random search"
    if not curves:
        text = "No finished search: run `nas search`; it goes on where it stopped."
        return Section(markup.section("hypervolume", title, markup.missing(text)))
    body = markup.chart("hypervolume", "hypervolume over evaluations, of the search and of random search")
    note = "Hypervolume: share of the box of all objectives that the architectures found so far beat; more is better."
    return Section(markup.section("hypervolume", title, body, note), {"hypervolume": charts.hypervolume(curves)})


def training(record: Record) -> Section:
    """Losses of the supernet."""
    curves, title = training_curves(record), "Supernet training"
    if not curves:
        return Section(markup.section("training", title, markup.missing("No supernet yet: run `nas train`.")))
    body = markup.chart("training", "training loss over steps, by kind of subnet")
    return Section(markup.section("training", title, body), {"training": charts.training(curves)})


def costs(record: Record) -> Section:
    """Time by stage, and all figures."""
    found, title = stage_costs(record), "What it cost"
    body = markup.chart("costs", ", ".join(f"{cost.stage} {cost.seconds:.1f} s" for cost in found))
    body = body if found else markup.missing("No stage has ended yet: run `nas run`.")
    html = markup.section("costs", title, body + markup.figures(record.summary), "Wall seconds of every stage.")
    return Section(html, {"costs": charts.costs(found)} if found else {})


_ORDER: Sequence[Callable[[Record], Section]] = (
    headline,
    front,
    layers,
    table,
    alone,
    dependence,
    ranking,
    predictor,
    operators,
    hypervolume,
    training,
    costs,
)


def _best(record: Record, points: Sequence[FrontPoint]) -> dict[str, list[Any]]:
    if not points:
        return {}
    best = (max if record.is_maximised else min)(points, key=lambda point: point.quality)
    chosen = {"fastest": points[0], "balanced": next((p for p in points if p.is_knee), points[0]), "best": best}
    unit = record.metric.replace("_", " ")
    return {name: [f"{point.latency_ms:.3g} ms, {point.quality:.4g} {unit}"] for name, point in chosen.items()}


def _intervals(facts: dict[str, float]) -> str:
    said = ""
    if "noise_floor" in facts:
        said += f" A single measurement is itself off by {facts['noise_floor']:.1%} on average."
    if {"confidence", "coverage"} <= facts.keys():
        said += f" Intervals stated at {facts['confidence']:.0%} hold {facts['coverage']:.0%} of them"
        said += f", {facts['width']:.0%} wide on average." if "width" in facts else "."
    return said


def _device(record: Record) -> str:
    threads, runtime = number(record.device.get("threads")), str(record.device.get("runtime") or "")
    name = str(record.device.get("gpu") or record.device.get("cpu") or "")
    machine = mapping(record.asked.get("machine"))
    said = [name, runtime, f"threads: {threads:g}" if threads else ""] if name else [str(machine.get("system", ""))]
    return ", ".join(part for part in said if part)


def _worded(value: object, unit: str) -> str:
    return "" if value is None else f"{shown(round(value) if isinstance(value, float) else value)} {unit}"
