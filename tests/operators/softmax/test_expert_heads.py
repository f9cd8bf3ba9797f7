"""One head per token, and what is left when heads are pruned."""

import torch

from nas.operators.contract import Site

SITE = Site(embed_dim=12, tokens=17, domain="sequence")
X = torch.randn(2, 17, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_heads_that_no_token_goes_to_can_be_pruned(build):
    trained = build("expert_heads", SITE, num_heads=3, num_kv_heads=3, head_dim=4, hidden=7)
    pruned = build("expert_heads", SITE, num_heads=1, num_kv_heads=1, head_dim=4, hidden=7)
    with torch.no_grad():
        trained.mixer.router.weight.zero_()  # equal odds: the first of the largest
        for mine, theirs in zip(pruned.parameters(), trained.parameters(), strict=True):
            mine.copy_(theirs[tuple(map(slice, mine.shape))])
    torch.testing.assert_close(pruned(X), trained(X), rtol=0, atol=1e-12)


def test_parameters_after_pruning_are_one_heads_and_the_network():
    from nas.operators.softmax.expert_heads import Knobs, Mixer

    site = Site(embed_dim=64, tokens=9, domain="sequence")
    single = Mixer.cost(Knobs(num_heads=1, num_kv_heads=1, head_dim=16, hidden=32), site).params
    assert single == 3 * 64 * 16 + 32 * (16 + 64) + 64  # the last: a router of one


def test_long_inputs_are_right_and_cost_one_head(build):
    site = Site(embed_dim=12, tokens=500, domain="sequence")
    layer = build("expert_heads", site, num_heads=6, num_kv_heads=2, head_dim=4, hidden=7)
    x = torch.randn(2, 500, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    one = build("expert_heads", site, num_heads=1, num_kv_heads=1, head_dim=4, hidden=7)
    assert layer.mixer.cost(layer.knobs, site).flops < 2.2 * one.mixer.cost(one.knobs, site).flops


def test_usage_adds_up_and_an_even_one_costs_least(build):
    layer = build("expert_heads", SITE, num_heads=3, num_kv_heads=3, head_dim=4, hidden=7)
    chosen, gain = layer.mixer._route(X, layer.knobs, layer.context)
    assert sum((chosen == head).sum() for head in range(3)) == 2 * 17 and torch.equal(gain, torch.ones_like(gain))
