"""What a section of the page is."""

from dataclasses import dataclass, field

from nas.report import markup
from nas.report.charts import Spec


@dataclass(frozen=True, slots=True)
class Section:
    """An element with the id `key` as HTML, and the specifications of the charts in it by name."""

    key: str
    html: str
    charts: dict[str, Spec] = field(default_factory=dict)


def section(key: str, title: str, body: str, note: str = "", charts: dict[str, Spec] | None = None) -> Section:
    """A section with a title; `note` says in a sentence how to read it."""
    return Section(key, markup.section(key, title, body, note), charts or {})


def absent(key: str, title: str, text: str) -> Section:
    """A section that has nothing to show yet; `text` says what to run, commands in backquotes."""
    return section(key, title, markup.missing(text))
