"""Vega-Lite specifications of the figures; colours of axes and text are the page's, so that it can be light or dark."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from nas.report.alone import REFERENCE, WINNER, Alone
from nas.report.device import Held
from nas.report.figures import CurvePoint, Evaluated, FrontPoint, StageCost
from nas.report.palette import COLOURS
from nas.report.ranking import RankedNet
from nas.report.stacks import Share

Spec = dict[str, Any]
HEIGHT = 340
QUANTITIES = {"bits_per_byte": "bits per byte (less is better)", "accuracy": "accuracy (more is better)"}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
LINES = {"search": "#0072b2", "random": "#9467bd", "smallest": "#c9ced6"}


def front(points: Sequence[FrontPoint], evaluated: Sequence[Evaluated], metric: str) -> Spec:
    """Quality over latency: everything evaluated, and the measured archs with their spread."""
    focus = alt.param(name="focus", value="")
    layers = [
        _cloud(evaluated, metric),
        _edge([point for point in points if point.is_edge]),
        _spread(points),
        _alone([point for point in points if point.quality_alone is not None]),
        _measured(points),
    ]
    return _spec(alt.layer(*layers).add_params(focus), HEIGHT + 60)


def hypervolume(curves: Sequence[CurvePoint]) -> Spec:
    """Hypervolume over evaluations, search and random."""
    return _spec(_lines(curves, "evaluations", "hypervolume (share of the box)"), 240)


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


def _cloud(evaluated: Sequence[Evaluated], metric: str) -> alt.Chart:
    title = QUANTITIES.get(metric, metric)
    drawn: alt.Chart = (
        alt.Chart(_data([asdict(point) for point in evaluated]))
        .mark_point(size=22, filled=True, opacity=0.35)
        .encode(
            x=_axis("latency_ms:Q", "latency, ms"),
            y=_axis_y("quality:Q", title),
            color=alt.Color("family:N", scale=_families(), legend=None),
            shape=alt.Shape(
                "source:N",
                scale=alt.Scale(domain=["search", "random"], range=["circle", "cross"]),
                legend=alt.Legend(title="evaluated by", orient="top"),
            ),
            tooltip=_tooltip(metric, "predicted latency, ms"),
        )
    )
    return drawn


def _edge(points: Sequence[FrontPoint]) -> alt.Chart:
    drawn: alt.Chart = (
        alt.Chart(_data([asdict(point) for point in points]))
        .mark_line(interpolate="step-after", strokeWidth=1.5, color="#8a8f98")
        .encode(x="latency_ms:Q", y="quality:Q")
    )
    return drawn


def _spread(points: Sequence[FrontPoint]) -> alt.Chart:
    base = alt.Chart(_data([asdict(point) for point in points])).mark_rule(strokeWidth=1.5, color="#8a8f98")
    drawn: alt.Chart = base.encode(x="low_ms:Q", x2="high_ms:Q", y="quality:Q")
    return drawn


def _alone(points: Sequence[FrontPoint]) -> alt.Chart:
    base = alt.Chart(_data([asdict(point) for point in points]))
    drawn: alt.Chart = base.mark_point(shape="diamond", size=110, strokeWidth=2, filled=False, color="#8a8f98").encode(
        x="latency_ms:Q",
        y="quality_alone:Q",
        tooltip=["digest:N", alt.Tooltip("quality_alone:Q", format=".4f", title="trained alone, val")],
    )
    return drawn


def _measured(points: Sequence[FrontPoint]) -> alt.Chart:
    base = alt.Chart(_data([asdict(point) for point in points]), name="measured")
    drawn: alt.Chart = base.mark_circle(opacity=1, stroke="#111111").encode(
        x="latency_ms:Q",
        y="quality:Q",
        color=alt.Color("family:N", scale=_families(), legend=None),
        size=alt.condition("datum.digest === focus", alt.value(320), alt.value(130)),
        strokeWidth=alt.condition("datum.digest === focus", alt.value(2.5), alt.value(0.8)),
        tooltip=_tooltip("quality, all of val", "measured latency, ms"),
    )
    return drawn


def _lines(curves: Sequence[CurvePoint], x: str, y: str) -> alt.Chart:
    names = list(dict.fromkeys(point.name for point in curves))
    scale = alt.Scale(domain=names, range=[{**COLOURS, **LINES}.get(name, "#8a8f98") for name in names])
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


def _tooltip(metric: str, latency: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("digest:N", title="arch"),
        alt.Tooltip("outline:N", title="blocks"),
        alt.Tooltip("latency_ms:Q", format=".3f", title=latency),
        alt.Tooltip("quality:Q", format=".4f", title=metric),
        alt.Tooltip("params:Q", format=",", title="parameters"),
    ]


def _axis(field: str, title: str) -> alt.X:
    return alt.X(field, title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=8))


def _axis_y(field: str, title: str) -> alt.Y:
    return alt.Y(field, title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))


def _families() -> alt.Scale:
    return alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _spec(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    spec.pop("config", None)  # the page sets it, for light and for dark
    return spec
