"""Vega-Lite specifications of the figures; colours of axes and text are the page's, so that it can be light or dark."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from nas.report.alone import REFERENCE, WINNER, Alone
from nas.report.comparison import Comparison
from nas.report.device import Crossover, Held
from nas.report.figures import CurvePoint, StageCost
from nas.report.importance import Importances
from nas.report.palette import colour, everything
from nas.report.ranking import RankedNet
from nas.report.stacks import Share

Spec = dict[str, Any]
HEIGHT = 340
QUANTITIES = {"bits_per_byte": "bits per byte (less is better)", "accuracy": "accuracy (more is better)"}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
RUNS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#8a8f98")
MOST_CHOICES = 12
LINES = {"search": "#0072b2", "random": "#9467bd", "smallest": "#c9ced6"}


def hypervolume(curves: Sequence[CurvePoint], over: str) -> Spec:
    """Hypervolume over evaluations or time, search and random."""
    return _spec(_lines(curves, over, "hypervolume (share of the box)"), 240)


def training(curves: Sequence[CurvePoint]) -> Spec:
    """Loss over steps."""
    return _spec(_lines(curves, "step", "training loss"), 240)


def calibration(held: Sequence[Held]) -> Spec:
    """Predicted over measured latency, on equal axes with the line of a perfect predictor."""
    ends = [value for net in held for value in (net.measured, net.predicted)]
    line = alt.Chart(_data([{"at": min(ends)}, {"at": max(ends)}])).mark_line(strokeDash=[4, 4], color="#8a8f98")
    base = alt.Chart(_data([asdict(net) for net in held]))
    x, y = _axis("measured:Q", "measured, ms"), _axis_y("predicted:Q", "predicted, ms")
    spread = base.mark_rule(opacity=0.5).encode(x=_axis("low_ms:Q", "measured, ms"), x2="high_ms:Q", y=y)
    dots = base.mark_circle(size=60, opacity=0.9, color="#0072b2").encode(
        x=x,
        y=y,
        tooltip=[
            "digest:N",
            alt.Tooltip("measured:Q", format=".3f", title="measured, ms"),
            alt.Tooltip("predicted:Q", format=".3f", title="predicted, ms"),
        ],
    )
    return _spec(alt.layer(line.encode(x="at:Q", y="at:Q"), spread, dots), 280)


def ranking(nets: Sequence[RankedNet], metric: str) -> Spec:
    """Standalone over inherited scores, with the spread over seeds and the line of equal ones."""
    ends = [value for net in nets for value in (net.inherited, net.low, net.high)]
    line = alt.Chart(_data([{"at": min(ends)}, {"at": max(ends)}])).mark_line(strokeDash=[4, 4], color="#8a8f98")
    base = alt.Chart(_data([asdict(net) for net in nets]))
    x = _axis("inherited:Q", f"inherited weights, {QUANTITIES.get(metric, metric)}")
    spread = base.mark_rule(strokeWidth=1.5, color="#8a8f98").encode(
        x=x, y=_axis_y("low:Q", "trained alone"), y2="high:Q"
    )
    dots = base.mark_point(filled=True, opacity=1, stroke="#111111", strokeWidth=0.8).encode(
        x=x,
        y=_axis_y("alone:Q", "trained alone"),
        color=alt.Color("family:N", scale=_families(), legend=None),
        shape=_sizes(nets),
        size=alt.condition("datum.is_ranked", alt.value(90), alt.value(220)),
        tooltip=[
            alt.Tooltip("digest:N", title="arch"),
            alt.Tooltip("outline:N", title="blocks"),
            alt.Tooltip("inherited:Q", format=".4f"),
            alt.Tooltip("alone:Q", format=".4f", title="alone, mean"),
            alt.Tooltip("params:Q", format=",", title="parameters"),
        ],
    )
    return _spec(alt.layer(line.encode(x="at:Q", y="at:Q"), spread, dots), HEIGHT)


def _sizes(nets: Sequence[RankedNet]) -> alt.Shape:
    names = list(dict.fromkeys(net.size for net in sorted(nets, key=lambda net: net.params or 0.0)))
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    legend = alt.Legend(title=None, orient="top", columns=3)
    return alt.Shape("size:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)


def costs(stages: Sequence[StageCost]) -> Spec:
    """Seconds per stage."""
    base = alt.Chart(_data([asdict(stage) for stage in stages])).encode(
        x=alt.X("seconds:Q", title="seconds"), y=alt.Y("stage:N", sort=None, title=None)
    )
    labels = base.mark_text(align="left", dx=5).encode(text=alt.Text("seconds:Q", format=",.1f"))
    return _spec(alt.layer(base.mark_bar(color="#0072b2", cornerRadiusEnd=3), labels), 34 * len(stages) + 30)


def importance(found: Importances) -> Spec:
    """Importance of every choice for quality and for latency, as pairs of bars."""
    rows = [
        {"choice": one.choice, "of": name, "lost": value}
        for one in found.choices[:MOST_CHOICES]
        for name, value in (("quality", one.quality), ("latency", one.latency))
    ]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("lost:Q", title="explained variance lost when shuffled"),
        y=alt.Y("choice:N", sort=None, title=None, axis=alt.Axis(labelLimit=150)),
        yOffset=alt.YOffset("of:N", sort=None),
    )
    scale = alt.Scale(domain=["quality", "latency"], range=[LINES["search"], "#e69f00"])
    color = alt.Color("of:N", scale=scale, legend=alt.Legend(title=None, orient="top"))
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=color, tooltip=["choice:N", "of:N", alt.Tooltip("lost:Q", format=".3f")]
    )
    return _spec(bars, 34 * min(MOST_CHOICES, len(found.choices)) + 40)


def crossover(curves: Sequence[Crossover]) -> Spec:
    """Time over softmax's against the size of the input, one line per operator; the rule is as fast as softmax."""
    rows, names = [asdict(one) for one in curves], sorted({one.operator for one in curves})
    fills = [colour(next(one.family for one in curves if one.operator == name)) for name in names]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("size:Q", title="tokens, or pixels of a side", scale=alt.Scale(type="log")),
        y=alt.Y("ratio:Q", title="time over softmax's", scale=alt.Scale(type="log")),
        color=alt.Color("operator:N", scale=alt.Scale(domain=names, range=fills), legend=None),
        detail="operator:N",
        tooltip=["operator:N", "size:Q", alt.Tooltip("ratio:Q", format=".2f")],
    )
    last = max(one.size for one in curves)
    named = base.transform_filter(f"datum.size === {last}").mark_text(align="left", dx=6, fontSize=10)
    rule = alt.Chart(_data([{"one": 1.0}])).mark_rule(strokeDash=[4, 4], color="#8a8f98").encode(y="one:Q")
    return _spec(alt.layer(rule, base.mark_line(point=True), named.encode(text="operator:N")), 280)


def compared(found: Comparison) -> Spec:
    """The measured fronts of several runs, one colour and shape per run."""
    names = [run.name for run in found.runs]
    rows = [{"run": run.name, "device": run.device, **asdict(point)} for run in found.runs for point in run.points]
    fills = [RUNS[i % len(RUNS)] for i in range(len(names))]
    legend = alt.Legend(title=None, orient="top", columns=2, labelLimit=260)
    title = QUANTITIES.get(found.metric, found.metric)
    base = alt.Chart(_data(rows)).encode(
        x=_axis("latency_ms:Q", "measured latency, ms"),
        y=_axis_y("quality:Q", title),
        color=alt.Color("run:N", scale=alt.Scale(domain=names, range=fills), legend=legend),
    )
    edge = base.transform_filter("datum.is_edge").mark_line(interpolate="step-after", strokeWidth=1.5, opacity=0.6)
    shapes = alt.Scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in range(len(names))])
    dots = base.mark_point(size=80, filled=True, opacity=0.9).encode(
        shape=alt.Shape("run:N", scale=shapes, legend=legend),
        tooltip=["run:N", "device:N", "digest:N", "outline:N", alt.Tooltip("latency_ms:Q", format=".3f"), "quality:Q"],
    )
    return _spec(alt.layer(edge, dots), HEIGHT)


def shares(found: Sequence[Share]) -> Spec:
    """Operator by depth: the fuller the cell, the more of the front has it there."""
    base = alt.Chart(_data([asdict(share) for share in found])).encode(
        x=alt.X("depth:O", title="depth", axis=alt.Axis(labelAngle=0)), y=alt.Y("operator:N", title=None)
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color("family:N", scale=_families(), legend=None),
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None),
        tooltip=["operator:N", "depth:O", alt.Tooltip("share:Q", format=".0%", title="of the front")],
    )
    labels = base.mark_text(fontSize=11).encode(text=alt.Text("share:Q", format=".0%"))
    return _spec(alt.layer(cells, labels), 30 * len({share.operator for share in found}) + 40)


def alone(found: Sequence[Alone], metric: str) -> Spec:
    """Quality after training alone over measured latency: means, with a bar from the lowest seed to the highest."""
    rows = [{**asdict(one), "mean": one.val.mean, "low": one.val.low, "high": one.val.high} for one in found]
    able = [row for row in rows if row["latency_ms"] is not None and row["mean"] is not None]
    base, title = alt.Chart(_data(able)), QUANTITIES.get(metric, metric)
    x, y = _axis("latency_ms:Q", "measured latency, ms"), _axis_y("mean:Q", title)
    bars = base.mark_rule(strokeWidth=1.5, color="#8a8f98").encode(x=x, y=_axis_y("low:Q", title), y2="high:Q")
    shapes = alt.Scale(domain=[WINNER, REFERENCE], range=["circle", "diamond"])
    dots = base.mark_point(size=130, filled=True, opacity=1, stroke="#111111", strokeWidth=0.8).encode(
        x=x,
        y=y,
        shape=alt.Shape("kind:N", scale=shapes, legend=alt.Legend(title=None, orient="top")),
        color=alt.Color("family:N", scale=_families(), legend=None),
        tooltip=["digest:N", "name:N", "outline:N", "how:N", "seeds:Q", alt.Tooltip("mean:Q", format=".4f")],
    )
    names = base.mark_text(align="left", dx=9, dy=-7, fontSize=10).encode(x=x, y=y, text="name:N")
    return _spec(alt.layer(bars, dots, names), HEIGHT)


def _lines(curves: Sequence[CurvePoint], x: str, y: str) -> alt.Chart:
    names = list(dict.fromkeys(point.name for point in curves))
    known = LINES | {name: paint.colour for name, paint in everything().items() if name in names}
    scale = alt.Scale(domain=names, range=[known.get(name, "#8a8f98") for name in names])
    legend = alt.Legend(title=None, orient="top")
    drawn: alt.Chart = (
        alt.Chart(_data([asdict(point) for point in curves]))
        .mark_line(strokeWidth=2)
        .encode(
            x=_axis("x:Q", x),
            y=_axis_y("y:Q", y),
            color=alt.Color("name:N", scale=scale, legend=legend),
            strokeDash=alt.StrokeDash("name:N", scale=alt.Scale(domain=names), legend=legend),
            tooltip=["name:N", alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", format=".4f", title=y)],
        )
    )
    return drawn


def _axis(field: str, title: str) -> alt.X:
    return alt.X(field, title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=8))


def _axis_y(field: str, title: str) -> alt.Y:
    return alt.Y(field, title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))


def _families() -> alt.Scale:
    paints = everything()
    return alt.Scale(domain=list(paints), range=[paint.colour for paint in paints.values()])


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _spec(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    spec.pop("config", None)  # the page sets it, for light and for dark
    return spec
