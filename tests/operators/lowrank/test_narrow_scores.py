import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.lowrank.narrow_scores import Knobs, Mixer

HEADS = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 8}
SITE = Site(embed_dim=12, tokens=17, domain="causal")


def inputs():
    return torch.randn(2, 17, 12, dtype=torch.float64)


def inherited(build, rank):
    full, layer = build("softmax", SITE, **HEADS), build("narrow_scores", SITE, **HEADS, score_rank=rank)
    values = full.projections.state_dict()
    layer.projections.load_state_dict({name: values[name] for name in layer.projections.state_dict()})
    with torch.no_grad():
        layer.mixer.inherit(full.projections)
    return full, layer


def test_full_rank_is_full_attention(build):
    full, layer = inherited(build, 8)
    x = inputs()
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_what_a_smaller_rank_loses_of_the_scores_is_the_tail_of_the_singular_values(build, rank):
    full, layer = inherited(build, rank)
    whole = full.projections.q.weight.mT @ full.projections.k.weight
    narrow = layer.mixer.q.weight.mT @ layer.mixer.k.weight
    tail = torch.linalg.svdvals(whole)[:, rank:].square().sum(-1).sqrt()
    torch.testing.assert_close(torch.linalg.matrix_norm(whole - narrow), tail, rtol=0, atol=1e-10)


def test_scores_have_the_rank(build):
    layer = build("narrow_scores", SITE, **HEADS, score_rank=2)
    q, k, _ = layer.mixer._qkv(inputs(), layer.projections, layer.knobs)
    assert (torch.linalg.matrix_rank(q @ k.mT) == 2).all()


def test_decoding_keeps_narrow_keys(build):
    layer = build("narrow_scores", SITE, **HEADS, score_rank=2)
    x = inputs()
    y, (k, v) = layer.decode(x)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=1e-12)
    assert k.shape == (2, 3, 17, 2)
    assert v.shape == (2, 3, 17, 8)


def test_a_rank_above_the_head_width_is_refused():
    with pytest.raises(ArchError, match="score_rank must be at most head_dim, got 9 and 8"):
        Knobs(**HEADS, score_rank=9)


def test_other_heads_inherit_nothing(build):
    full = build("softmax", SITE, num_heads=3, num_kv_heads=1, head_dim=8)
    mixer = Mixer([Knobs(**HEADS, score_rank=4)], SITE).double()
    before = mixer.q.weight.clone()
    with torch.no_grad():
        mixer.inherit(full.projections)
    assert torch.equal(mixer.q.weight, before)
