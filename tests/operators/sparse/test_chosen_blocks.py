"""Across layers: what an anchor chooses, and what the layers behind it make of it."""

import torch

from nas import operators
from nas.arch import OperatorArch
from nas.kernels import attention, query_blocks
from nas.operators.contract import Context, Site
from tests.operators.conftest import build_layer

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 4}
SITE = Site(embed_dim=12, tokens=30, domain="causal")
X = torch.randn(2, 30, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def anchored(topk: int, block_size: int = 4):
    """An anchor, the context that it leaves, and the operators that may stand behind it."""
    anchor, context = build_layer("anchor", SITE, **HEADS, block_size=block_size, topk=topk), Context(SITE)
    y = anchor.mixer(X, anchor.projections, anchor.knobs, context)
    return anchor, context, y


def test_an_anchor_is_softmax_attention_and_names_where_it_looked():
    anchor, context, y = anchored(topk=3)
    plain = build_layer("softmax", SITE, **HEADS)
    plain.projections.load_state_dict(anchor.projections.state_dict())
    torch.testing.assert_close(y, plain(X), rtol=0, atol=1e-12)
    blocks = context.published["blocks"]
    assert blocks.shape == (2, 2, 30, 3) and blocks.max() == 7
    assert (blocks <= (torch.arange(30) // 4).view(1, 1, -1, 1)).all()
    assert ((blocks >= 0).sum(-1) == (torch.arange(30) // 4 + 1).clamp(max=3)).all()


def test_all_blocks_with_the_anchors_queries_and_far_alone_are_the_anchor():
    anchor, context, y = anchored(topk=8)
    layer = build_layer("oracle_blocks", SITE, **HEADS, block_size=4, topk=8, window_size=3)
    with torch.no_grad():
        layer.mixer.gates.weight.zero_()
        layer.projections.q.weight.copy_(anchor.projections.q.weight)
        layer.projections.o.weight.copy_(2 * anchor.projections.o.weight)  # gates of zero are one half
        layer.projections.v.weight.zero_()
    found = layer.mixer(X, layer.projections, layer.knobs, context)
    torch.testing.assert_close(found, y, rtol=0, atol=1e-12)


def test_reused_blocks_over_everything_are_softmax_attention():
    _, context, _ = anchored(topk=8)
    layer, plain = (
        build_layer("reused_blocks", SITE, **HEADS, block_size=4, topk=8),
        build_layer("softmax", SITE, **HEADS),
    )
    plain.projections.load_state_dict(layer.projections.state_dict())
    torch.testing.assert_close(layer.mixer(X, layer.projections, layer.knobs, context), plain(X), rtol=0, atol=1e-12)


def test_the_anchors_own_maps_behind_it_keep_its_greatest_weights():
    anchor, context, _ = anchored(topk=2)
    q, k = anchor.projections.query(X, 4, 4, 2), attention.repeat_heads(anchor.projections.key(X, 2, 4), 4)
    scores = (q @ k.mT / 2).masked_fill(~torch.ones(30, 30).tril().bool(), -torch.inf).softmax(-1)
    mask = query_blocks.visible(context.published["blocks"], 30, 4, is_causal=True)
    group = scores.view(2, 2, 2, 30, 30).amax(2)
    assert mask.gather(-1, group.argmax(-1, keepdim=True)).all()


def test_a_softmax_between_an_anchor_and_its_reader_is_no_source():
    anchor = OperatorArch.of("anchor", **HEADS, block_size=4, topk=2)
    softmax = OperatorArch.of("softmax", **HEADS)
    oracle = operators.get("oracle_blocks")
    knobs = operators.parse(OperatorArch.of("oracle_blocks", **HEADS, block_size=4, topk=2, window_size=3))
    assert oracle.can_follow(knobs, (anchor,)) and not oracle.can_follow(knobs, (anchor, softmax))
    assert not oracle.can_follow(knobs, (OperatorArch.of("anchor", **HEADS, block_size=8, topk=2),))
    reused = operators.get("reused_blocks")
    knobs = operators.parse(OperatorArch.of("reused_blocks", **HEADS, block_size=4, topk=2))
    assert reused.can_follow(knobs, (anchor, softmax)) and not reused.can_follow(knobs, (softmax,))
