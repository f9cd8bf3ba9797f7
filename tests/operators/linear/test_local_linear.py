"""Local linear attention between softmax attention and exact affine regression."""

import torch

from nas.operators.contract import Context, Site
from nas.operators.linear.local_linear import solved
from nas.operators.softmax.softmax import Mixer as Softmax

SITE = Site(embed_dim=12, tokens=17, domain="causal")
X = torch.randn(2, 17, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
HEADS = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4}


def set_ridge(layer, value):
    with torch.no_grad():
        layer.mixer.ridge.fill_(value)


def test_a_large_ridge_is_softmax(build):
    layer = build("local_linear", SITE, **HEADS, iterations=4)
    set_ridge(layer, 1e12)
    knobs = Softmax.knobs_type(**HEADS)
    soft = Softmax((knobs,), SITE).double()(X, layer.projections, knobs, Context(SITE))
    torch.testing.assert_close(layer(X), soft, rtol=0, atol=1e-10)


def test_values_that_are_affine_in_keys_are_continued_exactly(build):
    layer = build("local_linear", SITE, **HEADS, iterations=40)
    set_ridge(layer, -30.0)  # softplus: 1e-13
    q, k = (torch.randn(1, 3, 17, 4, dtype=torch.float64) for _ in range(2))
    slope, shift = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    found = layer.mixer._attend(q, k, k @ slope + shift, layer.knobs)
    torch.testing.assert_close(found[:, :, 8:], (q @ slope + shift)[:, :, 8:], rtol=0, atol=1e-4)


def test_as_many_iterations_as_unknowns_solve():
    matrix = torch.randn(5, 6, 6, dtype=torch.float64)
    matrix = matrix @ matrix.mT + torch.eye(6, dtype=torch.float64)
    right = torch.randn(5, 6, dtype=torch.float64)
    found = solved(lambda y: (matrix @ y[..., None]).squeeze(-1), right, 6)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), rtol=0, atol=1e-8)
    assert torch.equal(solved(lambda y: y, torch.zeros_like(right), 3), torch.zeros_like(right))
