import pytest
import torch

from nas.errors import ConfigError
from nas.kernels import attention
from nas.kernels.chunked import attend


def parts(tokens: int = 37, heads: int = 4, kv: int = 2) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    shapes = ((2, heads, tokens, 6), (2, kv, tokens, 6), (2, kv, tokens, 3))
    return tuple(torch.randn(*s, dtype=torch.float64, generator=rng, requires_grad=True) for s in shapes)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("chunks", [(37, 37), (8, 5), (1, 1), (64, 9), (5, 64)])
def test_chunks_change_neither_output_nor_gradients(chunks, is_causal):
    q, k, v = parts()
    mask = torch.ones(37, 37).tril().bool() if is_causal else None
    found = attend(q, k, v, is_causal=is_causal, query_chunk=chunks[0], key_chunk=chunks[1])
    wanted = attention.reference(q, k, v, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(found)
    got, want = (torch.autograd.grad(y, (q, k, v), cotangent, retain_graph=True) for y in (found, wanted))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_a_bias_has_a_gradient_and_may_hide_whole_chunks_and_rows():
    q, k, v = parts()
    bias = torch.randn(1, 4, 37, 37, dtype=torch.float64)
    bias[..., 3, :] = -torch.inf  # a row that sees nothing
    bias[..., 8:24] = -torch.inf  # chunks that nobody sees
    bias.requires_grad_()
    found = attend(q, k, v, bias=bias, query_chunk=7, key_chunk=8)
    assert found.isfinite().all() and not found[:, :, 3].any()
    scores = q @ attention.repeat_heads(k, 4).mT / 6**0.5 + bias
    seen = [t for t in range(37) if t != 3]
    wanted = scores[:, :, seen].softmax(-1) @ attention.repeat_heads(v, 4)
    torch.testing.assert_close(found[:, :, seen], wanted, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(wanted)
    got = torch.autograd.grad(found[:, :, seen], bias, cotangent)[0][:, :, seen]
    want = torch.autograd.grad(wanted, bias, cotangent)[0][:, :, seen]
    assert got.isfinite().all()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_wrong_calls_are_refused():
    q, k, v = parts()
    with pytest.raises(ConfigError, match="at least one token, got 0 and 4"):
        attend(q, k, v, query_chunk=0, key_chunk=4)
    with pytest.raises(ConfigError, match="as many queries as keys, got 36 and 37"):
        attend(q[:, :, 1:], k, v, is_causal=True)
