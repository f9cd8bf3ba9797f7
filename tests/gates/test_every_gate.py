from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas import gates
from nas.arch import NONE
from nas.operators.contract import Context, Site

GRID = (6, 5)
SITES = {
    "image": Site(embed_dim=24, tokens=30, domain="image", grid=GRID),
    "sequence": Site(embed_dim=24, tokens=30, domain="sequence"),
    "causal": Site(embed_dim=24, tokens=30, domain="causal"),
}
CASES = [(name, domain) for name in gates.names() if name != NONE for domain in sorted(gates.get(name).domains)]
every_gate = pytest.mark.parametrize(("name", "domain"), CASES)


def wide_gate(name, site):
    gate = gates.get(name)(replace(site, embed_dim=200))
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return gate


def narrow_gate(name, site, wide):
    gate, source = gates.get(name)(site), wide.state_dict()
    corners = {key: source[key][tuple(map(slice, value.shape))] for key, value in gate.state_dict().items()}
    gate.load_state_dict(corners)
    return gate


def test_the_gates_are_found():
    assert {"cbam", NONE, "squeeze_excitation"} <= set(gates.names())


@every_gate
def test_a_narrow_gate_is_a_leading_corner_of_a_wide_one(name, domain):
    site = SITES[domain]
    wide = wide_gate(name, site)
    y = torch.randn(2, site.tokens, 24)
    read = torch.randn_like(y)
    out = wide(y, Context(site, entered=read))
    assert out.shape == y.shape
    assert torch.equal(out, narrow_gate(name, site, wide)(y, Context(site, entered=read)))


@every_gate
@pytest.mark.parametrize("embed_dim", [6, 24, 200])
def test_cost_is_what_is_allocated_and_counted(name, domain, embed_dim):
    site = replace(SITES[domain], embed_dim=embed_dim)
    gate, cost = gates.get(name)(site), gates.get(name).cost(site)
    assert cost.params == sum(parameter.numel() for parameter in gate.parameters())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        y = torch.randn(1, site.tokens, embed_dim)
        gate(y, Context(site, entered=y))
    assert cost.flops == counter.get_total_flops()


def test_gates_of_causal_sites_treat_each_token_by_itself():
    for name in (name for name, domain in CASES if domain == "causal"):
        gate, y = wide_gate(name, SITES["causal"]), torch.randn(2, 30, 24)
        read, site = torch.randn(2, 30, 24), SITES["causal"]
        tokens = zip(y.split(1, dim=1), read.split(1, dim=1), strict=True)
        alone = torch.cat([gate(token, Context(site, entered=source)) for token, source in tokens], dim=1)
        torch.testing.assert_close(gate(y, Context(site, entered=read)), alone)


@every_gate
def test_gradients_are_right_and_samples_apart(name, domain):
    site = SITES[domain]
    gate = gates.get(name)(replace(site, embed_dim=6)).double()
    y = torch.randn(2, site.tokens, 6, dtype=torch.float64, requires_grad=True)
    read = torch.randn_like(y)
    assert torch.autograd.gradcheck(lambda y, read: gate(y, Context(site, entered=read)), (y, read.requires_grad_()))
    pairs = zip(y.split(1), read.split(1), strict=True)
    alone = torch.cat([gate(sample, Context(site, entered=source)) for sample, source in pairs])
    torch.testing.assert_close(gate(y, Context(site, entered=read)), alone, rtol=0, atol=1e-12)
