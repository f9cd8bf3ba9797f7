"""The HTML that the dashboard writes itself: the list of runs, and what is going on in one of them."""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from pathlib import Path

from nas.dashboard.status import Status

BROWSER = Path(__file__).parent / "browser"
HEADS = ("", "run", "task", "space", "device", "stage", "progress", "left", "hypervolume", "best", "failed", "changed")


def index(runs: Sequence[Status], notes: Sequence[str] = ()) -> str:
    """The page of all runs; its script replaces what is inside `main` whenever the server says that it changed."""
    return _page("runs", "/overview", overview(runs, notes))


def overview(runs: Sequence[Status], notes: Sequence[str] = ()) -> str:
    """What of that page changes."""
    going = sum(one.state == "running" for one in runs)
    said = "".join(f'<p class="missing">{escape(note)}</p>' for note in notes)
    if not runs:
        return (
            f"<h1>No runs yet</h1>{said}"
            '<p class="note">A folder is a run once it holds a run.json: start one with <code>nas run</code>.</p>'
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    body = "".join(map(_row, runs))
    return (
        f"<h1>{_counted(len(runs), 'run')}, {going} at work</h1>{said}"
        '<p class="note">Choose two or more to see their fronts side by side. '
        '<button type="button" id="compare" disabled>compare</button></p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="runs"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def activity_page(status: Status) -> str:
    """The page of what is going on in one run."""
    return _page(status.label, f"/run/{status.key}/activity", activity(status))


def activity(status: Status) -> str:
    """What of that page changes: the stage, its processes, and what went wrong."""
    facts = {
        "stage": _stage(status),
        "begun": _moment(status.since) or "not known",
        "progress": _progress(status),
        "pace": f"{status.per_s:.3g} {escape(status.unit)} a second" if status.per_s else "not known",
        "left": _lasting(status.left_s) or "not known",
        "evaluated": f"{status.evaluated:,}",
        "failed": f"{status.failed:,}",
        "best": _best(status) or "none yet",
        "last change": _moment(status.changed),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts.items())
    notes = "".join(f'<p class="missing">{escape(line)}</p>' for line in status.skipped)
    return (
        f'<p><a href="/">all runs</a> · <a href="/run/{status.key}/">architectures</a></p>'
        f'<h1>{escape(status.label)}</h1>{notes}<dl class="facts">{cells}</dl>'
        f"{_section('Processes at work on the search', _workers(status.workers))}"
        f"{_section('Evaluations that failed last', _failures(status))}"
    )


def refused(title: str, text: str) -> str:
    """A page that says why there is none."""
    return _page(
        title, "", f'<h1>{escape(title)}</h1><p class="note">{escape(text)}</p><p><a href="/">all runs</a></p>'
    )


@lru_cache(maxsize=1)
def style() -> str:
    """The style of these pages."""
    return (BROWSER / "overview.css").read_text()


@lru_cache(maxsize=1)
def script() -> str:
    """Their script."""
    return (BROWSER / "overview.js").read_text()


@lru_cache(maxsize=1)
def _policy() -> str:
    """These pages run their own script and nothing else, whatever a run is called."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'"


def _page(title: str, source: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · attention-nas</title><style>{style()}</style></head>"
        f'<body><p class="live" role="status" id="live"></p><main data-source="{escape(source)}">{body}</main>'
        f"<script>{script()}</script></body></html>\n"
    )


def _row(one: Status) -> str:
    name = escape(one.label)
    pick = f'<input type="checkbox" name="run" value="{one.key}" aria-label="compare {escape(one.label)}">'
    warning = f' <span title="{escape("; ".join(one.skipped))}">⚠</span>' if one.skipped else ""
    cells = (
        f'<a href="/run/{one.key}/">{name}</a>{warning}',
        escape(one.task),
        escape(one.space),
        escape(one.device),
        f'<a href="/run/{one.key}/activity">{_stage(one)}</a>',
        _progress(one),
        _lasting(one.left_s),
        "" if one.hypervolume is None else f"{one.hypervolume:.4f}",
        _best(one),
        f"{one.failed:,}" if one.failed else "",
        _moment(one.changed),
    )
    return f'<tr class="{escape(one.state)}"><td>{pick}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _stage(one: Status) -> str:
    return escape(f"{one.stage} {one.state}".strip())


def _progress(one: Status) -> str:
    if one.total is None or one.total <= 0:
        return f"{one.done:,.0f} {escape(one.unit)}" if one.done else ""
    share = min(1.0, one.done / one.total)
    bar = f'<span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'
    return f"{bar} {one.done:,.0f} of {one.total:,.0f} {escape(one.unit)}"


def _best(one: Status) -> str:
    return "" if one.best is None else f"{one.best:.4f} {escape(one.metric.replace('_', ' '))}"


def _workers(workers: Mapping[str, int]) -> str:
    if not workers:
        return '<p class="note">None: nobody holds a claim in the journal.</p>'
    rows = "".join(f"<li><code>{escape(name)}</code> {_counted(n, 'point')}</li>" for name, n in workers.items())
    return f"<ul>{rows}</ul>"


def _failures(status: Status) -> str:
    if not status.failures:
        return '<p class="note">None.</p>'
    rows = "".join(
        f"<li><code>{escape(one.digest)}</code> {escape(one.reason)}</li>" for one in reversed(status.failures)
    )
    return f"<ul>{rows}</ul>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _lasting(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _moment(seconds: float) -> str:
    """A time that the page's script turns into the reader's own."""
    if not 0 < seconds < time.time() + 1e9:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d %H:%M} UTC</time>'
