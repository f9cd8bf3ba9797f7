"""Zero-cost proxies against a closed form and against finite differences."""

import random

import pytest
import torch

from nas.arch import Arch, StageArch
from nas.data import DataConfig, Dataset, load
from nas.ranking.proxy import proxies, synflow
from nas.space import sample
from nas.supernet import Supernet
from nas.supernet.stem import example_inputs
from nas.tasks import of
from nas.train.batches import batch_index
from tests.spaces import DIGITS, SHAPES, shipped

EMPTY = Arch((StageArch(24, ()),))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig(name="digits")).searchable()


def alone(arch: Arch, name: str = "digits_tiny") -> Supernet:
    return Supernet(shipped(name).only(arch), SHAPES[name])


def test_synflow_without_blocks_is_what_flows_through_stem_and_head() -> None:
    net = alone(EMPTY)
    weights = {name: value.detach().double().abs() for name, value in net.named_parameters()}
    patch = weights["stem.embed.weight"].flatten(1).sum(1) + weights["stem.embed.bias"]
    hidden = patch + weights["stem.position"].mean(0)
    through = (weights["head.out.weight"] @ hidden).sum()
    # R is linear in the stem and in the head's weights, so each of the two layers carries all that flows through both
    expected = 2 * through + weights["head.out.bias"].sum()
    assert synflow(net, EMPTY, torch.zeros(1, 1, 8, 8)) == pytest.approx(float(expected), rel=1e-9)


def test_gradient_proxies_are_those_of_finite_differences(digits: Dataset) -> None:
    net, task = alone(EMPTY), of(digits)
    found = proxies(net, EMPTY, task, digits.train, batch_size=8, seed=3)
    exact = alone(EMPTY).double()
    exact.load_state_dict(net.state_dict())
    inputs, targets = task.prepare(digits.train, batch_index(len(digits.train), 8, 3, 0), torch.device("cpu"))

    def nats() -> float:
        rows = torch.log_softmax(exact(inputs.double(), EMPTY), dim=-1)
        return -float(rows[torch.arange(8), targets].mean())

    norm = salient = 0.0
    with torch.no_grad():
        for weights in exact.parameters():
            flat, slopes = weights.view(-1), []
            for i in range(len(flat)):
                before = flat[i].item()
                ends = []
                for moved in (before + 1e-5, before - 1e-5):
                    flat[i] = moved
                    ends.append(nats())
                flat[i] = before
                slopes.append((ends[0] - ends[1]) / 2e-5)
            norm += float(torch.tensor(slopes).norm())
            salient += float((torch.tensor(slopes) * flat).abs().sum())
    assert found["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert found["snip"] == pytest.approx(salient, rel=1e-4)


def test_the_net_is_left_as_it_is(digits: Dataset) -> None:
    arch = shipped("digits_tiny").largest()
    net = alone(arch)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, again = (proxies(net, arch, of(digits), digits.train, batch_size=8, seed=0) for _ in range(2))
    assert first == again and set(first) == {"synflow", "grad_norm", "snip"}
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    other = proxies(net, arch, of(digits), digits.train, batch_size=8, seed=1)
    assert other["grad_norm"] != first["grad_norm"] and other["synflow"] == first["synflow"]


def test_synflow_counts_more_where_there_is_more() -> None:
    space = shipped("digits_tiny")
    small, large = (synflow(alone(a), a, torch.zeros(1, *_shape())) for a in (space.smallest(), space.largest()))
    assert 0 < small < large


@pytest.mark.parametrize("name", ["vit_small", "lm_small", "pyramid_small", "recall_small"])
def test_every_space_has_a_flow(name: str) -> None:
    rng, space = random.Random(0), shipped(name)
    archs = [space.smallest(), *(sample(space, rng) for _ in range(2))]
    for arch in archs:
        assert synflow(alone(arch, name), arch, example_inputs(SHAPES[name], 2, 0)) > 0


def _shape() -> tuple[int, int, int]:
    return DIGITS.channels, DIGITS.height, DIGITS.width
