"""Strided neighbourhoods, shards of heads, learned queries and subsampled keys: identities of the sources."""

import pytest
import torch

from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.sparse import head_shards, strided_neighborhood

HEADS = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 4}
IMAGE = Site(embed_dim=12, tokens=63, domain="image", grid=(9, 7))
SEQUENCE, CAUSAL = (Site(embed_dim=12, tokens=37, domain=domain) for domain in ("sequence", "causal"))
every_site = pytest.mark.parametrize("site", [IMAGE, SEQUENCE, CAUSAL], ids=lambda site: site.domain)


def inputs(site):
    return torch.randn(2, site.tokens, 12, dtype=torch.float64)


def table(site, window_size, stride=1, dilation=1):
    knobs = strided_neighborhood.Knobs(**HEADS, window_size=window_size, stride=stride, dilation=dilation)
    return strided_neighborhood.Mixer.mask(knobs, site, site.tokens)


@every_site
def test_a_window_over_everything_is_full_attention(build, site):
    layer, plain, x = (
        build("strided_neighborhood", site, **HEADS, window_size=40, stride=1, dilation=1),
        build("softmax", site, **HEADS),
        inputs(site),
    )
    plain.projections.load_state_dict(layer.projections.state_dict())
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-12)


def test_windows_without_a_stride_hold_as_many_keys_everywhere():
    assert (table(SEQUENCE, 6).sum(1) == 6).all()
    assert (table(IMAGE, 4).sum(1) == 16).all()
    assert (table(SEQUENCE, 6, dilation=3).sum(1) == 6).all()


def test_a_stride_as_long_as_the_window_makes_blocks():
    site = Site(embed_dim=12, tokens=36, domain="sequence")
    block = torch.arange(36) // 6
    assert torch.equal(table(site, 6, stride=6), block[:, None] == block)


def test_without_stride_and_dilation_it_is_the_neighborhood(build):
    layer, near, x = (
        build("strided_neighborhood", IMAGE, **HEADS, window_size=3, stride=1, dilation=1),
        build("neighborhood", IMAGE, **HEADS, kernel_size=3),
        inputs(IMAGE),
    )
    near.projections.load_state_dict(layer.projections.state_dict())
    torch.testing.assert_close(layer(x), near(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", [(5, 1, 1), (6, 3, 1), (4, 4, 2), (7, 2, 3)])
def test_causal_windows_do_not_depend_on_what_comes(rule):
    short = table(Site(embed_dim=12, tokens=20, domain="causal"), *rule)
    assert torch.equal(short, table(CAUSAL, *rule)[:20, :20])
    assert short.any(1).all() and not short.triu(1).any()


def shards(kv_heads, parts, tokens=32, local=2):
    knobs = head_shards.Knobs(
        num_heads=kv_heads, num_kv_heads=kv_heads, head_dim=4, block_size=1, num_local=local, shards=parts
    )
    site = Site(embed_dim=12, tokens=tokens, domain="causal")
    return head_shards.Mixer.mask(knobs, site, tokens)


def test_one_shard_is_full_attention_and_all_heads_see_everything():
    assert shards(4, 1).tril().eq(torch.ones(32, 32).tril().bool()).all()
    assert shards(8, 8).any(0).equal(torch.ones(32, 32).tril().bool())
    assert not shards(8, 8)[0].equal(shards(8, 8)[1])
    with pytest.raises(ArchError, match=r"shards must be at most num_kv_heads \(4\)"):
        shards(4, 8)


def test_a_head_sees_its_near_blocks_and_its_share_of_the_others():
    pairs, near = 32 * 33 // 2, 32 + 31
    assert shards(8, 8).sum() == 8 * near + (pairs - near)


@every_site
def test_a_learned_query_is_a_softmax_over_its_window(build, site):
    layer, x = build("learned_query", site, num_heads=2, head_dim=4, kernel_size=1), inputs(site)
    v = layer.projections.value(x, 2, 4)
    torch.testing.assert_close(layer(x), layer.projections.output(v, 12), rtol=0, atol=1e-12)


def test_a_learned_query_over_everything_pools_all_tokens_alike(build):
    layer, x = build("learned_query", SEQUENCE, num_heads=2, head_dim=4, kernel_size=75), inputs(SEQUENCE)
    query = torch.nn.functional.normalize(layer.mixer.query, dim=-1) / 2.0
    scores = 20 * torch.tanh((layer.projections.key(x, 2, 4) @ query.unsqueeze(-1)).squeeze(-1) / 20)
    pooled = (scores.softmax(-1).unsqueeze(-2) @ layer.projections.value(x, 2, 4)).expand(2, 2, 37, 4)
    torch.testing.assert_close(layer(x), layer.projections.output(pooled, 12), rtol=0, atol=1e-12)


def test_summaries_of_single_tokens_are_full_attention_on_normed_keys(build):
    layer, x = build("subsampled", IMAGE, **HEADS, reduction=1), inputs(IMAGE)
    normed = layer.mixer.norm(x)
    q, k, v = (
        layer.projections.query(x, 2, 4),
        layer.projections.key(normed, 2, 4),
        layer.projections.value(normed, 2, 4),
    )
    wanted = layer.projections.output(attention.reference(q, k, v), 12)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)


def test_summaries_begin_as_means(build):
    site = Site(embed_dim=12, tokens=64, domain="image", grid=(8, 8))
    layer, seen = build("subsampled", site, **HEADS, reduction=2), []
    layer.mixer.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = inputs(site)
    layer(x)
    means = torch.nn.functional.avg_pool2d(x.mT.reshape(2, 12, 8, 8), 2).flatten(2).mT
    torch.testing.assert_close(seen[0], means, rtol=0, atol=1e-12)
