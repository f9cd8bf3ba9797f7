import pytest
import torch

from nas.operators.contract import Site
from nas.operators.lowrank.latent import factors
from nas.operators.lowrank.latent_rotary import Knobs, Mixer
from nas.operators.rotary import turned

KNOBS = {"num_heads": 3, "head_dim": 8, "kv_rank": 5, "query_rank": 7, "rotary_pairs": 2}


def site(tokens=17, domain="causal", embed_dim=12):
    return Site(embed_dim=embed_dim, tokens=tokens, domain=domain)


def test_absorbed_decoding_equals_expanded_and_keeps_latents_and_one_rotary_key(build):
    layer, x = build("latent_rotary", site(), **KNOBS), torch.randn(2, 17, 12, dtype=torch.float64)
    y, (latents, keys) = layer.decode(x)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=1e-12)
    assert latents.shape == (2, 17, 5)
    assert keys.shape == (2, 17, 4)
    assert Mixer.cost(layer.knobs, site()).kv_cache_bytes == 4 * (latents[0].numel() + keys[0].numel())


def test_products_of_turned_pairs_depend_on_the_distance_alone():
    q, k = torch.randn(2, 3, 2, dtype=torch.float64)[:, None]
    near = [turned(q, at + 4) @ turned(k, at).mT for at in (0, 5, 90)]
    torch.testing.assert_close(near[1], near[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(near[2], near[0], rtol=0, atol=1e-10)


def test_fewer_pairs_are_the_first_ones():
    x = torch.randn(2, 9, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(turned(x[..., :2, :], 3), turned(x, 3)[..., :4], rtol=0, atol=0)


def test_without_rotary_part_and_norms_full_rank_is_attention_of_a_lower_temperature(build):
    full = build("softmax", site(), num_heads=3, num_kv_heads=3, head_dim=8)
    sizes = KNOBS | {"kv_rank": 12, "query_rank": 12}
    layer = build("latent_rotary", site(), **sizes)
    scale = ((8 + 4) / 8) ** 0.5
    with torch.no_grad():
        layer.projections.o.weight.copy_(full.projections.o.weight)
        for down in (layer.mixer.down, layer.mixer.down_q):
            down.weight.copy_(torch.eye(12))
        layer.mixer.up_k.weight.copy_(full.projections.k.weight)
        layer.mixer.up_v.weight.copy_(full.projections.v.weight)
        layer.mixer.up_q.weight.copy_(scale * full.projections.q.weight)
        layer.mixer.turn_q.weight.zero_()
    # tokens of unit mean square pass the norms unchanged
    x = torch.nn.functional.rms_norm(torch.randn(2, 17, 12, dtype=torch.float64), (12,), eps=0.0)
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


def test_inherited_latents_are_the_best_of_their_rank_and_the_rotary_part_is_silent(build):
    full = build("softmax", site(), num_heads=3, num_kv_heads=3, head_dim=8)
    layer = build("latent_rotary", site(), **KNOBS)
    with torch.no_grad():
        layer.mixer.inherit(full.projections)
    mixer, trained = layer.mixer, full.projections
    assert not mixer.turn_q.weight.any()
    query = trained.q.weight.flatten(0, 1)
    error = torch.linalg.matrix_norm(query - mixer.up_q.weight.flatten(0, 1) @ mixer.down_q.weight)
    torch.testing.assert_close(error, torch.linalg.svdvals(query)[7:].square().sum().sqrt(), rtol=0, atol=1e-10)
    joint = torch.cat((trained.k.weight, trained.v.weight)).flatten(0, 1)
    rebuilt = torch.cat((mixer.up_k.weight, mixer.up_v.weight)).flatten(0, 1) @ mixer.down.weight
    tail = torch.linalg.svdvals(joint)[5:].square().sum().sqrt()
    torch.testing.assert_close(torch.linalg.matrix_norm(joint - rebuilt), tail, rtol=0, atol=1e-10)


def test_one_joint_latent_loses_no_more_than_two_of_half_the_rank():
    k, v = torch.randn(2, 24, 12, dtype=torch.float64)

    def lost(weight, rank):
        down, up, _ = factors(weight, rank)
        return (weight - up @ down).square().sum()

    assert lost(torch.cat((k, v)), 6) <= lost(k, 3) + lost(v, 3)


def test_the_published_model_keeps_a_seventh_and_has_nine_per_cent_fewer_weights():
    big = Knobs(num_heads=16, head_dim=128, kv_rank=512, query_rank=1536, rotary_pairs=32)
    cost = Mixer.cost(big, site(1, embed_dim=2048))
    assert cost.kv_cache_bytes == 4 * 576
    assert cost.params == pytest.approx(15.34e6, rel=1e-3)
