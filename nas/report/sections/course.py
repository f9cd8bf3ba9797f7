"""How it went: search against random search, training curves, and what every stage cost."""

from nas.report import charts, markup
from nas.report.figures import hypervolume_curves, hypervolume_times, stage_costs, training_curves
from nas.report.read import Record
from nas.report.sections.section import Section, absent, section


def hypervolume(record: Record) -> Section:
    """Search against random search, over evaluations and over time."""
    curves, times, title = hypervolume_curves(record), hypervolume_times(record), "Search against random search"
    if not curves:
        return absent("hypervolume", title, "No finished search: run `nas search`; it goes on where it stopped.")
    body = markup.chart("hypervolume", "hypervolume over evaluations, of the search and of random search")
    specs = {"hypervolume": charts.hypervolume(curves, "evaluations")}
    if times:
        over_time = markup.chart("hypervolume-time", "hypervolume over seconds of evaluation")
        body = f'<div class="halves"><div>{body}</div><div>{over_time}</div></div>'
        specs["hypervolume-time"] = charts.hypervolume(times, "seconds of evaluation, all workers together")
    note = "Hypervolume: share of the box of all objectives that the architectures found so far beat; more is better."
    return section("hypervolume", title, body, note, specs)


def training(record: Record) -> Section:
    """Losses of the supernet."""
    curves, title = training_curves(record), "Supernet training"
    if not curves:
        return absent("training", title, "No supernet yet: run `nas train`.")
    body = markup.chart("training", "training loss over steps, by kind of subnet")
    return section("training", title, body, charts={"training": charts.training(curves)})


def costs(record: Record) -> Section:
    """Time by stage, and all figures."""
    found, title = stage_costs(record), "What it cost"
    body = markup.chart("costs", ", ".join(f"{cost.stage} {cost.seconds:.1f} s" for cost in found))
    body = body if found else markup.missing("No stage has ended yet: run `nas run`.")
    body += markup.figures(record.summary)
    return section(
        "costs", title, body, "Wall seconds of every stage.", {"costs": charts.costs(found)} if found else {}
    )
