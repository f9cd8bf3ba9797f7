import pytest
import torch

from nas.operators.contract import Site, projection_cost
from tests.operators.conftest import build_layer
from tests.operators.harness import counted

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 4}


@pytest.mark.parametrize("cached", [1, 16, 511])
def test_a_step_projects_one_token_and_visits_every_key_once(cached: int) -> None:
    layer = build_layer("softmax", Site(embed_dim=20, tokens=cached + 1, domain="causal"), **HEADS)
    x = torch.randn(1, cached + 1, 20, dtype=torch.float64)
    mixer, rest = layer.mixer, (layer.projections, layer.knobs, layer.context)
    state = mixer.prefill(x[:, :cached], *rest)
    token = projection_cost(layer.knobs, Site(embed_dim=20, tokens=1, domain="causal")).flops
    assert counted(lambda: mixer.step(x[:, cached:], *rest, state)[0]) == token + 4 * 6 * 4 * (cached + 1)


def test_a_step_leaves_the_state_it_got_as_it_was() -> None:
    layer = build_layer("softmax", Site(embed_dim=20, tokens=9, domain="causal"), **HEADS)
    x, rest = torch.randn(1, 9, 20, dtype=torch.float64), (layer.projections, layer.knobs, layer.context)
    state = layer.mixer.prefill(x[:, :8], *rest)
    before = [part.clone() for part in state]
    first, again = (layer.mixer.step(x[:, 8:], *rest, state) for _ in range(2))
    assert all(map(torch.equal, state, before)) and torch.equal(first[0], again[0])
    assert [part.shape[2] for part in first[1]] == [9, 9] and all(part.is_contiguous() for part in (*state, *first[1]))
