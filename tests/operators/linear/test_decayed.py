import pytest
import torch

from nas.operators.contract import Site
from nas.operators.linear import decayed

GQA = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
MHA = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 8}


def site(tokens=100, domain="causal", index=0):
    return Site(embed_dim=12, tokens=tokens, domain=domain, index=index)


def inputs(tokens=100):
    return torch.randn(2, tokens, 12, dtype=torch.float64)


@pytest.mark.parametrize("heads", [MHA, GQA])
@pytest.mark.parametrize("tokens", [1, 17, 63, 100])
def test_chunked_quadratic_and_recurrent_forms_agree(build, tokens, heads):
    layer = build("decayed", site(tokens), **heads)
    x = inputs(tokens)
    y, state = layer.decode(x)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(y, layer.reference(x), rtol=0, atol=1e-12)
    assert decayed.Mixer.cost(layer.knobs, site(tokens)).kv_cache_bytes == 4 * state[0].numel()


@pytest.mark.parametrize("domain", ["causal", "sequence"])
def test_gradients_equal_those_of_the_reference(build, domain):
    layer = build("decayed", site(70, domain), **GQA)
    x = inputs(70)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


def test_without_decay_it_is_unnormalised_linear_attention(build, monkeypatch):
    monkeypatch.setattr(decayed, "log_decays", lambda num_kv_heads, _: [0.0] * num_kv_heads)
    layer = build("decayed", site(), **MHA)
    x = inputs()
    q, k, v = decayed._activated(x, layer.projections, layer.knobs)
    y = (q @ k.transpose(-1, -2)).tril() @ v
    torch.testing.assert_close(layer(x), layer.mixer._finish(x, y, layer.projections, layer.knobs), rtol=0, atol=1e-12)


def test_in_both_directions_a_reversed_sequence_reverses_the_outputs(build):
    layer = build("decayed", site(domain="sequence"), **GQA)
    x = inputs()
    torch.testing.assert_close(layer(x.flip(1)), layer(x).flip(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_slopes_of_a_power_of_two_of_heads_are_those_of_alibi(heads):
    alibi = [2.0 ** (-8.0 * (head + 1) / heads) for head in range(heads)]
    assert sorted(decayed.decay_slopes(heads)) == pytest.approx(sorted(alibi))


def test_leading_heads_keep_their_slopes_and_later_blocks_forget_less():
    assert decayed.decay_slopes(5) == decayed.decay_slopes(12)[:5]
    by_block = [decayed.log_decays(3, index)[0] for index in range(20)]
    assert by_block == sorted(by_block)
    assert by_block[-1] < 0


def test_heads_that_share_keys_share_the_decay(build):
    layer = build("decayed", site(), **GQA)
    decay = decayed._decay(torch.zeros(1, dtype=torch.float64), layer.knobs, layer.context)
    assert decay.view(2, 3).eq(decay.view(2, 3)[:, :1]).all()
