import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Context, Site
from nas.operators.lowrank.length_projection import Knobs, Mixer

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}


def site(tokens=17):
    return Site(embed_dim=12, tokens=tokens, domain="sequence")


@pytest.mark.parametrize("tokens", [1, 17, 63])
def test_identity_maps_of_full_rank_are_full_attention(build, tokens):
    full = build("softmax", site(tokens), **HEADS)
    layer = build("length_projection", site(tokens), **HEADS, rank=tokens)
    layer.projections.load_state_dict(full.projections.state_dict())
    with torch.no_grad():
        layer.mixer.keys.copy_(torch.eye(tokens))
        layer.mixer.values.copy_(torch.eye(tokens))
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


def test_one_summary_gives_every_token_the_same_output(build):
    layer = build("length_projection", site(), **HEADS, rank=1)
    y = layer(torch.randn(2, 17, 12, dtype=torch.float64))
    torch.testing.assert_close(y, y[:, :1].expand_as(y), rtol=0, atol=1e-12)


def test_ranks_are_nested(build):
    layer = build("length_projection", site(), **HEADS, rank=9)
    small = build("length_projection", site(), **HEADS, rank=4)
    with torch.no_grad():
        small.mixer.keys.copy_(layer.mixer.keys[:4])
        small.mixer.values.copy_(layer.mixer.values[:4])
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    sliced = layer.mixer(x, layer.projections, small.knobs, Context(site()))
    torch.testing.assert_close(small.mixer(x, layer.projections, small.knobs, Context(site())), sliced, rtol=0, atol=0)


def test_gradients_equal_those_of_the_reference(build):
    layer = build("length_projection", site(), **HEADS, rank=5)
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-10)


def test_more_summaries_than_tokens_are_refused():
    with pytest.raises(ArchError, match="rank must be at most the 17 tokens, got 18"):
        Mixer.check(Knobs(**HEADS, rank=18), site())


def test_summaries_mix_all_positions_and_have_no_causal_form():
    assert "causal" not in Mixer.domains
