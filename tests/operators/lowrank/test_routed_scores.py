import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.lowrank.routed_scores import Knobs, bound, count

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
SITE = Site(embed_dim=12, tokens=17, domain="sequence")


def inputs():
    return torch.randn(2, 17, 12, dtype=torch.float64)


@pytest.mark.parametrize("rank, one_in", [(8, 4), (3, 1)])
def test_full_rank_or_all_tokens_chosen_is_full_attention(build, rank, one_in):
    full, layer = build("softmax", SITE, **HEADS), build("routed_scores", SITE, **HEADS, score_rank=rank, one_in=one_in)
    layer.projections.load_state_dict(full.projections.state_dict())
    x = inputs()
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_no_score_changes_by_more_than_the_bound(rank):
    q, k = torch.randn(2, 6, 17, 8, dtype=torch.float64), torch.randn(2, 2, 17, 8, dtype=torch.float64)
    keys = k.repeat_interleave(3, dim=1)
    change = (q @ keys.mT - q[..., :rank] @ keys[..., :rank].mT).abs().sum(1).amax(-1)
    assert (change <= bound(q, k, rank) + 1e-12).all()


def test_the_tokens_of_the_full_rank_are_those_of_the_highest_priority(build):
    layer = build("routed_scores", SITE, **HEADS, score_rank=2, one_in=4)
    full = build("softmax", SITE, **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    with torch.no_grad():
        layer.mixer.policy.weight.zero_()
        layer.mixer.policy.weight[0, 0] = 1e3
    x = inputs()
    same = (layer(x) - full(x)).abs().amax(-1) < 1e-12
    assert (same.sum(1) == count(17, layer.knobs)).all()
    assert torch.equal(same.nonzero()[:, 1].view(2, -1), x[..., 0].topk(5).indices.sort().values)


def test_the_policy_learns(build):
    layer, x = build("routed_scores", SITE, **HEADS, score_rank=2, one_in=4), inputs()
    gradient = torch.autograd.grad(layer(x).square().sum(), layer.mixer.policy.weight)[0]
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-10)


def test_a_rank_above_the_head_width_is_refused():
    with pytest.raises(ArchError, match="score_rank must be at most head_dim, got 9 and 8"):
        Knobs(**HEADS, score_rank=9, one_in=2)
