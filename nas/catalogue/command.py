"""`nas operators [name] [shape]` and `nas papers [id]`: what there is, without a run folder."""

from collections.abc import Sequence
from dataclasses import fields

import yaml

from nas.catalogue import text
from nas.catalogue.beside import beside_softmax
from nas.catalogue.cards import Shape, card, cards, figures, varied
from nas.catalogue.papers import paper, papers
from nas.config import load
from nas.errors import ArchError, ConfigError

OPERATORS_USAGE = "nas operators [name] [domain=causal] [tokens=1024] [width=256] [heads=4] [head_dim=64] [timed=true]"


def show_operators(args: Sequence[str]) -> str:
    """All operators, or one with its costs at a shape; `ConfigError` and `ArchError` say what is wrong."""
    names = [arg for arg in args if "=" not in arg]
    if len(names) > 1:
        raise ConfigError(f"one operator at a time, got {', '.join(names)}: {OPERATORS_USAGE}")
    if not names:
        return text.listed(cards())
    found, shape = card(names[0]), _shape([arg for arg in args if "=" in arg])
    site, costs = found.site(shape), []
    for arch in varied(found, shape):
        try:
            costs.append(figures(arch, site))
        except ArchError as error:  # a suggestion for other shapes
            refused = error
    if not costs:
        raise refused
    archs = [cost.arch for cost in costs]
    times = beside_softmax(archs, site, shape.heads, shape.head_dim) if shape.timed else []
    return text.shown(found, shape, costs, times)


def show_papers(args: Sequence[str]) -> str:
    """All papers, or the named ones."""
    return "\n\n".join(text.paper_shown(paper(key)) for key in args) if args else text.papers_listed(papers())


def _shape(given: Sequence[str]) -> Shape:
    known = [field.name for field in fields(Shape)]
    if unknown := [arg for arg in given if arg.partition("=")[0] not in known]:
        raise ConfigError(f"a shape is given by {', '.join(known)}; got {', '.join(unknown)}: {OPERATORS_USAGE}")
    return load(Shape, {key: yaml.safe_load(value) for key, _, value in (arg.partition("=") for arg in given)})
