"""One Ray for the whole file: starting it is what costs."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.errors import ArchError, ConfigError, NasError
from nas.journal import Log
from nas.searching import cluster, crew, strategies
from nas.searching.archive import Archive, Evaluation
from nas.searching.engine import search
from nas.searching.executor import Scored, Task, too_long
from nas.searching.objectives import Objective
from nas.searching.problem import Problem
from nas.searching.settings import RayConfig
from nas.searching.workers import RayExecutor
from nas.space import as_space
from tests.searching.conftest import space_of
from tests.searching.ray_toys import SPACE, Brittle, Broken, Picky, Sorted, Told, plain
from tests.searching.toys import Toy

OBJECTIVES = (Objective("cost"), Objective("gain", "maximise"))


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Any]:
    ray = cluster.import_ray()
    cluster.connect(ray, 8, RayConfig(resources={"slot": 0.25}))
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def points() -> list[Any]:
    problem = Problem(as_space(SPACE), OBJECTIVES)
    return list(strategies.get("random")(problem, seed=1).ask(400))


@pytest.fixture(scope="module")
def executor(local_ray: Any, points: list[Any]) -> Iterator[RayExecutor]:
    executor = RayExecutor(Brittle(poison=points[-1].digest, sleep_s=0.002), 2, RayConfig(retries=1))
    yield executor
    executor.close()
    assert local_ray.is_initialized()


def finish(executor: RayExecutor, points: list[Any]) -> list[Scored]:
    """Scores the points with never more of them under way than there is room for."""
    results, waiting, end = [], list(points), time.monotonic() + 60
    while waiting or executor.pending:
        now, waiting = waiting[: executor.room], waiting[executor.room :]
        executor.submit([Task(point) for point in now])
        results += executor.collect(10)
        assert time.monotonic() < end
    return results


def widen(executor: RayExecutor, points: list[Any], room: int) -> None:
    """Scores the points until the executor has learnt that they are quick enough for so much room."""
    end = time.monotonic() + 60
    while executor.room < room:
        finish(executor, points)
        assert time.monotonic() < end


def go(path: Path, executor: RayExecutor, budget: int) -> list[Evaluation]:
    problem = Problem(as_space(SPACE), OBJECTIVES)
    archive = Archive(Log(path / "archive.jsonl"), problem.space)
    try:
        return search(problem, strategies.get("random")(problem, first=12), executor, archive, budget=budget)
    finally:
        archive.close()


def test_tasks_wait_for_actors_that_have_started(local_ray: Any, points: list[Any]) -> None:
    executor = RayExecutor(Brittle(sleep_s=0.01), 3, RayConfig(resources={"slot": 1}))
    try:
        assert (executor.capacity, executor.room) == (6, 2)
        assert executor.collect() == []
        executor.submit([Task(point) for point in points[1:3]])
        assert (executor.pending, executor.room) == (2, 0)
        start = time.monotonic()
        assert executor.collect(0.01) == []
        assert time.monotonic() - start < 1
        # two slots, three workers: the third never starts, and nothing waits for it
        results = finish(executor, points[1:40])
        assert {result.point for result in results} == set(points[1:40])
        assert len({result.values["pid"] for result in results}) <= 2
    finally:
        executor.close()


def test_every_point_once_on_one_thread_also_when_resumed(executor: RayExecutor, tmp_path: Path) -> None:
    first = go(tmp_path, executor, 9)
    found = go(tmp_path, executor, 16)
    assert found[:9] == first
    assert len({e.point for e in found}) == len(found) == 16
    assert len([row for row in Log(tmp_path / "archive.jsonl").rows() if "digest" in row]) == 16
    assert all(e.values["gain"] == plain(e.point)["gain"] for e in found)
    assert {e.values["threads"] for e in found} == {1.0}


def test_fast_scorers_get_chunks(executor: RayExecutor, points: list[Any]) -> None:
    results = finish(executor, points[:-1])
    assert {result.point for result in results} == set(points[:-1])
    assert executor.room > executor.capacity == 4


def test_a_killed_worker_is_replaced_and_its_points_asked_again(
    local_ray: Any, executor: RayExecutor, points: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    victim, other = executor.actors
    executor.submit([Task(point) for point in points[1:5]])
    local_ray.kill(victim)
    results = finish(executor, points[5:9])
    assert {result.point for result in results} == set(points[1:9])
    assert not [result for result in results if result.error]
    assert executor.actors[0] != victim
    assert executor.actors[1] == other
    assert "lost and will be replaced" in capsys.readouterr().err


def test_poison_in_a_chunk_is_found_and_the_others_are_scored(executor: RayExecutor, points: list[Any]) -> None:
    widen(executor, points[:100], 8)
    results = finish(executor, [*points[300:303], points[-1], *points[303:320]])
    assert len(results) == 21
    bad = [result for result in results if result.error]
    assert [result.point for result in bad] == [points[-1]]
    assert "its worker died 2 times: The actor is dead because" in bad[0].error


def test_an_evaluation_that_hangs_is_ended(local_ray: Any, points: list[Any]) -> None:
    executor = RayExecutor(Brittle(hang=points[5].digest), 2, timeout_s=0.5)
    try:
        results = finish(executor, points[:12])
    finally:
        executor.close()
    assert {result.point for result in results} == set(points[:12])
    assert [(r.point, r.error, r.seconds) for r in results if r.error] == [(points[5], too_long(0.5), 0.5)]


def test_chunks_go_in_the_scorers_order_and_results_stay_with_their_points(local_ray: Any, points: list[Any]) -> None:
    executor = RayExecutor(Sorted(), 1)
    try:
        widen(executor, points[:200], 16)
        executor.submit([Task(point) for point in points[200:208]])
        results = [result for _ in range(8) for result in executor.collect()]
    finally:
        executor.close()
    turns = sorted(results, key=lambda result: result.values["turn"])
    assert all(result.values["cost"] == plain(result.point)["cost"] for result in results)
    assert [result.point["a"] for result in turns] == sorted(point["a"] for point in points[200:208])


def test_environment_and_errors_that_are_the_users(local_ray: Any, points: list[Any]) -> None:
    executor = RayExecutor(Told("NAS_TOLD"), 1, RayConfig(num_cpus=0.5, env_vars={"NAS_TOLD": "7"}))
    assert finish(executor, points[:1])[0].values == {"told": 7.0}
    executor.close()
    picky = RayExecutor(Picky(), 1)
    with pytest.raises(ArchError, match="not one of ours"):
        finish(picky, points[:1])
    picky.close()


def test_objectives_that_do_not_travel(local_ray: Any, points: list[Any]) -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot be pickled \(.*\): make it of functions and plain data, or set"):
        RayExecutor(lambda _: {"gain": float(lock.locked())}, 1)
    executor = RayExecutor(Broken(), 1)
    with pytest.raises(NasError, match="could not load the objective: .*no weights on this machine"):
        finish(executor, points[:1])
    executor.close()


def test_a_cluster_without_what_workers_ask_for_is_named(
    local_ray: Any, points: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crew, "PATIENCE_S", 0.2)
    executor = RayExecutor(plain, 1, RayConfig(num_gpus=0.25, resources={"unobtainium": 1}))
    executor.submit([Task(points[0])])
    for _ in range(3):
        assert executor.collect(0.2) == []
    executor.close()
    assert "each asks for CPU 1, GPU 0.25, unobtainium 1, and the cluster has CPU 8, " in capsys.readouterr().err


def test_a_program_inside_ray_uses_that_ray(local_ray: Any, tmp_path: Path) -> None:
    def trial() -> int:
        executor = RayExecutor(plain, 1)
        try:
            return len(go(tmp_path, executor, 20))
        finally:
            executor.close()

    assert local_ray.get(local_ray.remote(num_cpus=0)(trial).remote()) == 20


def test_archs_of_a_search_space_go_the_same_way(local_ray: Any) -> None:
    problem = Problem(as_space(space_of()), (Objective("accuracy", "maximise"),))
    executor = RayExecutor(Toy(), 2)
    archs = strategies.get("random")(problem).ask(12)
    results = finish(executor, archs)
    executor.close()
    assert {r.point: r.values["accuracy"] for r in results} == {a: Toy()(a)["accuracy"] for a in archs}
