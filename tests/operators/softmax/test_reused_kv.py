from collections.abc import Sequence

import pytest
import torch

from nas import operators
from nas.arch import NONE, OperatorArch
from nas.operators.contract import Context, HeadKnobs, Site
from tests.operators.cases import KNOBS
from tests.operators.conftest import build_layer

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 4}
SITE = Site(embed_dim=20, tokens=17, domain="causal")
REUSED = HeadKnobs(num_heads=4, num_kv_heads=2, head_dim=4)
SOURCE = OperatorArch.of("softmax", **HEADS)
PUBLISHERS = sorted(name for name in operators.names() if operators.get(name).publishes >= {"k", "v"})


def can_follow(*earlier: OperatorArch) -> bool:
    return operators.get("reused_kv").can_follow(REUSED, earlier)


def test_with_the_sources_queries_it_is_softmax() -> None:
    source, layer = build_layer("softmax", SITE, **HEADS), build_layer("reused_kv", SITE, **HEADS)
    layer.projections.load_state_dict(source.projections.state_dict(), strict=False)
    x = torch.randn(2, 17, 20, dtype=torch.float64)
    expected = source(x)
    layer.context.published.update(source.context.published)
    assert torch.equal(layer(x), expected)


def test_it_owns_queries_and_output_only_and_keeps_no_cache() -> None:
    layer = build_layer("reused_kv", SITE, **HEADS)
    assert [name for name, _ in layer.projections.named_parameters()] == ["q.weight", "o.weight"]
    own, full = (operators.get(name).cost(layer.knobs, SITE) for name in ("reused_kv", "softmax"))
    saved = 2 * HEADS["num_kv_heads"] * HEADS["head_dim"] * SITE.embed_dim
    assert full.params - own.params == saved and full.flops - own.flops == 2 * saved * SITE.tokens
    assert own.kv_cache_bytes == 0 and own.pairs == full.pairs


@pytest.mark.parametrize("domain", ["causal", "sequence"])
def test_gradients_flow_into_what_was_published(domain: str) -> None:
    layer = build_layer("reused_kv", Site(embed_dim=20, tokens=17, domain=domain), **HEADS)  # type: ignore[arg-type]
    k, v = (torch.randn(2, 2, 17, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    x = torch.randn(2, 17, 20, dtype=torch.float64)

    def run(k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        context = Context(layer.context.site, {"k": k, "v": v})
        return layer.mixer(x, layer.projections, layer.knobs, context)

    assert torch.autograd.gradcheck(run, (k, v), fast_mode=True)
    assert all(g.abs().sum(-1).all() for g in torch.autograd.grad(run(k, v).square().sum(), (k, v)))


def test_a_decoded_token_has_no_state() -> None:
    layer = build_layer("reused_kv", SITE, **HEADS)
    k, v = torch.randn(2, 1, 2, 17, 4, dtype=torch.float64)
    layer.context.published.update(k=k, v=v)
    x = torch.randn(1, 17, 20, dtype=torch.float64)
    y, state = layer.mixer.step(x[:, -1:], layer.projections, layer.knobs, layer.context)
    torch.testing.assert_close(y, layer(x)[:, -1:], atol=1e-12, rtol=0)
    assert state is None


@pytest.mark.parametrize("name", PUBLISHERS)
def test_a_publishers_cache_holds_every_token(name: str) -> None:
    mixer = operators.get(name)
    for knobs in KNOBS[name]:
        parsed = operators.parse(OperatorArch.of(name, **knobs))
        site = Site(embed_dim=20, tokens=42, domain=min(mixer.domains), grid=(6, 7))
        assert mixer.cost(parsed, site).kv_cache_bytes >= 8 * parsed.num_kv_heads * parsed.head_dim * site.tokens


@pytest.mark.parametrize(
    ("earlier", "able"),
    [
        ([], False),
        ([SOURCE], True),
        ([OperatorArch(NONE)], False),
        ([SOURCE, OperatorArch(NONE), OperatorArch.of("depthwise", kernel_size=3)], True),
        ([SOURCE, OperatorArch.of("reused_kv", num_heads=2, num_kv_heads=2, head_dim=4)], True),
        ([SOURCE, OperatorArch.of("window", **{**HEADS, "head_dim": 8}, window_size=4)], True),
        ([OperatorArch.of("window", **HEADS, window_size=4)], False),
        ([OperatorArch.of("softmax", **{**HEADS, "num_kv_heads": 1})], False),
        ([OperatorArch.of("softmax", **{**HEADS, "head_dim": 8})], False),
        ([SOURCE, OperatorArch.of("block_routing", **{**HEADS, "head_dim": 8}, block_size=4, topk=1)], False),
        ([OperatorArch.of("softmax", **{**HEADS, "head_dim": 8}), SOURCE], True),
    ],
)
def test_it_follows_the_nearest_publisher_of_its_layout(earlier: Sequence[OperatorArch], able: bool) -> None:
    assert can_follow(*earlier) == able
