"""The pieces of the supernet's recipe, each against what its paper says it does."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import operators, tasks
from nas.config import load as load_config
from nas.data import DataConfig, Dataset, load
from nas.errors import ConfigError
from nas.operators.lowrank import latent
from nas.run import Run
from nas.space import SearchSpace, load_space
from nas.supernet import Scales, Share, Sharing, Supernet, example_inputs, extract, network_cost
from nas.supernet.block import Block
from nas.train import TrainConfig, fit, gradients, supernet_trainer
from nas.train.average import Average
from nas.train.deal import Dealer
from nas.train.distill import CLIP, adaptive_alpha, kl
from nas.train.matching import _assign, match
from nas.train.order import reorder
from nas.train.plan import Alone, Sandwich
from nas.train.recipe import RecipeConfig, plain
from nas.train.trainer import Trainer
from tests.spaces import DIGITS, FASHION, SHAPES, TEXT, raw, shipped

EVERYTHING = RecipeConfig(
    largest_first=0.2,
    matching=0.2,
    ordered=True,
    opening=0.8,
    anchor="sampled",
    complexity_aware=True,
    distill="alpha",
    distill_start=0.5,
    conflict="project",
    ema=0.9,
    student_batch=0.5,
    teacher="dealt",
    depth_draws=2,
    smallest_every=3,
)


PRIVATE = {
    "all": ("mixers", "scales"),
    "family": ("mixers", "scales", "projections"),
    "none": ("mixers", "scales", "projections"),
}
"""Parts of a block that matching may train; never those that the largest arch's own operator uses."""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig(name="digits")).searchable()


def rows(seed: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sharpness * torch.randn(7, 5, dtype=torch.float64, generator=generator)


def alpha_divergence(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    """Of log-probabilities, by definition: (E_q[(p / q)^alpha] - 1) / (alpha (alpha - 1)), KL in the limit of 1."""
    if alpha == 1:
        return (p.exp() * (p - q)).sum(-1)
    return ((q.exp() * (alpha * (p - q)).exp()).sum(-1) - 1) / (alpha * (alpha - 1))


def test_alpha_divergence_has_value_and_gradient_of_the_larger_of_both() -> None:
    p = rows(0, 0.5).log_softmax(-1)
    student = rows(1, 0.5).requires_grad_()
    q = student.log_softmax(-1)
    assert float((q - p).abs().max().detach()) < torch.tensor(CLIP).log()  # nothing is clipped
    both = torch.stack([alpha_divergence(p, q, alpha) for alpha in (1.0, -1.0)])
    assert len(set(both.argmax(0).tolist())) == 2  # rows of either kind
    expected = both.max(0).values.mean()
    assert torch.allclose(adaptive_alpha(p, q), expected)
    (own,) = torch.autograd.grad(adaptive_alpha(p, student.log_softmax(-1)), student)
    (true,) = torch.autograd.grad(expected, student)
    assert torch.allclose(own, true)


def test_alpha_divergence_vanishes_at_the_teacher_and_stays_finite_far_from_it() -> None:
    p = rows(0).log_softmax(-1)
    assert float(adaptive_alpha(p, p)) == pytest.approx(0)
    student = rows(1, 60.0).requires_grad_()
    (slope,) = torch.autograd.grad(adaptive_alpha(rows(2, 60.0).log_softmax(-1), student.log_softmax(-1)), student)
    assert torch.isfinite(slope).all() and float(slope.abs().max()) <= CLIP / len(student) * 2
    assert float(kl(p, p)) == pytest.approx(0)


def test_projection_takes_out_what_opposes_and_nothing_else() -> None:
    one, other, absent = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, other.grad = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    largest: gradients.Gradients = [torch.tensor([-2.0, 3.0]), torch.tensor([0.0, 2.0]), torch.tensor([5.0, 5.0])]
    cosine = gradients.project([one, other, absent], largest)
    assert one.grad.tolist() == [1.0, 3.0]  # -2 along the other's gradient is gone
    assert other.grad.tolist() == [1.0, 3.0]
    assert absent.grad is not None and absent.grad.tolist() == [5.0, 5.0]
    assert cosine == pytest.approx((-2 + 2) / ((13 + 4) * (1 + 2)) ** 0.5)


def test_taken_gradients_leave_none() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    assert torch.equal(gradients.take([parameter])[0], torch.ones(2)) and parameter.grad is None  # type: ignore[arg-type]


def test_average_forgets_its_start_and_is_handed_over_whole() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    average = Average(net, 0.9)
    expected = net.weight.item()
    for t in range(1, 40):
        with torch.no_grad():
            net.weight.fill_(float(t))
        average.update(net)
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * t
    assert float(average.values["weight"]) == pytest.approx(expected, rel=1e-5)
    again = Average(torch.nn.Linear(1, 1, bias=False), 0.9)
    again.load(average.state())
    again.into(net)
    assert net.weight.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["digits_tiny", "lm_tiny", "vit_small", "pyramid_small"])
def test_sorting_keeps_what_the_largest_computes_and_puts_heavy_heads_first(name: str) -> None:
    torch.manual_seed(0)
    space, shape = shipped(name), SHAPES[name]
    net = Supernet(space, shape).double().eval()
    x = example_inputs(shape, 2, 0)
    x = x.double() if x.is_floating_point() else x
    before = net(x, space.largest())
    reorder(net)
    assert torch.allclose(net(x, space.largest()), before, atol=1e-9)
    for block in net.modules():
        if isinstance(block, Block) and block.ffn is not None:
            up, down = block.ffn.up.weight.detach(), block.ffn.down.weight.detach()
            norms = (torch.linalg.vector_norm(up, dim=1) * torch.linalg.vector_norm(down, dim=0)).tolist()
            gated = len(block.ffn.gate.weight) if block.ffn.gate is not None else 0
            for part in (norms[:gated], norms[gated:]):
                assert part == sorted(part, reverse=True)


def test_sorting_moves_the_optimisers_moments_along(digits: Dataset) -> None:
    space = shipped("digits_tiny")
    arch, task = space.largest(), tasks.of(digits)
    config = TrainConfig(steps=20, batch_size=8, threads=1, recipe=plain())
    losses = []
    for sorts in (False, True):
        torch.manual_seed(0)
        trainer = Trainer(Supernet(space, digits.shape), task, digits.train, Alone(arch), config, 0)
        seen = [trainer.step(step)["loss.largest"] for step in range(5)]
        if sorts:
            reorder(trainer.net, trainer.optimiser)
        losses.append([*seen, *(trainer.step(step)["loss.largest"] for step in range(5, 10))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_latents_begin_as_the_best_approximation_of_keys_and_values_at_every_rank() -> None:
    torch.manual_seed(0)
    values = raw("lm_small")
    values["stages"][0]["block"]["operators"] = {"softmax": {}, "latent": {"kv_rank": [4, 8, 16]}}
    values["stages"][0].pop("blocks")
    net = Supernet(load_space(values), TEXT)
    block = net.stages[0][0]  # type: ignore[index]
    assert isinstance(block, Block)
    shared, mixer = block.projections_of("softmax"), block.mixers["latent"]
    assert isinstance(mixer, latent.Mixer)
    assert shared.k is not None and shared.v is not None
    whole = torch.cat((shared.k.weight, shared.v.weight)).detach().reshape(-1, shared.k.weight.shape[-1])
    with torch.no_grad():
        mixer.inherit(shared)
    singular = torch.linalg.svdvals(whole)
    for rank in (4, 8, 16):
        up = torch.cat((mixer.up_k.weight, mixer.up_v.weight)).detach()[..., :rank].reshape(-1, rank)
        error = torch.linalg.norm(whole - up @ mixer.down.weight.detach()[:rank])
        assert float(error) == pytest.approx(float(singular[rank:].square().sum().sqrt()), rel=1e-3)


@pytest.mark.parametrize("share", ["all", "family", "none"])
def test_matching_trains_private_parts_alone_and_they_come_closer(share: Share) -> None:
    torch.manual_seed(0)
    net = Supernet(shipped("vit_small"), FASHION, sharing=Sharing(share))
    x = example_inputs(FASHION, 4, 0)
    figures = [match(net, x)]
    named = dict(net.named_parameters())
    touched = {name for name, parameter in named.items() if parameter.grad is not None}
    assert touched and all(any(f".{part}." in name for part in PRIVATE[share]) for name in touched)
    assert not any(f".{part}.softmax." in f"{name}." for name in touched for part in PRIVATE["none"])
    optimiser = torch.optim.Adam([named[name] for name in sorted(touched)], lr=1e-2)
    for _ in range(8):
        optimiser.step()
        optimiser.zero_grad()
        figures.append(match(net, x))
    for name in ("matching.depthwise", "matching.latent", "matching.linear"):
        assert figures[-1][name] < figures[0][name]
    assert "matching.reused_kv" not in figures[0]


def test_what_several_operators_share_is_fitted_to_all_of_them() -> None:
    shared, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    for factor in (2.0, 3.0):
        _assign((factor * shared).sum(), [shared, unused])
    assert shared.grad is not None and shared.grad.tolist() == [5.0, 5.0] and unused.grad is None


def test_there_is_nothing_to_match_where_the_largest_does_not_mix() -> None:
    torch.manual_seed(0)
    values = raw("digits_tiny")
    block = values["stages"][0]["block"]
    block["operators"] = {"none": {}, **block["operators"]}
    values["stages"][0].pop("blocks", None)
    net = Supernet(load_space(values), DIGITS)
    assert {block.operator.name for block in net.space.largest().blocks} == {"none"}
    assert match(net, example_inputs(DIGITS, 2, 0)) == {}


def flops_of(space: SearchSpace) -> Any:
    return lambda arch: network_cost(space.frame, SHAPES["vit_small"], arch).flops


def test_axes_open_one_after_another() -> None:
    space = shipped("vit_small")
    dealer = Dealer(space, 0)
    widest, deepest = space.stages[0].embed_dims[-1], space.stages[0].depths[-1]
    for opened in range(Dealer.GROUPS):
        archs = [dealer.deal(draw, opened) for draw in range(60)]
        assert all(arch in space for arch in archs)
        assert {arch.stages[0].embed_dim for arch in archs} == {widest}
        assert opened == 2 or {len(arch.blocks) for arch in archs} == {deepest}
        ffns = {block.ffn for arch in archs for block in arch.blocks}
        heads = {
            block.operator["num_heads"] for arch in archs for block in arch.blocks if "num_heads" in block.operator
        }
        kernels = {b.operator["kernel_size"] for a in archs for b in a.blocks if "kernel_size" in b.operator}
        assert (len(ffns) > 2) == (opened >= 2) and (len(heads) > 1) == (opened >= 2)
        assert (len(kernels) > 1) == (opened >= 1)
        assert dealer.smallest(opened) in space and dealer.smallest(opened) != space.smallest()
    assert dealer.smallest() == space.smallest()
    assert len({arch.stages[0].embed_dim for arch in (dealer.deal(draw) for draw in range(30))}) > 1


def test_complexity_aware_draws_have_neighbouring_flops() -> None:
    space = shipped("vit_small")
    flops = flops_of(space)

    def jump(dealer: Dealer) -> float:
        costs = [float(torch.log(torch.tensor(float(flops(dealer.deal(draw)))))) for draw in range(64)]
        return sum(abs(a - b) for a, b in zip(costs, costs[1:], strict=False)) / 63

    assert jump(Dealer(space, 0, flops=flops)) < 0.7 * jump(Dealer(space, 0))
    assert Dealer(space, 0, flops=flops).deal(9) == Dealer(space, 0, flops=flops).deal(9)


def test_drawn_operators_need_not_be_balanced() -> None:
    block = shipped("vit_small").stages[0].blocks[1]
    dealer = Dealer(shipped("vit_small"), 0, is_latin=False)
    turns = [dealer.operator(block, "0.1", draw) for draw in range(3 * len(block.names))]
    assert set(turns) <= set(block.names) and any(turns.count(name) != 3 for name in block.names)


def test_dealt_teachers_are_of_the_largest_size_and_have_every_operator_equally_often() -> None:
    space = shipped("vit_tiny")
    plan = Sandwich(space, 0, RecipeConfig(teacher="dealt", largest_first=0.1), steps=1000)
    assert {next(iter(plan(step))) for step in range(100)} == {space.largest()}
    names = space.stages[0].blocks[1].names
    # decks are whole between multiples of their length
    start = 100 + -100 % len(names)
    roles = [plan(step) for step in range(start, start + 3 * len(names))]
    teachers = [next(iter(step)) for step in roles]
    assert all(step[teacher] == "largest" for step, teacher in zip(roles, teachers, strict=True))
    assert Counter(arch.blocks[1].operator.name for arch in teachers) == dict.fromkeys(names, 3)
    stage, largest = space.stages[0], space.largest()
    for arch in teachers:
        assert arch in space and arch.stages[0].embed_dim == stage.embed_dims[-1]
        assert [block.ffn for block in arch.blocks] == [block.ffn for block in largest.blocks]
    assert plan(start) == Sandwich(space, 0, RecipeConfig(teacher="dealt"), steps=1000)(start)
    assert teachers != [next(iter(Sandwich(space, 1, RecipeConfig(teacher="dealt"))(start + i))) for i in range(27)]


def test_more_depth_draws_reach_late_blocks_more_often() -> None:
    space, draws = shipped("vit_tiny"), 300
    shares = []
    for depth_draws in (1, 2, 3):
        dealer = Dealer(space, 0, depth_draws=depth_draws)
        depths = Counter(len(dealer.deal(draw).blocks) for draw in range(draws))
        assert set(depths) == set(space.stages[0].depths)
        shares.append(depths[4] / draws)
    assert shares == pytest.approx([1 - 0.75**n for n in (1, 2, 3)], abs=0.08)


def test_a_random_arch_stands_in_for_a_smallest_one_that_has_a_rest() -> None:
    space = shipped("vit_tiny")
    plan = Sandwich(space, 0, RecipeConfig(smallest_every=4, anchor="none", teacher="dealt"), steps=100)
    roles = [Counter(plan(step).values()) for step in range(40)]
    assert all(role["smallest"] == (step % 4 == 0) for step, role in enumerate(roles))
    assert sum(role.total() for role in roles) >= 118  # of 120: two roles may have drawn the same arch
    names, seats = space.stages[0].blocks[0].names, Counter[str]()
    for step in range(40):
        seats.update(arch.blocks[0].operator.name for arch, role in plan(step).items() if role == "random")
    assert max(seats.values()) - min(seats.values()) <= 2, seats  # decks go on where the step before ended
    assert set(seats) == set(names)


@pytest.mark.parametrize("anchor", ["largest", "sampled", "none"])
def test_anchors_are_of_the_family_whose_turn_it_is(anchor: Any) -> None:
    space, steps = shipped("vit_small"), 40
    plan = Sandwich(space, 0, RecipeConfig(anchor=anchor, largest_first=0.25), steps)
    assert all(list(plan(step).values()) == ["largest"] for step in range(10))
    found = [(arch, role) for step in range(10, steps) for arch, role in plan(step).items()]
    assert all(arch in space for arch, _ in found)
    families = {role: arch for arch, role in found if role not in ("largest", "smallest", "random")}
    assert bool(families) == (anchor != "none")
    known = operators.families()
    for family, arch in families.items():
        offered = [b for b, s in zip(arch.blocks, space.stages[0].blocks, strict=False) if family_in(s.names, family)]
        assert all(known[block.operator.name] == family for block in offered)
    assert (set(families.values()) <= set(space.anchors().values())) == (anchor != "sampled")


def family_in(names: tuple[str, ...], family: str) -> bool:
    return any(operators.families().get(name) == family for name in names if name != "none")


@pytest.mark.parametrize("scales", ["operator", "block", "none"])
def test_subnets_of_every_kind_of_scale_extract_and_cost_the_same(scales: Scales) -> None:
    torch.manual_seed(0)
    space = shipped("digits_tiny")
    net = Supernet(space, DIGITS, sharing=Sharing("family", scales)).eval()
    x = example_inputs(DIGITS, 3, 0)
    for arch in (space.largest(), space.smallest(), *space.anchors().values()):
        alone = extract(net, arch)
        assert torch.equal(alone(x), net(x, arch))
        assert sum(p.numel() for p in alone.parameters()) == network_cost(space.frame, DIGITS, arch).params
    trained = {name for name, parameter in net.named_parameters() if "scales" in name and parameter.requires_grad}
    assert bool(trained) == (scales != "none")


@pytest.mark.parametrize("scales", ["operator", "block", "none"])
def test_branches_of_a_supernet_begin_small_and_those_of_a_network_alone_do_not(
    digits: Dataset, scales: Scales
) -> None:
    space = shipped("digits_tiny")
    config = TrainConfig(steps=1, recipe=RecipeConfig(layer_scale=scales, scale_start=0.25))
    net = supernet_trainer(space, digits, config, seed=0).net
    gains = {name: gain for name, gain in net.named_parameters() if "scale" in name}
    assert {name for name in gains if "ffn" not in name} != set()
    for name, gain in gains.items():
        assert torch.equal(gain, torch.full_like(gain, 0.25 if gain.requires_grad else 1.0)), name
    alone = net.narrowed(space.largest())
    assert all(torch.equal(gain, torch.ones_like(gain)) for name, gain in alone.named_parameters() if "scale" in name)


def test_everything_together_resumes_bitwise(tmp_path: Path, digits: Dataset) -> None:
    config = TrainConfig(steps=20, batch_size=8, threads=1, log_every=1, save_every_s=0.0, recipe=EVERYTHING)

    class Interrupted(Exception):
        pass

    def fresh() -> Trainer:
        return supernet_trainer(load_space(raw("digits_tiny")), digits, config, seed=0)

    def stop(at: int) -> Any:
        def on_log(row: dict[str, Any]) -> None:
            if row["step"] == at:
                raise Interrupted

        return on_log

    whole = fresh()
    fit(whole, Run.at(tmp_path / "whole"), "supernet")
    broken = Run.at(tmp_path / "broken")
    for at in (2, 6, 15):
        with pytest.raises(Interrupted):
            fit(fresh(), broken, "supernet", on_log=stop(at))
    resumed = fresh()
    fit(resumed, broken, "supernet")
    pairs = zip(whole.net.parameters(), resumed.net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    logged = Run.at(tmp_path / "whole").log("supernet/log.jsonl").rows()
    assert any("cosine" in row for row in logged) and any(key.startswith("matching.") for key in logged[5])


def test_the_average_starts_anew_once_heads_were_sorted(digits: Dataset) -> None:
    recipe = RecipeConfig(largest_first=0.5, ordered=True, ema=0.9)
    config = TrainConfig(steps=8, batch_size=8, threads=1, recipe=recipe)
    trainer = supernet_trainer(shipped("digits_tiny"), digits, config, seed=0)
    updates = []
    for step in range(6):
        trainer.step(step)
        assert trainer.average is not None
        updates.append(trainer.average.updates)
    assert updates == [1, 2, 3, 4, 1, 2]


def test_a_teacher_pulls_an_arch_alone_towards_its_output(digits: Dataset) -> None:
    space, task = shipped("digits_tiny"), tasks.of(digits)
    arch = space.smallest()
    wanted = torch.arange(10.0)
    config = TrainConfig(steps=30, batch_size=16, threads=1, lr=1e-2, recipe=plain(1.0))
    torch.manual_seed(0)
    net = Supernet(space.only(arch), digits.shape)
    trainer = Trainer(net, task, digits.train, Alone(arch), config, 0, teacher=lambda x: wanted.expand(len(x), 10))
    first, *_, last = (trainer.step(step)["loss.largest"] for step in range(30))
    assert last < first / 2


def test_recipes_that_make_no_sense_say_why() -> None:
    with pytest.raises(ConfigError, match="largest_first is 0: set largest_first"):
        load_config(RecipeConfig, {"ordered": True})
    with pytest.raises(ConfigError, match="anchor"):
        load_config(TrainConfig, {"recipe": {"anchor": "biggest"}})
    with pytest.raises(ConfigError, match="student_batch"):
        load_config(TrainConfig, {"recipe": {"student_batch": 0}})
