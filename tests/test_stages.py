import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas import stages
from nas.arch import Arch
from nas.errors import ConfigError
from nas.profiling import Timing
from nas.space import sample
from nas.supernet import Supernet
from nas.tasks import Metric
from nas.train import RetrainConfig
from tests.spaces import DIGITS, shipped

QUALITIES = (0.5, 0.9, 0.7, 0.6, 0.95)


def job(direction: Any, config: RetrainConfig) -> Any:
    """A front of five archs; the third is balanced and the fifth fell off the front once measured."""
    space, rng = shipped("digits_tiny"), random.Random(0)
    archs = [sample(space, rng) for _ in QUALITIES]
    rows = [
        {
            "arch": arch.to_dict(),
            "digest": arch.digest,
            "measured": {"quality_val": quality, "latency_ms": float(i)},
            "is_front": i != 4,
            "is_knee": i == 2,
        }
        for i, (arch, quality) in enumerate(zip(archs, QUALITIES, strict=True))
    ]
    task = SimpleNamespace(metric=Metric("quality", direction))
    return SimpleNamespace(front=rows, settings=SimpleNamespace(retrain=config), task=task)


def chosen(made: Any) -> list[int]:
    known = [row["digest"] for row in made.front]
    return [known.index(arch.digest) for arch in stages._chosen(made)]


@pytest.mark.parametrize(("direction", "order"), [("maximise", [1, 2, 3, 0]), ("minimise", [0, 2, 3, 1])])
def test_winners_are_the_best_the_balanced_then_the_others_once_each(direction: str, order: list[int]) -> None:
    for count in range(1, 8):
        assert chosen(job(direction, RetrainConfig(count=count))) == order[:count]


def test_winners_may_be_named() -> None:
    made = job("maximise", RetrainConfig())
    digest = made.front[4]["digest"]
    assert chosen(job("maximise", RetrainConfig(archs=(digest,)))) == [4]
    with pytest.raises(ConfigError, match="must be of the front"):
        chosen(job("maximise", RetrainConfig(archs=("beef",))))


@pytest.mark.parametrize("speed", [1.0, 0.5, 2.0])
def test_a_front_is_measured_at_the_pace_of_the_table(speed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = Supernet(shipped("digits_tiny"), DIGITS)
    true = {arch.digest: 1.0 + i for i, arch in enumerate([net.space.smallest(), net.space.largest()])}
    usual = 4.0  # what the reference net takes in the table; today the machine is `speed` times as fast

    def timed(_net: object, archs: list[Arch], _: object) -> tuple[list[Timing], Timing]:
        times = [ms / speed for ms in (*(true[arch.digest] for arch in archs), usual)]
        made = [Timing(median_ms=ms, low_ms=0.9 * ms, high_ms=1.1 * ms, repeats=9, clock="test") for ms in times]
        return made[:-1], made[-1]

    monkeypatch.setattr(stages.profiling, "measure", timed)
    rows = [SimpleNamespace(reference_ms=ms) for ms in (3.9, usual, 4.4)]
    made: Any = SimpleNamespace(net=net, measured=rows, settings=SimpleNamespace(profile=None))
    found = stages._measured(made, [net.space.smallest(), net.space.largest()])
    assert [ms for ms, _ in found] == pytest.approx([1.0, 2.0])
    assert [spread for _, spread in found] == pytest.approx([0.2, 0.4])
