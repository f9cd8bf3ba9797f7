import re

import pytest
import yaml

from nas import operators
from nas.arch import NONE, OperatorArch
from nas.catalogue import Card, cards
from nas.catalogue.beside import beside_softmax, space_of
from nas.catalogue.cards import Shape, card, figures, varied
from nas.catalogue.command import show_operators
from nas.errors import ArchError, ConfigError, NasError
from nas.operators.contract import Site
from tests.command import call

CARDS = [pytest.param(found, id=found.name) for found in cards()]


def site_of(found: Card) -> Site:
    return found.site(Shape(tokens=784, width=64, head_dim=16))


def test_every_operator_that_mixes_has_a_card() -> None:
    assert {found.name for found in cards()} == set(operators.names()) - {NONE}


@pytest.mark.parametrize("found", CARDS)
def test_a_card_suggests_every_knob_beside_heads_and_all_of_it_fits_somewhere(found: Card) -> None:
    assert set(found.suggested) == set(operators.knob_names(found.name)) - {"num_heads", "num_kv_heads", "head_dim"}
    assert all(values for values in found.suggested.values())
    fit = 0
    for arch in varied(found, Shape(width=64, head_dim=16)):
        operators.parse(arch)
        try:
            figures(arch, site_of(found))
        except ArchError:
            continue
        fit += 1
    assert fit


@pytest.mark.parametrize("found", CARDS)
def test_a_card_says_what_it_is_and_where_it_comes_from(found: Card) -> None:
    assert found.headline.endswith((".", "…"))
    assert found.papers or "(20" in found.text


@pytest.mark.parametrize("found", CARDS)
def test_the_snippet_is_a_choice_that_a_space_accepts(found: Card) -> None:
    read = yaml.safe_load(found.snippet)[found.name]
    assert {knob: tuple(values) for knob, values in read.items()} == {k: tuple(v) for k, v in found.suggested.items()}
    arch = found.arch(Shape(width=64, head_dim=16))
    space = space_of(arch, site_of(found))
    assert found.name in space.operator_names()


def test_figures_are_those_of_the_contract() -> None:
    shape = Shape(domain="causal", tokens=100, width=32, heads=2, head_dim=16)
    found = card("softmax")
    counted = figures(found.arch(shape), found.site(shape))
    assert counted.params == 4 * 32 * 32
    assert counted.flops == 2 * 100 * 4 * 32 * 32 + 4 * 32 * 100**2
    assert counted.kv_cache_bytes == 8 * 32 * 100
    assert counted.sparsity == 0.0


def test_softmax_beside_itself_takes_about_as_long() -> None:
    softmax = OperatorArch.of("softmax", num_heads=2, num_kv_heads=2, head_dim=16)
    (timed,) = beside_softmax([softmax], Site(embed_dim=32, tokens=64, domain="causal"), 2, 16)
    assert timed.low_ms <= timed.ms <= timed.high_ms
    assert 0.2 < timed.over_softmax < 5


def test_a_reader_is_timed_behind_what_it_reads() -> None:
    reader = OperatorArch.of("reused_kv", num_heads=2, num_kv_heads=2, head_dim=16)
    (timed,) = beside_softmax([reader], Site(embed_dim=32, tokens=64, domain="image", grid=(8, 8)), 2, 16)
    assert timed.ms > 0


def test_a_shape_must_suit_the_operator() -> None:
    with pytest.raises(ConfigError, match="window is legal in sequence and causal, got domain=image"):
        card("window").site(Shape(domain="image"))
    with pytest.raises(ConfigError, match="tokens must be a square number in an image, got 200: use 196"):
        card("neighborhood").site(Shape(tokens=200))


@pytest.mark.parametrize(
    "words, said",
    [
        (["windw"], "got 'windw': did you mean 'window'?"),
        (["window", "token=3"], "a shape is given by domain, tokens, width, heads, head_dim, timed; got token=3"),
        (["window", "tokens=0"], "tokens must be at least 1, got 0"),
        (["softmax", "linear"], "one operator at a time, got softmax, linear"),
    ],
)
def test_wrong_words_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(NasError, match=re.escape(said)):
        show_operators(words)


def test_the_command_shows_costs_times_and_a_snippet() -> None:
    result = call("operators", "window", "tokens=128", "width=64", "head_dim=16", "timed=true")
    assert result.returncode == 0, result.stderr
    assert "Sliding-window attention" in result.stdout and "x softmax" in result.stdout
    assert "window: {window_size: [256, 128, 64, 32]}" in result.stdout


def test_the_list_has_every_operator_and_wrong_words_exit_with_2() -> None:
    assert f"{len(cards())} operators; i image" in show_operators([])
    assert call("operators", "windw").returncode == 2
