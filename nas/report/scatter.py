"""Vega-Lite specifications that the page's script fills: the scatter of all archs and parallel coordinates.

The script sets titles, domains and the direction of the stairs when the reader picks quantities, and hands in rows for
the named data sets. Colours come as a scale, opacities as plain numbers, so that nothing is computed by Vega twice.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from nas.report import palette

Spec = dict[str, Any]
GREY, INK = "#8a8f98", "#111111"
HEIGHT, PARALLEL_HEIGHT = 420, 250
SETS = ("cloud", "edge", "bars", "measured", "chosen")
"""Data sets of the scatter: `cloud` and `measured` rows have x, y, family, letter, source and opacity; `bars` x, x2, y,
y2; `edge` x and y in order; `chosen` x, y and mark."""


def scatter_spec(families: Sequence[str]) -> Spec:
    """Predicted archs as small marks, measured ones as large dots with bars, the front as stairs."""
    layers = [_cloud(families), _edge(), _bars(), _dots(families), _letters(), _rings(), _marks()]
    chart = alt.layer(*layers).properties(width="container", height=HEIGHT)
    return _plain(chart, SETS)


def parallel_spec(families: Sequence[str]) -> Spec:
    """One line per arch over axes scaled to 0..1; `lines` rows have id, axis, value, family and opacity, `ends` the
    axes' labels at both ends."""
    base = alt.Chart(alt.NamedData("lines")).encode(x=_axis_names(), y=_unit("value:Q"))
    lines = base.mark_line(strokeWidth=1.4, interpolate="linear").encode(
        color=alt.Color("family:N", scale=_scale(families), legend=None),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        detail="id:N",
        order="at:Q",
    )
    ends = alt.Chart(alt.NamedData("ends")).encode(x=_axis_names())
    rules = ends.mark_rule(color=GREY).encode(y=_unit("low:Q"), y2="high:Q")
    labels = [
        ends.mark_text(dy=dy, fontSize=11).encode(y=_unit(f"{end}:Q"), text=f"{end}_label:N")
        for end, dy in (("low", 12), ("high", -8))
    ]
    chart = alt.layer(rules, lines, *labels).properties(width="container", height=PARALLEL_HEIGHT)
    return _plain(chart, ("lines", "ends"))


def _cloud(families: Sequence[str]) -> alt.Chart:
    shapes = alt.Scale(domain=["search", "random", "trained alone"], range=["circle", "cross", "diamond"])
    drawn: alt.Chart = (
        alt.Chart(alt.NamedData("cloud"))
        .mark_point(size=26, filled=True)
        .encode(
            x=alt.X("x:Q"),
            y=alt.Y("y:Q"),
            color=alt.Color("family:N", scale=_scale(families), legend=None),
            shape=alt.Shape("source:N", scale=shapes, legend=None),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        )
    )
    return drawn


def _edge() -> alt.Chart:
    drawn: alt.Chart = (
        alt.Chart(alt.NamedData("edge"))
        .mark_line(interpolate="step-after", strokeWidth=1.5, color=GREY)
        .encode(x="x:Q", y="y:Q", order="at:Q")
    )
    return drawn


def _bars() -> alt.Chart:
    base = alt.Chart(alt.NamedData("bars")).mark_rule(strokeWidth=1.5, color=GREY)
    drawn: alt.Chart = base.encode(
        x="x:Q", x2="x2:Q", y="y:Q", y2="y2:Q", opacity=alt.Opacity("opacity:Q", scale=None, legend=None)
    )
    return drawn


def _dots(families: Sequence[str]) -> alt.Chart:
    base = alt.Chart(alt.NamedData("measured"))
    drawn: alt.Chart = base.mark_circle(size=190, stroke=INK, strokeWidth=1).encode(
        x="x:Q",
        y="y:Q",
        color=alt.Color("family:N", scale=_scale(families), legend=None),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
    )
    return drawn


def _letters() -> alt.Chart:
    base = alt.Chart(alt.NamedData("measured"))
    drawn: alt.Chart = base.mark_text(fontSize=10, fontWeight="bold").encode(
        x="x:Q",
        y="y:Q",
        text="letter:N",
        color=alt.Color("ink:N", scale=None, legend=None),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
    )
    return drawn


def _rings() -> alt.Chart:
    base = alt.Chart(alt.NamedData("chosen"))
    drawn: alt.Chart = base.mark_point(shape="circle", size=420, filled=False, strokeWidth=2.5).encode(
        x="x:Q", y="y:Q", color=alt.Color("stroke:N", scale=None, legend=None)
    )
    return drawn


def _marks() -> alt.Chart:
    base = alt.Chart(alt.NamedData("chosen"))
    drawn: alt.Chart = base.mark_text(dy=-17, fontSize=12, fontWeight="bold").encode(
        x="x:Q", y="y:Q", text="mark:N", color=alt.Color("stroke:N", scale=None, legend=None)
    )
    return drawn


def _scale(families: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(families), range=[palette.colour(name) for name in families])


def _axis_names() -> alt.X:
    axis = alt.Axis(title=None, labelAngle=0, domain=False, ticks=False, labelLimit=110, labelPadding=18)
    return alt.X("axis:O", sort=None, axis=axis, scale=alt.Scale(padding=0.4))


def _unit(field: str) -> alt.Y:
    return alt.Y(field, axis=None, scale=alt.Scale(domain=[0, 1]))


def _plain(chart: alt.LayerChart | alt.FacetChart, sets: Sequence[str]) -> Spec:
    spec: Spec = chart.to_dict()
    spec.pop("config", None)  # the page sets it, for light and for dark
    return spec | {"datasets": {name: [] for name in sets}}
