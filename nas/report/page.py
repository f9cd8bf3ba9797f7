"""The page: one HTML file that needs nothing else, and runs nothing but its own two scripts.

A page is made once and mailed, or is live: then its script fetches `<prefix>/payload`, the JSON of `payload`, whenever
`<prefix>/events`, a stream of server-sent events, says something, and brings itself up to date in place.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from nas.report.read import Record, read
from nas.run import Run, write_atomic

BROWSER = Path(__file__).parent / "browser"
SCRIPTS = (
    "page.js",
    "columns.js",
    "selection.js",
    "thinning.js",
    "charts.js",
    "scatter.js",
    "pointer.js",
    "parallel.js",
    "panel.js",
    "controls.js",
    "link.js",
    "save.js",
    "stacks.js",
    "live.js",
    "main.js",
)
"""In the order in which they are joined; all of them share one scope."""


def write(run: Run, compare: Sequence[Run] = ()) -> Path:
    """Writes `report.html` into the run folder, beside it what is compared with, and returns its path."""
    return write_atomic(run.file("report.html"), page(read(run), beside=[read(other) for other in compare]).encode())


def payload(record: Record, *, beside: Sequence[Record] = ()) -> dict[str, Any]:
    """All that changes on a page, as plain data: sections as HTML and chart specs by name, and the explorer's columns.

    `sections` are in the order of the page; `explorer` is None of a run that has evaluated nothing.
    """
    from nas.report import sections  # altair is slow to import, and no other stage needs it
    from nas.report.explorer import explorer

    data = explorer(record)
    found = sections.all_of(record, data, beside)
    return {
        "name": record.name,
        "sections": {section.key: section.html for section in found},
        "charts": {name: spec for section in found for name, spec in section.charts.items()},
        "explorer": data,
    }


def page(record: Record, *, live: str | None = None, beside: Sequence[Record] = ()) -> str:
    """The HTML of the whole page; `live` is the URL path prefix of the server that keeps it up to date."""
    found = payload(record, beside=beside)
    scripts = [vega(), own_script()]
    data = {"charts": found["charts"], "explorer": found["explorer"], "live": live}
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts, is_live=live is not None)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(record.name)} · architectures found</title>",
            f"<style>{(BROWSER / 'page.css').read_text()}</style></head>",
            f"<body><main>{''.join(found['sections'].values())}</main>",
            f'<script type="application/json" id="data">{inlined(data)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>\n",
        )
    )


def inlined(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=1)
def vega() -> str:
    """Vega, Vega-Lite and their embedding as one script."""
    import vl_convert

    return _closed(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@lru_cache(maxsize=1)
def own_script() -> str:
    """The files of `browser` as one function."""
    parts = ((BROWSER / name).read_text() for name in SCRIPTS)
    return _closed('"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n")


def policy(scripts: Sequence[str], *, is_live: bool = False) -> str:
    """The content security policy that lets these scripts run and nothing else; a live page may ask its own server."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    asking = "; connect-src 'self'" if is_live else ""
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}{asking}"


def _closed(script: str) -> str:
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--")
