import pickle
import random
from functools import partial

import pytest
import torch
from torch import Tensor

from nas.arch import Arch
from nas.errors import ArchError
from nas.shapes import ImageShape, TaskShape
from nas.space import SearchSpace, sample
from nas.supernet import Sharing, Supernet, extract, network_cost, network_profile
from tests.operators.harness import counted
from tests.spaces import DIGITS, SHAPES, TEXT, names, shipped
from tests.supernet.threads import differing_in_threads


def batch(shape: TaskShape, size: int = 2) -> Tensor:
    if isinstance(shape, ImageShape):
        return torch.randn(size, shape.channels, shape.height, shape.width)
    return torch.randint(shape.vocab, (size, shape.tokens))


@pytest.fixture(params=names(), scope="module")
def net(request: pytest.FixtureRequest) -> Supernet:
    torch.manual_seed(0)
    made = Supernet(shipped(request.param), SHAPES[request.param]).eval()
    for parameter in made.parameters():  # no gain, shift or gate may hide a mistake by being one or zero
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def archs(space: SearchSpace, count: int) -> list[Arch]:
    rng = random.Random(0)
    return [space.smallest(), space.largest(), *space.anchors().values(), *(sample(space, rng) for _ in range(count))]


def check_extraction(net: Supernet, count: int) -> None:
    x = batch(net.shape)
    with torch.no_grad():
        for arch in archs(net.space, count):
            alone = extract(net, arch)
            assert torch.equal(alone(x), net(x, arch)), arch.to_json()
            cost = network_cost(net.space.frame, net.shape, arch)
            assert cost.params == sum(p.numel() for p in alone.parameters()), arch.to_json()


def test_extracted_equals_slice_bitwise_and_counts_its_parameters(net: Supernet) -> None:
    check_extraction(net, 12)


@pytest.mark.slow
def test_extracted_equals_slice_bitwise_on_three_hundred_archs(net: Supernet) -> None:
    check_extraction(net, 300)


def test_flops_are_those_torch_counts(net: Supernet) -> None:
    x = batch(net.shape, 1)
    for arch in archs(net.space, 6):
        alone = extract(net, arch)
        seen = counted(partial(alone, x))
        assert network_cost(net.space.frame, net.shape, arch).flops == seen, arch.to_json()


def test_rank_and_sparsity_have_one_meaning(net: Supernet) -> None:
    for arch in archs(net.space, 6):
        profile = network_profile(net.space.frame, net.shape, arch)
        assert 0 <= profile["sparsity"] <= 1 and profile["rank"] >= 0


def test_gradients_are_zero_outside_the_corner(net: Supernet) -> None:
    arch = net.space.smallest()
    net.zero_grad()
    net(batch(net.shape), arch).square().mean().backward()
    small = dict(extract(net, arch).net.named_parameters())
    touched = 0
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            continue
        gradient = parameter.grad.clone()
        if name in small:
            gradient[tuple(map(slice, small[name].shape))] = 0
            touched += 1
        assert not gradient.any(), name
    assert touched == len(small)


def test_order_of_calls_does_not_matter(net: Supernet) -> None:
    x = batch(net.shape)
    one, other = net.space.largest(), net.space.smallest()
    with torch.no_grad():
        first = net(x, one)
        net(x, other)
        assert torch.equal(net(x, one), first)
        assert torch.equal(net(x, pickle.loads(pickle.dumps(one))), first)


def test_two_threads_share_one_supernet(net: Supernet) -> None:
    x = batch(net.shape, 1)
    chosen = archs(net.space, 2)
    with torch.no_grad():
        alone = [net(x, arch) for arch in chosen]
    assert not differing_in_threads(net, x, chosen, alone)


@pytest.mark.parametrize("share", ["family", "none"])
def test_extraction_holds_for_other_sharing(share: str) -> None:
    torch.manual_seed(0)
    check_extraction(Supernet(shipped("lm_small"), TEXT, sharing=Sharing(share)).eval(), 4)  # type: ignore[arg-type]


def test_causal_networks_do_not_see_the_future() -> None:
    torch.manual_seed(0)
    net = Supernet(shipped("lm_small"), TEXT).eval()
    x = batch(TEXT, 1)
    changed = x.clone()
    changed[:, 50:] = (changed[:, 50:] + 1) % 256
    with torch.no_grad():
        for arch in archs(net.space, 10):
            assert torch.equal(net(x, arch)[:, :50], net(changed, arch)[:, :50]), arch.to_json()


def test_a_space_of_another_domain_is_refused() -> None:
    with pytest.raises(ArchError, match="domain 'causal' and the data is 'image'"):
        Supernet(shipped("lm_tiny"), DIGITS)


def test_an_arch_of_another_space_is_refused() -> None:
    net = Supernet(shipped("digits_tiny"), DIGITS)
    with pytest.raises(ArchError, match="not in space 'digits_tiny'"):
        extract(net, shipped("lm_tiny").largest())
