"""The frame of the explorer in HTML: controls, the places of its charts, and the panel; the script fills them."""

from html import escape
from typing import Any

from nas.report import markup

NOTE = (
    "Large dots with a letter are measured on the device, with the spread as a line; small marks are what the search "
    "saw (circle) and what random search drew (cross), by predicted latency and the score on part of the data, moved "
    "by what all of it changed in those that were scored on both. The stairs are the front of what is within the "
    "limits; what it dominates is pale."
)
KEYS = (
    "Drag over the chart to brush, choose a dot to see its layers. Keys, once the chart has the focus: arrows walk "
    "along the front, Enter chooses, c compares with the chosen one, Escape clears, / searches."
)
PICKERS = (("x", "across"), ("y", "up"))
ACTIONS = (
    ("reset", "Reset"),
    ("link", "Copy link to this view"),
    ("csv", "CSV of these architectures"),
)


def explorer(data: dict[str, Any]) -> str:
    """The section's content for what `nas.report.explorer.explorer` found."""
    return "".join(
        (
            f'<div class="controls" role="group" aria-label="what is drawn">{_pickers(data)}{_search()}</div>',
            f'<div class="controls" role="group" aria-label="limits">{_limits(data)}</div>',
            f'<div class="families" role="group" aria-label="families of operators">{_families(data)}</div>',
            '<p id="counts" class="counts" role="status"></p>',
            '<div class="board">',
            '<div class="plot" id="plot" tabindex="0" role="group" aria-describedby="keys" '
            'aria-label="all architectures, quality over cost">',
            '<div id="chart-explorer" class="chart" role="img" aria-label="scatter of all architectures"></div>',
            '<div class="brush" id="brush" hidden></div><div class="tip" id="tip" hidden></div></div>',
            '<aside id="panel" aria-label="chosen architecture" hidden></aside></div>',
            f'<p class="note" id="keys">{escape(KEYS)}</p>',
            f'<div class="controls">{_actions()}<span id="said" class="note" role="status"></span></div>',
            markup.subtitle("All quantities at once"),
            '<p class="note" id="lines">Lines are the architectures that the brush and the limits leave.</p>',
            '<div id="chart-parallel" class="chart" role="img" aria-label="parallel coordinates of these '
            'architectures"></div>',
        )
    )


def _pickers(data: dict[str, Any]) -> str:
    options = "".join(
        f'<option value="{escape(one["key"], quote=True)}">{escape(one["title"])}</option>'
        for one in data["quantities"]
    )
    return "".join(f'<label>{word} <select id="pick-{axis}">{options}</select></label>' for axis, word in PICKERS)


def _search() -> str:
    return (
        '<label>with <input id="find" type="search" size="24" autocomplete="off" spellcheck="false" '
        'placeholder="operator, knob or arch"></label>'
    )


def _limits(data: dict[str, Any]) -> str:
    titles = {one["key"]: one["title"] for one in data["quantities"]}
    return "".join(
        f'<label class="limit">{escape(titles[key].split(" (")[0])} <input type="range" id="limit-{key}" '
        f'data-limit="{key}" min="0" max="1000" value="1000" step="1"> <output for="limit-{key}"></output></label>'
        for key in data["limits"]
    )


def _families(data: dict[str, Any]) -> str:
    return "".join(
        f'<button type="button" class="family" data-family="{i}" aria-pressed="true">'
        f'<i style="background:{one["colour"]};color:{one["ink"]}">{escape(one["letter"])}</i>'
        f"{escape(one['name'])}</button>"
        for i, one in enumerate(data["families"])
    )


def _actions() -> str:
    return "".join(f'<button type="button" id="do-{name}">{escape(text)}</button>' for name, text in ACTIONS)
