"""What speaks for it: families that the front needs, choices that matter, the ranking, the predictor, the device."""

from nas.report import charts, markup
from nas.report.charts import Spec
from nas.report.device import (
    calibration,
    crossovers,
    family_errors,
    interval_facts,
    operator_times,
    predictor_scores,
    worst_cases,
)
from nas.report.families import dependences
from nas.report.importance import LEAST, importances
from nas.report.palette import ordered
from nas.report.ranking import AGAIN, sentences, trust
from nas.report.read import Record
from nas.report.sections.section import Section, absent, section


def dependence(record: Record) -> Section:
    """What one family alone, or all but it, reaches."""
    title, found = "Does the front depend on operators?", dependences(record)
    if found is None:
        return absent("families", title, "No search yet: run `nas search`.")
    note = (
        "Every evaluated architecture, the baseline's included, by predicted latency and the score on part of the "
        "validation data. Hypervolume is the share of the plane of both that architectures beat, the whole space being "
        "100 %. A family that keeps most of it alone could replace the others; one that is missed is needed. The "
        "search looks where the whole front is, so few architectures mean little."
    )
    return section("families", title, markup.dependence(found, record.metric), note)


def important(record: Record) -> Section:
    """Which choices decide quality and latency."""
    title, found = "Which choices matter?", importances(record)
    if found is None:
        text = f"Too few architectures to tell, it takes {LEAST}: run `nas search`; it goes on where it stopped."
        return absent("important", title, text)
    note = (
        f"Share of the explained variance that is lost when a choice is shuffled among {found.archs:,} evaluated "
        f"architectures; forests explain {found.quality_r2:.0%} of held-out quality and {found.latency_r2:.0%} of "
        "latency. The means say what the front prefers."
    )
    body = f'<div class="pair"><div>{markup.chart("importance", "importance of choices")}</div>'
    body += f"<div>{markup.importances(found)}</div></div>"
    return section("important", title, body, note, {"importance": charts.importance(found)})


def ranking(record: Record) -> Section:
    """Inherited against standalone scores, and what else would rank the nets."""
    found, title = trust(record), "Can the ranking be trusted?"
    if found is None:
        text = "Not tested yet: run `nas rank`; it trains some architectures alone, which takes its time."
        return absent("ranking", title, text)
    stale = markup.missing(f"The supernet has changed since: {AGAIN}.") if found.is_stale else ""
    said = markup.paragraph(" ".join(sentences(found)[1 if found.is_stale else 0 :]), "note")
    families = {net.family for net in found.nets}
    chart = markup.chart("ranking", "scores of networks trained alone over those that they inherit")
    drawn = (markup.legend(ordered(families)) + chart) if found.nets else ""
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
    return section("ranking", title, body + markup.rivals(found), note, spec)


def predictor(record: Record) -> Section:
    """Calibration on held-out nets, and baselines."""
    held, scores, title = calibration(record), predictor_scores(record), "Latency predictor"
    if not held and not scores:
        text = "No error card yet: run `nas profile`, then `nas fit`."
        return absent("predictor", title, text)
    note = f"{len(held)} networks that it never saw, beside what one number of a network would give."
    note += " Error: mean relative; then shares within 5 and 10 %; tau: Kendall's rank correlation."
    note += _intervals(interval_facts(record))
    body = markup.chart("calibration", "predicted over measured latency") if held else ""
    body = f'<div class="pair">{body}<div>{markup.scores(scores)}</div></div>'
    errors, worst = family_errors(record), worst_cases(record)
    body += markup.family_errors(errors) if errors else ""
    body += markup.worst_cases(worst) if worst else ""
    return section("predictor", title, body, note, {"calibration": charts.calibration(held)} if held else {})


def _intervals(facts: dict[str, float]) -> str:
    said = ""
    if "noise_floor" in facts:
        said += f" A single measurement is itself off by {facts['noise_floor']:.1%} on average."
    if {"confidence", "coverage"} <= facts.keys():
        said += f" Intervals stated at {facts['confidence']:.0%} hold {facts['coverage']:.0%} of them"
        said += f", {facts['width']:.0%} wide on average." if "width" in facts else "."
    return said


def operators(record: Record) -> Section:
    """Which operators pay on this device, and which lose everywhere."""
    found, title = operator_times(record), "Operators on this device"
    if not found:
        text = "No comparison yet: run `nas profile` and `nas fit` on a space with softmax."
        return absent("operators", title, text)
    lost = [row.operator for row in found if row.loses]
    note = (
        "Measured time of a mixer over that of softmax with as many heads at the same width, at its best knobs and "
        "width. "
    )
    note += f"Nowhere faster here: {', '.join(lost)}." if lost else "Each is faster somewhere."
    return section("operators", title, *_over_lengths(record, markup.operator_times(found), note))


def _over_lengths(record: Record, body: str, note: str) -> tuple[str, str, dict[str, Spec]]:
    """The table, and curves over length where the device's table has several."""
    curves = crossovers(record)
    if not curves:
        return body, note, {}
    chart = markup.chart("crossover", "time of operators over that of softmax, by length")
    note += " Where a line is below 1, the operator is faster than softmax at that size of the input."
    return f'<div class="pair"><div>{chart}</div><div>{body}</div></div>', note, {"crossover": charts.crossover(curves)}
