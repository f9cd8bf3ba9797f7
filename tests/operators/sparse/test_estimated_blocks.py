"""Blocks without weights: all of them are full attention, and estimates rank as the sources say."""

import pytest
import torch

from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.sparse.estimated_blocks import estimated, four_bits

SITE = Site(embed_dim=12, tokens=37, domain="sequence")
HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 3}
X = torch.randn(2, 37, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("estimate", ["pooled", "four_bit"])
def test_all_blocks_are_full_attention(build, estimate):
    layer, full = (
        build("estimated_blocks", SITE, **HEADS, block_size=8, topk=5, estimate=estimate),
        build("softmax", SITE, **HEADS),
    )
    full.projections.load_state_dict(layer.projections.state_dict())
    torch.testing.assert_close(layer(X), full(X), rtol=0, atol=1e-12)


def test_blocks_that_are_not_uniform_come_first():
    q = torch.randn(1, 1, 24, 6, dtype=torch.float64)
    k = torch.ones(1, 1, 24, 6, dtype=torch.float64)
    k[:, :, 8:16] = torch.randn(1, 1, 8, 6, dtype=torch.float64)  # the only block without a direction
    assert torch.equal(estimated(q, k, 8, "pooled").argmax(-1), torch.ones(1, 1, 3, dtype=torch.int64))


def test_four_bits_have_fifteen_levels_and_a_small_error():
    x = torch.randn(3, 50, 8, dtype=torch.float64)
    rounded = four_bits(x)
    levels = (rounded / (x.abs().amax(-1, keepdim=True) / 7)).round()
    assert levels.abs().max() == 7
    assert ((rounded - x).abs() <= x.abs().amax(-1, keepdim=True) / 14 + 1e-12).all()
    assert torch.equal(four_bits(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))


def test_four_bits_find_the_block_of_the_largest_score():
    q, k = torch.randn(1, 2, 32, 8, dtype=torch.float64), torch.randn(1, 2, 32, 8, dtype=torch.float64)
    k[:, :, 20] = 6 * q[:, :, 3]
    best = estimated(q, k, 8, "four_bit")[:, :, 0].argmax(-1)
    exact = attention.repeat_heads(k, 2)
    assert torch.equal(best, ((q @ exact.mT)[:, :, :8].amax(2).argmax(-1)) // 8)
