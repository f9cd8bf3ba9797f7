"""Standalone results are shared by what they depend on, survive kills and are never made twice."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data import DataConfig, Dataset, load
from nas.ranking import RankConfig, alone
from nas.ranking.alone import Recipe, Standalone
from nas.run import Run
from nas.train import RecipeConfig, RetrainConfig, TrainConfig, evaluate, fit, standalone
from tests.spaces import shipped

SPACE = shipped("digits_tiny")
ARCH = SPACE.smallest()
TRAIN = TrainConfig(steps=6, batch_size=8, save_every_s=0.0, log_every=1)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig(name="digits", val_size=50)).searchable()


def recipe(data: Dataset, config: RankConfig | None = None, **changed: Any) -> Recipe:
    return Recipe.of(config or RankConfig(), replace(TRAIN, **changed), data, SPACE.frame)


@pytest.fixture
def table(tmp_path: Path, digits: Dataset) -> Standalone:
    return Standalone(Run.at(tmp_path / "standalone"), recipe(digits))


def test_only_what_changes_a_result_is_in_the_hash(digits: Dataset) -> None:
    known = recipe(digits).digest
    for same in ({"threads": 2}, {"log_every": 7}, {"save_every_s": 9.0}, {"recipe": RecipeConfig(share="none")}):
        assert recipe(digits, **same).digest == known, same
    others = [
        {"steps": 7},
        {"lr": 1e-4},
        {"batch_size": 9},
        {"weight_decay": 0.0},
        {"clip": 2.0},
        {"precision": "bf16"},
    ]
    digests = {recipe(digits, **other).digest for other in others}
    digests |= {recipe(load(DataConfig(name="digits", seed=1)).searchable()).digest, known}
    digests.add(
        Recipe.of(RankConfig(), TRAIN, digits, replace(SPACE.frame, stem=replace(SPACE.frame.stem, patch=4))).digest
    )
    assert len(digests) == len(others) + 3
    own = RankConfig(steps=7, batch_size=9, lr=0.5)
    assert recipe(digits, own).digest == recipe(digits, steps=7, batch_size=9, lr=0.5).digest


def test_a_result_is_that_of_retraining_from_scratch(table: Standalone, digits: Dataset, tmp_path: Path) -> None:
    from nas.supernet import Supernet
    from nas.tasks import of

    row = table.train(SPACE, ARCH, 3, digits)
    net = Supernet(SPACE, digits.shape)
    config = RetrainConfig(start="scratch", steps=6, lr=TRAIN.lr)
    trainer = standalone(net, ARCH, digits, config, TRAIN, seed=3)
    fit(trainer, Run.at(tmp_path / "by_hand"), "alone")
    assert row["value"] == evaluate(trainer.net, ARCH, of(digits), digits.val)
    assert row["metric"] == "accuracy" and set(row["proxies"]) == {"synflow", "grad_norm", "snip"}
    assert table.rows() == {(ARCH.digest, 3): row} and table.done(ARCH.digest, 3) == 1.0


def test_a_training_that_goes_on_from_a_supernet_is_that_supernets_alone(
    table: Standalone, digits: Dataset, tmp_path: Path
) -> None:
    from nas.supernet import Supernet
    from nas.tasks import of

    torch.manual_seed(9)
    net = Supernet(SPACE, digits.shape)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    short = Standalone(table.folder, table.recipe.shortened(4, "one"))
    row = short.train(SPACE, ARCH, 3, digits, net)
    training = replace(TRAIN, steps=4)
    trainer = standalone(net, ARCH, digits, RetrainConfig(start="inherited"), training, seed=3)
    fit(trainer, Run.at(tmp_path / "by_hand"), "alone")
    assert row["value"] == evaluate(trainer.net, ARCH, of(digits), digits.val)
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert short.rows() == {(ARCH.digest, 3): row}
    others = [table.recipe.shortened(4, start) for start in (None, "another")]
    assert all(Standalone(table.folder, other).rows() == {} for other in (*others, table.recipe))


def test_another_run_finds_it_and_trains_nothing(
    table: Standalone, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = table.train(SPACE, ARCH, 0, digits)
    monkeypatch.setattr(alone, "fit", None)  # any call would fail
    other = Standalone(table.folder, recipe(digits, recipe=RecipeConfig(share="none"), threads=1))
    assert other.train(SPACE, ARCH, 0, digits) == row
    assert Standalone(table.folder, recipe(digits, lr=0.5)).rows() == {}
    assert not list(table.folder.path.rglob("state.pt")), "a finished training needs no state"


def test_a_killed_training_goes_on(table: Standalone, digits: Dataset, tmp_path: Path) -> None:
    whole = Standalone(Run.at(tmp_path / "other"), table.recipe).train(SPACE, ARCH, 1, digits)
    config = RetrainConfig(start="scratch", steps=6, lr=TRAIN.lr)
    from nas.supernet import Supernet

    half = standalone(Supernet(SPACE.only(ARCH), digits.shape), ARCH, digits, config, TRAIN, seed=1)
    place = f"{table.recipe.digest}/{ARCH.digest}-1"
    fit(half, table.folder, place, until=4)
    assert table.done(ARCH.digest, 1) == pytest.approx(4 / 6) and not table.rows()
    row = table.train(SPACE, ARCH, 1, digits)
    assert {**row, "seconds": 0} == {**whole, "seconds": 0}
    assert [logged["step"] for logged in table.folder.log(f"{place}/log.jsonl").rows()] == list(range(6)), "none twice"


def test_a_kill_between_training_and_its_row_costs_no_step(
    table: Standalone, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> float:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(alone, "evaluate", kill)
        with pytest.raises(Killed):
            table.train(SPACE, ARCH, 0, digits)
    assert not table.rows()
    table.train(SPACE, ARCH, 0, digits)
    logged = table.folder.log(f"{table.recipe.digest}/{ARCH.digest}-0/log.jsonl").rows()
    assert [row["step"] for row in logged] == list(range(6))


def test_two_at_the_same_training_make_it_once(table: Standalone, digits: Dataset) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(table.train(SPACE, ARCH, 0, digits))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table.log.rows()) == 1 and found[0] == found[1]


def test_a_diverged_training_is_known_to_have_no_value(
    table: Standalone, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "evaluate", lambda *_, **__: float("nan"))
    assert table.train(SPACE, ARCH, 0, digits)["value"] is None
    assert torch.isfinite(torch.tensor(table.rows()[ARCH.digest, 0]["proxies"]["grad_norm"]))
