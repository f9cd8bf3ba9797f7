import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas import report, winners
from nas.arch import Arch
from nas.data import DataConfig, Dataset, load
from nas.data.contract import Examples
from nas.errors import CheckpointError, ConfigError
from nas.job import Job
from nas.profiling import Timing
from nas.report.summary import meaning
from nas.run import Run
from nas.settings import RunConfig
from nas.space import preset, references, sample
from nas.supernet import Supernet
from nas.tasks import Metric, of
from nas.train import RetrainConfig, TrainConfig, evaluate
from nas.train.trainer import Trainer
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
    return [known.index(arch.digest) for arch in winners.chosen(made)]


@pytest.mark.parametrize(("direction", "order"), [("maximise", [1, 2, 3, 0]), ("minimise", [0, 2, 3, 1])])
def test_winners_are_the_best_the_balanced_then_the_others_once_each(direction: str, order: list[int]) -> None:
    for count in range(1, 8):
        assert chosen(job(direction, RetrainConfig(count=count))) == order[:count]


def test_winners_are_the_best_by_what_the_search_expected_of_them() -> None:
    made = job("maximise", RetrainConfig(count=4))
    for row, expected in zip(made.front, (0.8, 0.7, 0.6, 0.9, 0.1), strict=True):
        row["measured"]["standalone"] = expected
    assert chosen(made) == [3, 2, 0, 1]


def test_winners_may_be_named() -> None:
    made = job("maximise", RetrainConfig())
    digest = made.front[4]["digest"]
    assert chosen(job("maximise", RetrainConfig(archs=(digest,)))) == [4]


def test_an_arch_off_the_front_may_be_named_if_it_was_evaluated(tmp_path: Path) -> None:
    space, run = shipped("digits_tiny"), Run.at(tmp_path)
    front, seen, drawn = (sample(space, random.Random(i)) for i in range(3))
    for name, arch in (("archive", seen), ("random", drawn)):
        run.log(f"search/main/{name}.jsonl").append({"arch": arch.to_dict(), "digest": arch.digest})
    rows = [{"arch": front.to_dict(), "digest": front.digest}]

    def asking(*digests: str) -> Any:
        settings = SimpleNamespace(retrain=RetrainConfig(archs=digests), search=SimpleNamespace(name="main"))
        return SimpleNamespace(front=rows, settings=settings, run=run)

    assert winners.chosen(asking(drawn.digest, front.digest, seen.digest)) == [drawn, front, seen]
    with pytest.raises(ConfigError, match=rf"that search main evaluated.*{front.digest}.*got beef"):
        winners.chosen(asking(seen.digest, "beef"))


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

    monkeypatch.setattr(winners.profiling, "measure", timed)
    rows = [SimpleNamespace(reference_ms=ms) for ms in (3.9, usual, 4.4)]
    made: Any = SimpleNamespace(net=net, measured=rows, settings=SimpleNamespace(profile=None))
    found = winners.measured(made, [net.space.smallest(), net.space.largest()])
    assert [ms for ms, _ in found] == pytest.approx([1.0, 2.0])
    assert [spread for _, spread in found] == pytest.approx([0.2, 0.4])


@pytest.fixture
def digits() -> Dataset:
    whole = load(DataConfig(name="digits"))
    kept = {name: getattr(whole, name) for name in ("val", "held_out")}
    return replace(whole, **{name: Examples(p.inputs[:40], p.targets[:40]) for name, p in kept.items()})


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The archs that were measured, by call; each takes 7 ms."""
    calls: list[list[str]] = []

    def measured(_: Job, archs: list[Arch]) -> list[tuple[float, float]]:
        calls.append([arch.digest for arch in archs])
        return [(7.0, 0.5)] * len(archs)

    monkeypatch.setattr(winners, "measured", measured)
    return calls


def searched(folder: Path, digits: Dataset, **retrain: Any) -> Job:
    """A run with a front of two archs, the better of which is its winner."""
    torch.manual_seed(0)
    space = shipped("digits_tiny")
    settings: Any = SimpleNamespace(
        run=RunConfig(dir=str(folder)),
        train=TrainConfig(steps=3, batch_size=8, threads=1),
        retrain=RetrainConfig(**{"count": 1, **retrain}),
        search=SimpleNamespace(name="main"),
    )
    made = Job(Run.at(folder), settings)
    made.__dict__.update(space=space, dataset=digits, task=of(digits), table_name="profile/table.json")
    made.__dict__["net"] = Supernet(space, digits.shape).eval()
    rows = [
        {
            "arch": arch.to_dict(),
            "digest": arch.digest,
            "measured": {"quality_val": quality, "latency_ms": quality, "latency_spread_ms": 0.1},
            "is_front": True,
            "is_knee": False,
        }
        for arch, quality in ((preset(space, "all_linear"), 0.5), (space.anchors()["convolution"], 0.9))
    ]
    made.run.write_json("search/main/front.json", rows)
    return made


def results(made: Job) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in made.run.path.glob("retrain/*/result.json")}


def test_references_are_trained_and_timed_beside_the_winners(
    tmp_path: Path, digits: Dataset, timed: list[list[str]]
) -> None:
    made = searched(tmp_path, digits, references=("all_softmax", "all_linear"), seeds=(0, 1))
    winners.retrain_all(made)
    winner, plain, linear = (
        made.space.anchors()["convolution"],
        preset(made.space, "all_softmax"),
        preset(made.space, "all_linear"),
    )
    found = results(made)
    assert set(found) == {arch.digest for arch in (winner, plain, linear)}
    assert {digest: row["references"] for digest, row in found.items()} == {
        winner.digest: [],
        plain.digest: ["all_softmax"],
        linear.digest: ["all_linear"],
    }
    assert all(row["seeds"] == [0, 1] and row["val_std"] is not None for row in found.values())
    # what is on the front was timed with it
    assert timed == [[plain.digest]]
    assert [digest for digest, row in found.items() if row["is_winner"]] == [winner.digest]
    assert [found[arch.digest]["latency_ms"] for arch in (winner, plain, linear)] == [0.9, 7.0, 0.5]
    assert found[plain.digest]["params"] > found[winner.digest]["params"] > 0
    summary = made.run.read_json("summary.json")
    assert summary[f"retrain.{plain.digest}.seeds"] == 2
    assert all(meaning(name) for name in summary if name.startswith("retrain."))
    text = report.alone_table(made.run)
    assert "reference all_softmax" in text and "reference all_linear" in text and "winner " in text and "7.000" in text


def test_a_second_call_trains_and_times_nothing_and_keeps_the_names(
    tmp_path: Path, digits: Dataset, timed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"references": ("all_softmax",)}
    made = searched(tmp_path, digits, **asked)
    winners.retrain_all(made)
    before = results(made)
    monkeypatch.setattr(Trainer, "step", None)
    winners.retrain_all(searched(tmp_path, digits, **asked))
    winners.retrain_all(searched(tmp_path, digits))
    assert results(made) == before and len(timed) == 1
    other = searched(tmp_path, digits, **asked)
    other.__dict__["table_name"] = "profile/another.json"
    winners.retrain_all(other)
    assert len(timed) == 2, "on another device, or under another workload, times are others"


def test_more_seeds_keep_names_and_times(tmp_path: Path, digits: Dataset, timed: list[list[str]]) -> None:
    made = searched(tmp_path, digits, references=("all_softmax",))
    winners.retrain_all(made)
    winners.retrain_all(searched(tmp_path, digits, references=("all_softmax",), seeds=(0, 1)))
    row = results(made)[preset(made.space, "all_softmax").digest]
    assert (row["seeds"], row["references"], row["latency_ms"], len(timed)) == ([0, 1], ["all_softmax"], 7.0, 1)


def test_what_a_kill_leaves_is_whole(
    tmp_path: Path, digits: Dataset, timed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, plain, begun = searched(tmp_path, digits, references=("all_softmax", "all_window")), Trainer.step, []

    def step(self: Trainer, number: int) -> Any:
        begun.append(number)
        if begun.count(0) == 3:
            raise KeyboardInterrupt
        return plain(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        winners.retrain_all(made)
    found = results(made)
    assert {name for row in found.values() for name in row["references"]} == {"all_softmax"}
    assert sorted(row["is_winner"] for row in found.values()) == [False, True]


def test_settings_are_compared_before_anything_is_trained(
    tmp_path: Path, digits: Dataset, timed: list[list[str]]
) -> None:
    winners.retrain_all(searched(tmp_path, digits))
    before = results(searched(tmp_path, digits))
    with pytest.raises(CheckpointError, match="retrained with other settings .teacher none"):
        winners.retrain_all(searched(tmp_path, digits, teacher="largest", references=("all_softmax",)))
    assert results(searched(tmp_path, digits)) == before and not timed


def test_unknown_references_are_refused_with_those_there_are(tmp_path: Path, digits: Dataset) -> None:
    made = searched(tmp_path, digits, references=("all_softmx",))
    with pytest.raises(ConfigError, match="retrain.references: .*all_linear, all_softmax.*'all_softmx'.*levit_like: "):
        winners.named(made)
    everything = winners.named(searched(tmp_path, digits, references=("all", "all_softmax")))
    assert [name for names in everything.values() for name in names] == list(references(made.space))


def test_an_export_takes_the_best_seed(tmp_path: Path, digits: Dataset, timed: list[list[str]]) -> None:
    made = searched(tmp_path, digits, seeds=(0, 1, 2))
    winner = made.space.anchors()["convolution"]
    assert winners.retrained(made, winner) is None
    winners.retrain_all(made)
    net = winners.retrained(made, winner)
    assert net is not None
    best = max(row["val"] for row in results(made)[winner.digest]["runs"])
    assert evaluate(net, winner, made.task, digits.val) == best
