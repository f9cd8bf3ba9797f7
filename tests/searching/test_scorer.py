"""Scores with reuse equal plain ones bit for bit, whatever is kept and in whatever order archs come."""

import itertools
import math
import pickle
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.arch import Arch
from nas.data.contract import Dataset, Examples
from nas.searching.scorer import SupernetScorer, enough
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import mutate, sample
from nas.supernet import Supernet
from nas.tasks import of
from nas.train import evaluate
from nas.train import scores as both_scores
from tests.spaces import DIGITS, FASHION, shipped

EXAMPLES, BATCH = 11, 4
SPACES: dict[str, TaskShape] = {
    "digits_tiny": DIGITS,
    "lm_small": TokenShape(vocab=256, tokens=40, classes=256),
    "pyramid_small": ImageShape(channels=1, height=12, width=12, classes=10),
}


def examples(shape: TaskShape, count: int) -> Examples:
    generator = torch.Generator().manual_seed(count)
    if isinstance(shape, ImageShape):
        size = (count, shape.channels, shape.height, shape.width)
        images = torch.randint(256, size, generator=generator, dtype=torch.uint8)
        return Examples(images, torch.randint(shape.classes, (count,), generator=generator))
    tokens = torch.randint(shape.vocab, (count, shape.tokens + 1), generator=generator, dtype=torch.uint8)
    return Examples(tokens[:, :-1], tokens[:, 1:])


def scorer_of(name: str) -> SupernetScorer:
    shape, train = SPACES[name], examples(SPACES[name], 16)
    kind = "classification" if isinstance(shape, ImageShape) else "language"
    data = Dataset(
        name=name, task=kind, shape=shape, train=train, val=examples(shape, EXAMPLES + 5), held_out=None, digest=""
    )
    torch.manual_seed(0)
    net = Supernet(shipped(name), shape)
    for parameter in net.parameters():  # no gain or shift may hide a mistake by being one or zero
        nn.init.normal_(parameter, std=0.2)
    return SupernetScorer.of(net, of(data), data, batch_size=BATCH, limit=EXAMPLES)


@pytest.fixture(params=list(SPACES), scope="module")
def scorer(request: pytest.FixtureRequest) -> SupernetScorer:
    return scorer_of(request.param)


@pytest.fixture(scope="module")
def archs(scorer: SupernetScorer) -> list[Arch]:
    """Parents and two generations of their mutations, all widths and families in turn."""
    space, rng = scorer.net.space, random.Random(0)
    parents = [sample(space, rng) for _ in range(40)]
    children = [mutate(space, arch, rng, rate=0.08) for arch in parents]
    grandchildren = [mutate(space, arch, rng, rate=0.08) for arch in children]
    return [*parents, *children, *grandchildren]


@pytest.fixture(scope="module")
def wanted(scorer: SupernetScorer, archs: list[Arch]) -> list[float]:
    return [plain(scorer, arch) for arch in archs]


def plain(scorer: SupernetScorer, arch: Arch, limit: int | None = EXAMPLES) -> float:
    return evaluate(scorer.net, arch, scorer.task, scorer.val, batch_size=scorer.batch_size, limit=limit)


def scores(scorer: SupernetScorer, archs: list[Arch]) -> list[float]:
    return [scorer(arch)[scorer.task.metric.name] for arch in archs]


def fresh(scorer: SupernetScorer, **changes: int | None) -> SupernetScorer:
    return replace(scorer, **changes)  # type: ignore[arg-type]


def test_scores_equal_plain_ones(scorer: SupernetScorer, archs: list[Arch], wanted: list[float]) -> None:
    assert len(archs) >= 100
    ours = fresh(scorer)
    assert scores(ours, archs) == wanted
    assert ours.desk.hits > 0.1 * ours.desk.steps
    assert scores(ours, archs[::-1]) == wanted[::-1]


@pytest.mark.parametrize("cache_bytes", [0, 1, 100_000, 1_000_000])
def test_nor_does_what_is_dropped_matter(
    scorer: SupernetScorer, archs: list[Arch], wanted: list[float], cache_bytes: int
) -> None:
    ours = fresh(scorer, cache_bytes=cache_bytes)
    chosen = list(zip(archs, wanted, strict=True))[::2]
    for arch, value in chosen:
        assert scores(ours, [arch]) == [value]
        assert ours.desk.used <= cache_bytes
    assert ours.desk.states.peak + ours.desk.batches.peak <= cache_bytes
    assert cache_bytes < 1_000_000 or ours.desk.hits


def test_in_order_those_that_begin_alike_are_neighbours(
    scorer: SupernetScorer, archs: list[Arch], wanted: list[float]
) -> None:
    expected = dict(zip(archs, wanted, strict=True))
    mixed = random.Random(1).sample(archs, len(archs))
    ordered = scorer.order(mixed)
    assert sorted(a.digest for a in ordered) == sorted(a.digest for a in archs)
    assert scorer.order(archs) == ordered
    firsts = [(arch.stages[0].embed_dim, arch.stages[0].blocks[:1]) for arch in ordered]
    assert len(list(itertools.groupby(firsts))) == len(set(firsts))
    ours = fresh(scorer)
    assert scores(ours, ordered) == [expected[arch] for arch in ordered]


def test_it_travels_without_what_it_kept_and_without_examples_beyond_the_limit(
    scorer: SupernetScorer, archs: list[Arch], wanted: list[float]
) -> None:
    ours = fresh(scorer)
    bare = len(pickle.dumps(ours))
    assert scores(ours, archs[:20]) == wanted[:20]
    sent = pickle.dumps(ours)
    assert len(sent) == bare
    copy = pickle.loads(sent)
    assert len(copy.val) == EXAMPLES and copy.desk.used == 0
    assert scores(copy, archs[:20]) == wanted[:20]


def test_the_loss_comes_with_the_metric_if_asked_for(scorer: SupernetScorer, archs: list[Arch]) -> None:
    ours = replace(scorer, with_loss=True)
    part = scorer.val.take(torch.arange(EXAMPLES))
    for arch in archs[:12]:
        wanted = both_scores(scorer.net, arch, scorer.task, part, batch_size=scorer.batch_size)
        assert ours(arch) == wanted and set(wanted) == {scorer.task.metric.name, "loss"}
        inputs, targets = scorer.task.prepare(part, torch.arange(EXAMPLES), torch.device("cpu"))
        with torch.inference_mode():
            whole = scorer.task.loss(scorer.net(inputs, arch), targets)
        assert wanted["loss"] == pytest.approx(float(whole), rel=1e-5)
        assert set(scorer(arch)) == {scorer.task.metric.name}


def test_fidelity_is_a_share_of_the_examples(scorer: SupernetScorer, archs: list[Arch], wanted: list[float]) -> None:
    ours, metric = fresh(scorer), scorer.task.metric.name
    for arch, value in list(zip(archs, wanted, strict=True))[:24]:
        for fidelity in (0.01, 0.5, 0.8):
            assert ours(arch, fidelity)[metric] == plain(scorer, arch, math.ceil(fidelity * EXAMPLES))
        assert ours(arch, 1.0)[metric] == value
    for wrong in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="above 0 and up to 1, got"):
            ours(archs[0], wrong)


def test_a_part_that_was_scored_is_not_scored_again(scorer: SupernetScorer, archs: list[Arch]) -> None:
    ours, arch = fresh(scorer, cache_bytes=0), archs[0]
    ours(arch, 8 / EXAMPLES)
    steps = ours.desk.steps
    ours(arch)
    assert ours.desk.steps == steps // 2 * 3


@pytest.mark.parametrize(("batch_size", "limit"), [(3, 10), (16, None), (1, 2)])
def test_batches_need_not_divide_the_examples(
    scorer: SupernetScorer, archs: list[Arch], batch_size: int, limit: int | None
) -> None:
    ours = fresh(scorer, batch_size=batch_size, limit=limit)
    assert scores(ours, archs[::12]) == [plain(ours, arch, limit) for arch in archs[::12]]


def test_trained_weights_are_noticed() -> None:
    ours = scorer_of("digits_tiny")
    arch = ours.net.space.largest()
    scores(ours, [arch, arch])
    with torch.no_grad():
        for parameter in ours.net.parameters():
            parameter.mul_(-0.5)
    assert scores(ours, [arch]) == [plain(ours, arch)]
    assert not ours.net.training


def test_enough_examples_hold_enough_predictions() -> None:
    assert enough(FASHION) == 1_024  # an accuracy on a few dozen images would tell nothing apart
    assert [enough(TokenShape(vocab=9, tokens=tokens, classes=9)) for tokens in (128, 512, 4096)] == [192, 48, 48]
