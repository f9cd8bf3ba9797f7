"""Attention with scores of another making: where each is softmax attention, and what its parts are."""

import math

import pytest
import torch

from nas.operators.contract import Context, Site
from nas.operators.rotary import turned_heads
from nas.operators.softmax import relational
from nas.operators.softmax.adaptive_filter import STARTS
from nas.operators.softmax.softmax import Mixer as Softmax

CAUSAL = Site(embed_dim=12, tokens=17, domain="causal")
X = torch.randn(2, 17, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
HEADS = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4}


def softmax(layer, x=X):
    """Softmax attention on the layer's own maps."""
    knobs = Softmax.knobs_type(**HEADS)
    return Softmax((knobs,), CAUSAL).double()(x, layer.projections, knobs, Context(CAUSAL))


def set_to(parameter, value):
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype).expand_as(parameter))


def test_a_kernel_that_is_a_point_and_no_mixing_is_softmax(build):
    layer = build("convolved_scores", CAUSAL, **HEADS, query_reach=3, key_reach=2, finish="plain")
    set_to(layer.mixer.taps, 0.0)
    with torch.no_grad():
        layer.mixer.taps[:, 0, 0] = 1.0
    set_to(layer.mixer.mix, torch.eye(3))
    torch.testing.assert_close(layer(X), softmax(layer), rtol=0, atol=1e-12)


def test_scores_of_later_tokens_count_as_zero(build):
    layer = build("convolved_scores", CAUSAL, **HEADS, query_reach=1, key_reach=1, finish="plain")
    with torch.no_grad():
        layer.mixer.taps.fill_(1.0)  # all kinds of neighbours, later ones too
    changed = X.clone()
    changed[:, 9:] += 1
    torch.testing.assert_close(layer(X)[:, :9], layer(changed)[:, :9], rtol=0, atol=1e-12)


def test_relations_are_contracted_before_or_after_alike(build):
    site = Site(embed_dim=12, tokens=17, domain="sequence")
    knobs = {"num_heads": 3, "head_dim": 4, "num_relational": 2, "relation_dim": 5, "likeness": "directed"}
    layer = build("relational", site, **knobs)
    torch.testing.assert_close(layer(X), layer.reference(X), rtol=0, atol=1e-12)


def test_symmetric_relations_are_equal_both_ways(build):
    knobs = {"num_heads": 3, "head_dim": 4, "num_relational": 2, "relation_dim": 5, "likeness": "symmetric"}
    layer = build("relational", CAUSAL, **knobs)
    asks = layer.mixer._asks(X, layer.knobs)
    answers = layer.mixer._state(X, layer.projections, layer.knobs)[2]
    relations = asks @ answers.mT
    torch.testing.assert_close(relations, relations.mT, rtol=0, atol=1e-12)
    assert layer.mixer.answers is None


def test_without_relations_only_symbols_and_weights_count(build):
    knobs = {"num_heads": 2, "head_dim": 4, "num_relational": 1, "relation_dim": 5, "likeness": "directed"}
    layer = build("relational", CAUSAL, **knobs)
    for parameter in (layer.mixer.relate, layer.mixer.shares.weight):
        set_to(parameter, 0.0)  # every token has the same symbols
    set_to(layer.mixer.values.weight, 0.0)
    output = layer(X)
    torch.testing.assert_close(output, output[:, :1].expand_as(output), rtol=0, atol=1e-12)


def test_all_heads_but_one_may_be_relational():
    with pytest.raises(Exception, match="num_relational must leave one of num_heads=2 sensory, got 2"):
        relational.Knobs(num_heads=2, head_dim=4, num_relational=2, relation_dim=4, likeness="directed")


def test_a_filter_of_still_states_and_unit_vectors_is_softmax_of_dot_products(build):
    layer = build("adaptive_filter", CAUSAL, **HEADS, weights="gaussian")
    for row, (name, start) in enumerate(STARTS.items()):
        target = {"mu": 1e-9, "sigma": 1e-9, "eta": 1e-9}.get(name, start)
        set_to(layer.mixer.scales[:, row], math.log(math.expm1(target)))
    q, k, v = (torch.randn(1, 3, 17, 4, dtype=torch.float64) for _ in range(3))
    q, k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k))
    # |q|^2 and |k|^2 are 1, V is gamma^2 = 1: logits are 2 q k up to a constant
    scores = (2 * q @ k.mT).masked_fill(~torch.ones(17, 17).tril().bool(), float("-inf"))
    found = layer.mixer._attend(q, k, v, layer.knobs)
    torch.testing.assert_close(found, scores.softmax(-1) @ v, rtol=0, atol=1e-6)


def test_a_filter_knows_distances_not_places(build):
    layer = build("adaptive_filter", CAUSAL, **HEADS, weights="robust")
    q, k, v = (torch.randn(1, 3, 6, 4, dtype=torch.float64) for _ in range(3))
    here, there = (layer.mixer._attend(turned_heads(q, at), turned_heads(k, at), v, layer.knobs) for at in (0, 100))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
