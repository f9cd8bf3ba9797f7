from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Context, Site
from nas.operators.sparse.token_types import GLOBAL, LOCAL, SLIDING, Knobs, _mask

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
SITE = Site(embed_dim=20, tokens=24, domain="causal")


def inputs() -> Tensor:
    return torch.randn(2, 24, 20, dtype=torch.float64)


def one_type(build: Callable[..., Any], kind: int, types: str = "global_local_sliding") -> tuple[Any, Tensor]:
    """A layer whose tokens are all of one kind but for the first, and an input for it."""
    layer = build("token_types", SITE, **HEADS, window_size=5, types=types)
    nn.init.zeros_(layer.mixer.types.weight)
    with torch.no_grad():
        layer.mixer.types.weight[:, kind, 0] = 9.0
    x = inputs()
    x[..., 0] = 1.0
    return layer, x


def under(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Explicit softmax attention of the layer under a mask."""
    p = layer.projections
    q, k, v = p.query(x, 4, 6, 2), p.key(x, 2, 6), p.value(x, 2, 6)
    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    scores = (q @ k.transpose(-1, -2) / 6**0.5).masked_fill(~mask, -torch.inf)
    out: Tensor = p.output(scores.softmax(-1) @ v, 20, 2)
    return out


@pytest.mark.parametrize("kind", [GLOBAL, LOCAL])
def test_global_tokens_and_local_ones_without_a_later_global_give_full_attention(
    build: Callable[..., Any], kind: int
) -> None:
    layer, x = one_type(build, kind)
    mask = torch.ones(24, 24, dtype=torch.bool).tril()
    torch.testing.assert_close(layer(x), under(layer, x, mask), atol=1e-12, rtol=0)


def test_sliding_tokens_are_a_window_and_the_first_token(build: Callable[..., Any]) -> None:
    layer, x = one_type(build, SLIDING)
    mask = torch.ones(24, 24, dtype=torch.bool).tril().triu(-5)
    mask[:, 0] = True
    torch.testing.assert_close(layer(x), under(layer, x, mask), atol=1e-12, rtol=0)


def test_local_tokens_end_with_the_next_global_which_still_sees_them() -> None:
    kinds = torch.tensor([GLOBAL, LOCAL, SLIDING, LOCAL, GLOBAL, LOCAL])
    types = nn.functional.one_hot(kinds, 3).double().view(1, 1, 6, 3)
    knobs = Knobs(**HEADS, window_size=1, types="global_local_sliding")
    seen = [row.nonzero().flatten().tolist() for row in _mask(types, knobs)[0, 0]]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 3, 4], [0, 4, 5]]


def test_types_that_are_not_offered_are_never_chosen(build: Callable[..., Any]) -> None:
    layer, x = one_type(build, LOCAL, types="global_sliding")
    layer.mixer.eval()
    assert not layer.mixer._types(x, layer.knobs, layer.context)[..., LOCAL].any()


def test_evaluation_and_decoding_agree_with_training(build: Callable[..., Any]) -> None:
    layer = build("token_types", SITE, **HEADS, window_size=5, types="global_local_sliding")
    x = inputs()
    trained = layer(x)
    layer.mixer.eval()
    torch.testing.assert_close(layer(x), trained, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer.decode(x)[0], trained, atol=1e-12, rtol=0)


def test_types_learn_from_invisible_pairs_and_pay_for_being_global(build: Callable[..., Any]) -> None:
    layer, x = one_type(build, SLIDING)
    context = Context(SITE)
    y = layer.mixer(x, layer.projections, layer.knobs, context)
    (penalty,) = context.penalties
    torch.testing.assert_close(penalty, torch.tensor(0.01 / 24, dtype=torch.float64))
    (by_output,) = torch.autograd.grad(y.pow(2).sum(), [layer.mixer.types.weight], retain_graph=True)
    (by_penalty,) = torch.autograd.grad(penalty, [layer.mixer.types.weight])
    assert by_output[:, GLOBAL].abs().max() > 0
    # more of the global logit, on which the constant input acts, costs more
    assert (by_penalty[:, GLOBAL, 0] > 0).all()


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ArchError, match="types must be global_local_sliding or global_sliding, got 'local'"):
        operators.parse(OperatorArch.of("token_types", **HEADS, window_size=5, types="local"))
