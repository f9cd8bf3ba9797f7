"""The page: one HTML file that needs nothing else, and runs nothing but its own two scripts."""

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any

from nas.report.read import Record, read
from nas.run import Run, write_atomic

HERE = Path(__file__).parent


def write(run: Run) -> Path:
    """Writes `report.html` into the run folder and returns its path."""
    return write_atomic(run.file("report.html"), page(read(run)).encode())


def page(record: Record) -> str:
    """The HTML of the whole page."""
    import vl_convert  # both are slow to import, and no other stage needs them

    from nas.report import sections

    found = sections.all_of(record)
    specs = {name: spec for section in found for name, spec in section.charts.items()}
    scripts = [
        _closed(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")),
        _closed((HERE / "page.js").read_text()),
    ]
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(record.name)} · architectures found</title>",
            f"<style>{(HERE / 'page.css').read_text()}</style></head>",
            f"<body><main>{''.join(section.html for section in found)}</main>",
            f'<script type="application/json" id="specs">{inlined(specs)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>\n",
        )
    )


def inlined(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _closed(script: str) -> str:
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _policy(scripts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
