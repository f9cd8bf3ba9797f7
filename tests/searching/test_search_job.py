"""From an untrained supernet to the rows of a front, in this process."""

import ast
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import nas.searching
from nas.arch import Arch
from nas.config import load
from nas.data import DataConfig, Dataset
from nas.data import load as load_data
from nas.errors import ConfigError, InfeasibleError
from nas.run import Run
from nas.searching import (
    ConstraintsConfig,
    Evaluation,
    Objective,
    Outcome,
    Problem,
    SearchConfig,
    finish_front,
    run_search,
    strategies,
    summary,
    supernet_problem,
)
from nas.searching.objectives import Values
from nas.searching.scorer import SupernetScorer
from nas.supernet import Supernet
from nas.tasks import Task, of
from nas.train import evaluate, scores
from tests.searching.conftest import space_of
from tests.searching.toys import Toy

SETTINGS = {"budget": 20, "workers": 0, "first": 8, "batch": 4, "val_limit": 32, "random_share": 0.75}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_data(load(DataConfig, {"name": "digits", "val_size": 64})).searchable()


@pytest.fixture(scope="module")
def task(data: Dataset) -> Task:
    return of(data)


@pytest.fixture(scope="module")
def net(data: Dataset) -> Supernet:
    return Supernet(space_of(), data.shape)


def predict(archs: Sequence[Arch]) -> list[float]:
    return [1.0 + len(arch.blocks) * arch.stages[0].embed_dim for arch in archs]


def run(path: Path, net: Supernet, task: Task, data: Dataset, **settings: object) -> Outcome:
    config = load(SearchConfig, {**SETTINGS, **settings})
    problem = supernet_problem(net, task, predict, config, ConstraintsConfig())
    return run_search(Run.at(path), problem, net, task, data, config)


def scored(folder: Run, part: str) -> list[dict[str, Any]]:
    return [row for row in folder.log(f"search/main/{part}.jsonl").rows() if "arch" in row]


def test_a_search_leaves_what_the_run_folder_promises(tmp_path: Path, net: Supernet, task: Task, data: Dataset) -> None:
    outcome = run(tmp_path, net, task, data)
    folder = Run.at(tmp_path)
    assert len(scored(folder, "archive")) == len(outcome.evaluations) == 20
    assert len(scored(folder, "random")) == len(outcome.random) == 15
    assert sum(row.seconds == 0 for row in outcome.random) >= 8
    curves = folder.read_json("search/main/curve.json")
    assert [len(curves["search"]), len(curves["random"])] == [20, 15]
    arch = outcome.evaluations[3]
    assert arch.values["accuracy"] == evaluate(net, arch.point, task, data.val, limit=32)
    again = run(tmp_path, net, task, data)
    assert again.evaluations == outcome.evaluations


def test_a_search_by_loss_knows_the_metric_too(tmp_path: Path, net: Supernet, task: Task, data: Dataset) -> None:
    outcome = run(tmp_path, net, task, data, objectives=["loss", "latency_ms"])
    assert [objective.name for objective in outcome.problem.objectives] == ["loss", "latency_ms"]
    part = data.val.take(torch.arange(32))
    for row in outcome.evaluations[:5]:
        found = scores(net, row.point, task, part, batch_size=16)
        assert {name: row.values[name] for name in ("accuracy", "loss")} == pytest.approx(found, rel=1e-6)
    rows = finish_front(
        outcome.problem,
        outcome.evaluations,
        metric="accuracy",
        measure=lambda archs: [(ms, 0.1) for ms in predict(archs)],
        rescore=lambda archs: [scores(net, arch, task, data.val) for arch in archs],
    )
    kept = [row["measured"] for row in rows if row["is_front"]]
    assert all(row["quality_val"] == row["accuracy"] for row in kept)
    losses = [row["loss"] for row in kept]
    assert losses == sorted(losses, reverse=True), "cheapest first, and each dearer one loses less"


def expected(arch: Arch, values: Values) -> float:
    return 0.5 * values["accuracy"] + 0.01 * values["loss"] + 0.1 * len(arch.blocks)


def test_a_search_by_what_is_expected_alone(tmp_path: Path, net: Supernet, task: Task, data: Dataset) -> None:
    config = load(SearchConfig, {**SETTINGS, "objectives": ["standalone", "latency_ms"]})
    problem = supernet_problem(net, task, predict, config, ConstraintsConfig())
    assert problem.objectives[0] == Objective("standalone", "maximise")
    outcome = run_search(Run.at(tmp_path), problem, net, task, data, config, expect=expected)
    part = data.val.take(torch.arange(32))
    for row in outcome.evaluations[:5]:
        found = scores(net, row.point, task, part, batch_size=16)
        assert row.values["standalone"] == pytest.approx(expected(row.point, found), rel=1e-6)
    best = max(outcome.evaluations, key=lambda row: row.values["standalone"])
    assert best.point in [row.point for row in outcome.front]
    scorer = SupernetScorer.of(net, task, data, limit=32).expecting(expected)
    assert pickle.loads(pickle.dumps(scorer))(best.point)["standalone"] == pytest.approx(best.values["standalone"])


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_search_by_loss_keeps_to_a_bound_on_the_metric(
    tmp_path: Path, net: Supernet, task: Task, data: Dataset, strategy: str
) -> None:
    config = load(SearchConfig, {**SETTINGS, "strategy": strategy, "objectives": ["loss", "latency_ms"]})
    limits = ConstraintsConfig(accuracy=0.05)
    problem = supernet_problem(net, task, predict, config, limits)
    outcome = run_search(Run.at(tmp_path), problem, net, task, data, config)
    assert len(outcome.evaluations) == 20
    assert all(row.values["accuracy"] >= 0.05 for row in outcome.front)


def test_the_front_is_judged_by_what_was_measured(problem: Problem) -> None:
    archs = strategies.get("random")(problem).ask(60)
    values = [{**known, **Toy()(arch)} for arch, known in zip(archs, problem.cheap(archs), strict=True)]
    found = [Evaluation(point=a, values=v, origin="x", seconds=0.1) for a, v in zip(archs, values, strict=True)]
    slow = max(found, key=lambda row: row.values["accuracy"]).point
    rows = finish_front(
        problem,
        found,
        metric="accuracy",
        measure=lambda archs: [(1e6 if arch == slow else 1.0 + len(arch.blocks), 0.5) for arch in archs],
        rescore=lambda archs: [{"accuracy": 0.01} if arch == slow else Toy()(arch) for arch in archs],
        cap=5,
    )
    assert len(rows) == 5
    times = [row["measured"]["latency_ms"] for row in rows]
    assert times == sorted(times)
    assert [(row["digest"], row["is_front"]) for row in rows][-1] == (slow.digest, False)
    assert [row["is_front"] for row in rows if row["is_knee"]] == [True]
    assert set(rows[0]["measured"]) == {"latency_ms", "latency_spread_ms", "quality_val", "accuracy"}
    assert rows[0]["values"]["accuracy"] == Toy()(Arch.from_dict(rows[0]["arch"]))["accuracy"]
    outcome = Outcome(problem, found, found[:20])
    figures = summary(outcome, rows, "accuracy")
    assert (figures["search.evaluations"], figures["search.duplicates"]) == (60, 0)
    assert figures["search.front.size"] == sum(row["is_front"] for row in rows)
    assert figures["search.evaluations_to_random"] <= 20 and "search.front.violations" not in figures
    bounded = summary(outcome, rows, "accuracy", 1e3)
    assert (bounded["search.front.measured"], bounded["search.front.violations"]) == (5, 1)


def test_problems_are_refused_before_long_work(net: Supernet, task: Task) -> None:
    config = load(SearchConfig, SETTINGS)
    with pytest.raises(ConfigError, match="needs a latency predictor: run `nas profile` and `nas fit` first"):
        supernet_problem(net, task, None, config, ConstraintsConfig())
    limits = load(ConstraintsConfig, {"latency_ms": 1.2})
    assert supernet_problem(net, task, predict, config, limits, upper=predict).founders
    with pytest.raises(
        InfeasibleError, match="latency_ms at 90% confidence <= 1.2: the cheapest has latency_upper_ms 1.5"
    ):
        supernet_problem(net, task, predict, config, limits, upper=lambda archs: [1.5 * ms for ms in predict(archs)])


def test_workers_get_no_test_split(net: Supernet, task: Task, data: Dataset) -> None:
    scorer = SupernetScorer.of(net, task, data)
    assert scorer.val is data.val
    assert not any(isinstance(value, Dataset) for value in vars(scorer).values())
    for file in Path(str(nas.searching.__file__)).parent.rglob("*.py"):
        names = {n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)}
        assert not names & {"test", "held_out"}, file
