import pytest
import torch

from nas.operators.contract import Site
from nas.operators.lowrank.latent import Mixer

KNOBS = {"num_heads": 3, "head_dim": 8, "kv_rank": 5}


def site(tokens=17, domain="causal", embed_dim=12):
    return Site(embed_dim=embed_dim, tokens=tokens, domain=domain)


@pytest.mark.parametrize("domain", ["causal", "sequence"])
@pytest.mark.parametrize("tokens", [1, 17, 63])
def test_absorbed_equals_expanded(build, tokens, domain):
    layer = build("latent", site(tokens, domain), **KNOBS)
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    q = layer.projections.query(x, 3, 8)
    y = layer.mixer.absorbed(q, layer.mixer.latent(x, 5), is_causal=domain == "causal")
    torch.testing.assert_close(layer.projections.output(y, 12), layer(x), rtol=0, atol=1e-12)


def test_decoding_keeps_the_latents_only(build):
    layer = build("latent", site(), **KNOBS)
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    y, state = layer.decode(x)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=1e-12)
    assert state.shape == (2, 17, 5)
    assert Mixer.cost(layer.knobs, site()).kv_cache_bytes == 4 * state[0].numel()


def test_full_rank_without_norm_is_multi_head_attention(build):
    full = build("softmax", site(), num_heads=3, num_kv_heads=3, head_dim=8)
    layer = build("latent", site(), **(KNOBS | {"kv_rank": 12}))
    layer.projections.load_state_dict({k: v for k, v in full.projections.state_dict().items() if k[0] in "qo"})
    with torch.no_grad():
        layer.mixer.down.weight.copy_(torch.eye(12))
        layer.mixer.up_k.weight.copy_(full.projections.k.weight)
        layer.mixer.up_v.weight.copy_(full.projections.v.weight)
    # tokens of unit mean square pass the norm unchanged
    x = torch.nn.functional.rms_norm(torch.randn(2, 17, 12, dtype=torch.float64), (12,), eps=0.0)
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


def test_keys_and_values_together_have_the_latent_rank(build):
    layer = build("latent", site(63), **KNOBS)
    x = torch.randn(1, 63, 12, dtype=torch.float64)
    _, k, v = layer.mixer._qkv(x, layer.projections, layer.knobs)
    assert torch.linalg.matrix_rank(torch.cat((k, v), dim=1)[0].transpose(0, 1).flatten(1)) == 5


def test_gradients_equal_those_of_the_reference(build):
    layer = build("latent", site(), **KNOBS)
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-10)
