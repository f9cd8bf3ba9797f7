"""Several processes give the training of one, and lose nothing but time when one of them is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas import data
from nas.config import load
from nas.errors import ConfigError
from nas.run import Run
from nas.searching.cluster import connect, import_ray
from nas.searching.settings import RayConfig
from nas.supernet import Supernet
from nas.teamwork import TeamConfig, check_team, train_together
from nas.train import RecipeConfig, TrainConfig, train_supernet
from nas.train.team import Team
from tests.spaces import raw

# Ray Train copies all settings of Ray Data, those too that Ray itself calls outdated
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")

RECIPE = RecipeConfig(conflict="project", project_from=0.5, distill="alpha", distill_start=0.25, ema=0.9)
DIGITS = data.DataConfig(name="digits")


def config(**changes: Any) -> TrainConfig:
    settings = {"steps": 12, "batch_size": 16, "threads": 1, "log_every": 1, "save_every_s": 0.0, "recipe": RECIPE}
    return TrainConfig(**{**settings, **changes})


@pytest.fixture
def ray() -> Iterator[Any]:
    found = import_ray()
    connect(found, 2, RayConfig())
    yield found
    found.shutdown()


def trained(run: Run, cfg: TrainConfig, **more: Any) -> Supernet:
    return train_supernet(run, raw("digits_tiny"), data.load(DIGITS), cfg, seed=0, **more)


def curve(run: Run) -> dict[int, dict[str, float]]:
    return {row["step"]: row for row in run.log("supernet/log.jsonl").rows()}


def check_same(one: Run, other: Run, nets: tuple[Supernet, Supernet], tolerance: float = 1e-4) -> None:
    pairs = [(row[key], curve(other)[step][key]) for step, row in curve(one).items() for key in row]
    assert len(curve(one)) == len(curve(other)) and len(pairs) > 12
    assert all(a == pytest.approx(b, abs=tolerance) for a, b in pairs)
    weights = zip(*(net.parameters() for net in nets), strict=True)
    assert all(torch.allclose(a, b, atol=tolerance) for a, b in weights)


def test_a_part_is_every_so_manieth_row_and_leading_rows_stay_leading() -> None:
    batch = torch.arange(8)
    parts = [Team(rank, 2).part(batch) for rank in range(2)]
    assert sorted(torch.cat(parts).tolist()) == batch.tolist()
    assert sorted(torch.cat([part[:2] for part in parts]).tolist()) == [0, 1, 2, 3]
    assert [Team(rank, 2).leads for rank in range(2)] == [True, False]


def test_one_alone_exchanges_nothing() -> None:
    values = torch.ones(3)
    Team().average([values])
    assert values.tolist() == [1, 1, 1] and Team().mean({"loss": 2.0}) == {"loss": 2.0}


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of team.workers.*got 16 and 3: change one"):
        check_team(config(), TeamConfig(workers=3))
    check_team(config(), TeamConfig(workers=4))
    with pytest.raises(ConfigError, match="export such variables"):
        load(TeamConfig, {"ray": {"env_vars": {"A": "1"}}})


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(tmp_path: Path, ray: Any) -> None:
    runs = Run.at(tmp_path / "one"), Run.at(tmp_path / "two")
    seen: list[dict[str, Any]] = []

    def together() -> None:
        train_together(runs[1], raw("digits_tiny"), DIGITS, config(), TeamConfig(workers=2), seed=0, on_log=seen.append)

    nets = trained(runs[0], config()), trained(runs[1], config(), together=together)
    check_same(*runs, nets)
    assert [row["step"] for row in seen] == list(range(12))


@pytest.mark.slow
def test_a_killed_process_costs_time_alone(tmp_path: Path, ray: Any) -> None:
    cfg = config(steps=40)
    runs = Run.at(tmp_path / "whole"), Run.at(tmp_path / "killed")
    killed: list[int] = []

    def kill() -> None:
        while len(curve(runs[1])) < 10:
            time.sleep(0.05)
        killed.append(one_member())
        os.kill(killed[0], signal.SIGKILL)

    def together(run: Run) -> None:
        train_together(run, raw("digits_tiny"), DIGITS, cfg, TeamConfig(workers=2), seed=0)

    def disturbed() -> None:
        threading.Thread(target=kill, daemon=True).start()
        together(runs[1])

    nets = trained(runs[0], cfg, together=lambda: together(runs[0])), trained(runs[1], cfg, together=disturbed)
    assert killed
    check_same(*runs, nets, tolerance=1e-7)  # the same two processes: not even rounding differs


def one_member() -> int:
    """A process of Ray Train on this machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in name:
            return int(folder.name)
    raise AssertionError("no process of Ray Train is running")
