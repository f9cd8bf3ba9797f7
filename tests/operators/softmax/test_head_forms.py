"""Attention with fewer maps, with other temperatures and with few of its outputs: identities of the sources."""

import math

import pytest
import torch

from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import HeadKnobs, Site
from nas.operators.softmax import head_embeddings, unprojected
from nas.operators.softmax.softmax import Mixer as Softmax

SEQUENCE, CAUSAL = (Site(embed_dim=12, tokens=17, domain=domain) for domain in ("sequence", "causal"))
X = torch.randn(2, 17, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
sites = pytest.mark.parametrize("site", [SEQUENCE, CAUSAL], ids=lambda site: site.domain)


def softmax_like(layer, site, *, k, v):
    """Multi-head attention on given maps for keys and values, with the layer's own for queries and output."""
    q, keys, values = (
        torch.stack([x[..., head::3] for head in range(3)], dim=1)
        for x in (X @ layer.mixer.q.weight.T, X @ k.T, X @ v.T)
    )
    mask = torch.ones(17, 17).tril().bool() if site.is_causal else None
    y = torch.stack(attention.reference(q, keys, values, mask).unbind(1), dim=-1).flatten(2)
    return y @ layer.mixer.o.weight.T


@sites
def test_maps_that_are_left_out_are_identities(build, site):
    eye = torch.eye(12, dtype=torch.float64)
    no_value = build("unprojected", site, num_heads=3, form="no_value")
    torch.testing.assert_close(
        no_value(X), softmax_like(no_value, site, k=no_value.mixer.k.weight, v=eye), rtol=0, atol=1e-12
    )
    neither = build("unprojected", site, num_heads=3, form="no_key_value")
    torch.testing.assert_close(neither(X), softmax_like(neither, site, k=eye, v=eye), rtol=0, atol=1e-12)


@sites
def test_a_mixture_that_is_the_identity_is_none(build, site):
    mixed, plain = (build("unprojected", site, num_heads=3, form=form) for form in ("mixed_values", "no_key_value"))
    plain.mixer.load_state_dict({k: v for k, v in mixed.mixer.state_dict().items() if k != "mix"})
    torch.testing.assert_close(mixed(X), plain(X), rtol=0, atol=1e-12)


def test_weights_of_the_three_forms():
    site = Site(embed_dim=64, tokens=50, domain="causal")
    forms = {"no_value": 3 * 64**2, "no_key_value": 2 * 64**2, "mixed_values": 2 * 64**2 + 50**2}
    for form, params in forms.items():
        assert unprojected.Mixer.cost(unprojected.Knobs(num_heads=4, form=form), site).params == params


def test_a_token_without_maps_is_kept_once():
    site = Site(embed_dim=64, tokens=50, domain="causal")
    costs = [unprojected.Mixer.cost(unprojected.Knobs(num_heads=4, form=f), site) for f in ("no_value", "no_key_value")]
    assert costs[0].kv_cache_bytes == 2 * costs[1].kv_cache_bytes


def test_embeddings_of_heads_have_the_papers_parameters():
    site = Site(embed_dim=768, tokens=8, domain="sequence")
    found = head_embeddings.Mixer.cost(head_embeddings.Knobs(num_heads=12, head_dim=64, form="add"), site).params
    assert found - 768**2 == 149_760


@sites
def test_vectors_of_ones_make_copies_of_one_head(build, site):
    layer = build("head_embeddings", site, num_heads=3, head_dim=4, form="multiply")
    with torch.no_grad():
        layer.mixer.vectors["multiply"].fill_(1.0)
    q, k, v = (projection(X, 4).unsqueeze(1).expand(2, 3, 17, 4) for projection in layer.mixer.maps)
    mask = torch.ones(17, 17).tril().bool() if site.is_causal else None
    wanted = layer.projections.output(attention.reference(q, k, v, mask), 12)
    torch.testing.assert_close(layer(X), wanted, rtol=0, atol=1e-12)


def test_what_is_added_to_keys_changes_nothing(build):
    layer = build("head_embeddings", CAUSAL, num_heads=3, head_dim=4, form="add")
    before = layer.reference(X)
    with torch.no_grad():
        layer.mixer.vectors["add"][1].normal_()
    torch.testing.assert_close(layer.reference(X), before, rtol=0, atol=1e-12)


@sites
def test_a_temperature_of_one_is_softmax_attention(build, site):
    heads = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4}
    tempered, plain = build("tempered", site, **heads, scope="both"), build("softmax", site, **heads)
    plain.projections.load_state_dict(tempered.projections.state_dict())
    torch.testing.assert_close(tempered(X), plain(X), rtol=0, atol=1e-12)


def test_a_longer_past_needs_a_higher_temperature_to_stay_sharp(build):
    tokens = 2048
    site = Site(embed_dim=12, tokens=tokens, domain="causal")
    layer = build("tempered", site, num_heads=1, num_kv_heads=1, head_dim=4, scope="query")
    scores = torch.randn(tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sharpness = [((1 + beta * math.log(tokens)) * scores).softmax(-1).max() for beta in (0.0, 0.5, 1.0)]
    assert sharpness == sorted(sharpness) and sharpness[0] < 0.05
    with torch.no_grad():
        layer.mixer.beta.fill_(0.5)
    q, _, _ = layer.mixer._scaled(torch.ones(1, tokens, 12, dtype=torch.float64), layer.projections, layer.knobs, site)
    ratio = q[0, 0, -1].norm() / q[0, 0, 0].norm()
    torch.testing.assert_close(ratio, torch.tensor(1 + 0.5 * math.log(tokens), dtype=torch.float64))


@sites
def test_all_outputs_kept_are_softmax_attention(build, site):
    heads = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4}
    sparse = build("sparse_values", site, num_heads=3, head_dim=4, value_ratio=1, keep=12)
    plain = build("softmax", site, **heads)
    with torch.no_grad():
        for part in "qk":
            getattr(plain.projections, part).weight.copy_(getattr(sparse.projections, part).weight)
        plain.projections.v.weight.copy_(sparse.mixer.v.weight)
        plain.projections.o.weight.copy_(sparse.mixer.o.weight)
    torch.testing.assert_close(sparse(X), plain(X), rtol=0, atol=1e-12)


def test_exactly_so_many_outputs_are_kept(build):
    layer, seen = build("sparse_values", CAUSAL, num_heads=3, head_dim=4, value_ratio=2, keep=5), []
    layer.mixer.o.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    layer(X)
    assert (seen[0].flatten(2) != 0).sum(-1).eq(5).all()


@pytest.mark.parametrize("site", [SEQUENCE, CAUSAL], ids=lambda site: site.domain)
def test_normalised_scores_have_the_mean_and_spread_they_are_given(build, site):
    layer = build("normalised_scores", site, num_heads=2, num_kv_heads=2, head_dim=4)
    with torch.no_grad():
        layer.mixer.gain.fill_(0.7)
        layer.mixer.offset.fill_(0.3)
    q, k = layer.projections.query(X, 2, 4), layer.projections.key(X, 2, 4)
    scores = q @ k.mT
    weights = 0.7 * (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, correction=0, keepdim=True) + 0.3
    torch.testing.assert_close(weights.mean(-1), torch.full_like(weights.mean(-1), 0.3))
    if not site.is_causal:
        y = layer.mixer._normed(weights @ layer.projections.value(X, 2, 4), X, layer.projections, layer.knobs)
        torch.testing.assert_close(layer(X), y, rtol=0, atol=1e-5)  # but for the floor of the spread


def test_scores_without_gain_are_mean_pooling(build):
    layer = build("normalised_scores", SEQUENCE, num_heads=2, num_kv_heads=2, head_dim=4)
    with torch.no_grad():
        layer.mixer.gain.zero_()
        layer.mixer.offset.fill_(1 / 17)
    mean = layer.projections.value(X, 2, 4).mean(2, keepdim=True).expand(2, 2, 17, 4)
    torch.testing.assert_close(
        layer(X), layer.mixer._normed(mean, X, layer.projections, layer.knobs), rtol=0, atol=1e-12
    )


def test_angles_do_not_see_lengths_and_near_points_are_flat(build):
    heads = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 4}
    round_ = build("similarity", SEQUENCE, **heads, geometry="spherical")
    before = round_(X)
    with torch.no_grad():
        round_.projections.q.weight.mul_(3.0)
        round_.projections.k.weight.mul_(0.2)
    torch.testing.assert_close(round_(X), before, rtol=0, atol=1e-12)
    flat = build("similarity", SEQUENCE, **heads, geometry="hyperbolic")
    with torch.no_grad():
        for part in "qk":
            getattr(flat.projections, part).weight.mul_(1e-4)
    q, k = flat.projections.query(X, 2, 4), flat.projections.key(X, 2, 4)
    near = -2 * torch.cdist(q, k) * flat.mixer.log_beta.exp().view(2, 1, 1) * 0.98 / 2.0
    torch.testing.assert_close(flat.mixer._distances(q, k, flat.knobs), near, rtol=1e-4, atol=1e-6)


def test_one_wide_head_finds_the_nearest_neighbour_and_thin_ones_do_not():
    rng = torch.Generator().manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(64, 32, generator=rng, dtype=torch.float64), dim=-1)
    queries = torch.nn.functional.normalize(
        keys + 0.05 * torch.randn(64, 32, generator=rng, dtype=torch.float64), dim=-1
    )
    wide = attention.reference(2000 * 32**0.5 * queries[None, None], keys[None, None], keys[None, None])[0, 0]
    assert (wide - keys).abs().max() < 1e-6
    thin = [2000 * 2 * queries[None, None, :, i : i + 4] for i in range(0, 32, 4)]
    seen = [
        attention.reference(q, keys[None, None, :, i : i + 4], keys[None, None])[0, 0]
        for i, q in zip(range(0, 32, 4), thin, strict=True)
    ]
    hits = torch.stack([(one - keys).norm(dim=-1) < 0.1 for one in seen]).double().mean()
    assert hits < 0.7


def test_head_width_is_free_of_width_and_heads():
    site = Site(embed_dim=24, tokens=8, domain="causal")
    for heads, width in ((1, 24), (3, 20), (7, 2)):
        knobs = HeadKnobs(num_heads=heads, num_kv_heads=heads, head_dim=width)
        assert Softmax.cost(knobs, site).params == 4 * 24 * heads * width
        assert Softmax.rank(knobs, site) == width


def test_unknown_forms_are_refused():
    for made, word in ((unprojected.Knobs, "form"), (head_embeddings.Knobs, "form")):
        own = {"head_dim": 4} if made is head_embeddings.Knobs else {}
        with pytest.raises(ArchError, match=f"{word} must be one of .*; got 'x'"):
            made(num_heads=2, form="x", **own)
