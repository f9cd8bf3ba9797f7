import importlib
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas import gates, operators
from nas.arch import NONE
from nas.catalogue import Paper, papers
from nas.catalogue.command import show_papers
from nas.catalogue.papers import Form, behind
from nas.cli import STAGES
from nas.config import load
from nas.errors import ConfigError
from nas.resources import CONF
from nas.settings import SECTIONS
from nas.space.load import FFNS
from nas.space.presets import presets
from tests.command import call

ROOT = Path(__file__).parents[2]
WORKING = [paper for paper in papers() if not paper.is_open]
FORMS = sorted({(form.kind, form.name) for paper in papers() for form in paper.forms})


def is_there(form: Form) -> bool:
    if form.kind == "code":
        module, _, name = form.name.partition(":")
        return hasattr(importlib.import_module(module), name)
    known = {"operator": operators.names(), "gate": gates.names(), "preset": tuple(presets())}
    known |= {"stage": tuple(STAGES), "ffn": FFNS}
    return form.name in known[form.kind]


def test_there_are_119_papers_of_different_names() -> None:
    assert len(papers()) == len({paper.id for paper in papers()}) == len({paper.title for paper in papers()}) == 119
    assert all(paper.year is None or 2010 < paper.year < 2030 for paper in papers())


@pytest.mark.parametrize("kind, name", [form for form in FORMS if form[0] != "setting"])
def test_what_a_paper_is_said_to_be_is_there(kind: str, name: str) -> None:
    assert is_there(Form(kind, name))


@pytest.mark.parametrize("settings", [name for kind, name in FORMS if kind == "setting"])
def test_settings_that_are_named_are_settings(settings: str) -> None:
    values: dict[str, Any] = yaml.safe_load((CONF / "nas.yaml").read_text())
    for override in settings.split():
        key, _, value = override.partition("=")
        *path, last = key.split(".")
        place = values
        for name in path:
            place = place[name]
        assert last in place, override
        place[last] = yaml.safe_load(value)
    for section in {override.partition(".")[0] for override in settings.split()}:
        load(SECTIONS[section], values[section])


@pytest.mark.parametrize("paper", WORKING, ids=lambda paper: paper.id)
def test_the_test_that_proves_a_paper_is_a_file(paper: Paper) -> None:
    assert paper.commands
    assert (ROOT / paper.test).is_file() if paper.test else paper.forms


def test_every_operator_gate_and_family_has_a_source() -> None:
    sources = {name for name in operators.names() if behind("operator", name)}
    unsourced = set(operators.names()) - sources - {NONE}
    assert all("(20" in (importlib.import_module(operators.get(name).__module__).__doc__ or "") for name in unsourced)


def test_the_product_covers_every_family_of_attention() -> None:
    found = set(operators.families().values())
    assert found >= {"softmax", "sparse", "linear", "lowrank", "state", "hybrid", "convolution", "channel"}


def test_the_command_lists_and_shows_papers() -> None:
    assert f"{len(WORKING)} of 119 papers work here" in show_papers([])
    shown = call("papers", "moba")
    assert shown.returncode == 0, shown.stderr
    assert "Mixture of Block Attention" in shown.stdout and "nas operators block_routing" in shown.stdout


def test_an_unknown_paper_is_refused_with_those_near_it() -> None:
    with pytest.raises(ConfigError, match="got 'sparse-attention'; nearest: .*s2-attention"):
        show_papers(["sparse-attention"])


def test_forms_are_not_listed_twice() -> None:
    for paper in papers():
        assert not [1 for one, other in itertools.combinations(paper.forms, 2) if one == other], paper.id
