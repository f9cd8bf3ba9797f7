"""The source papers, and in which form each works here; `papers.yaml` is the only list of them."""

import difflib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from nas.errors import ConfigError

FILE = Path(__file__).with_name("papers.yaml")
COMMANDS = {
    "operator": "nas operators {name}",
    "preset": "nas retrain 'retrain.references=[{name}]'",
    "setting": "nas train {name}",
    "gate": "nas run 'space.stages.0.block.gate=[none,{name}]'",
    "ffn": "nas run '+space.stages.0.block.ffn.{name}=[2]'",
    "stage": "nas {name}",
}
"""Forms that a command shows; what has another form, a part of the code, is shown by its test."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a paper works here: `kind` of thing, and its `name` there."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Paper:
    """One source: `note` says how it is used, or what an open one still needs; `test` is the file that proves it."""

    id: str
    title: str
    year: int | None
    forms: tuple[Form, ...]
    test: str = ""
    note: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nothing of it works yet."""
        return not self.forms

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type to see it work, its test last; the test is part of a checkout, not of a wheel."""
        shown = [COMMANDS[form.kind].format(name=form.name) for form in self.forms if form.kind in COMMANDS]
        return (*shown, *([f"bash start.sh test {self.test}"] if self.test else []))


@lru_cache(maxsize=1)
def papers() -> tuple[Paper, ...]:
    """All of them, in the order of the file."""
    return tuple(_paper(row) for row in yaml.safe_load(FILE.read_text()))


def paper(key: str) -> Paper:
    """The paper of that id; `ConfigError` names those that are near it."""
    found = {paper.id: paper for paper in papers()}
    if key in found:
        return found[key]
    near = difflib.get_close_matches(key, found, 3, 0.3)
    raise ConfigError(
        f"a paper must be one of those that `nas papers` lists, got {key!r}; nearest: {', '.join(near) or 'none'}"
    )


def behind(kind: str, name: str) -> tuple[Paper, ...]:
    """The papers that work here in this form."""
    return tuple(paper for paper in papers() if Form(kind, name) in paper.forms)


def _paper(row: dict[str, Any]) -> Paper:
    forms = tuple(Form(kind, str(name)) for form in row.get("works", ()) for kind, name in form.items())
    plain = {key: value for key, value in row.items() if key != "works"}
    return Paper(**plain, forms=forms)
