"""One Ray and two actors for the whole file: starting them is what costs."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Arch
from nas.errors import ConfigError
from nas.run import Run
from nas.searching import strategies, workers
from nas.searching.archive import Archive, Evaluation
from nas.searching.engine import search
from nas.searching.problem import Problem
from nas.searching.workers import RayExecutor
from tests.searching.conftest import OBJECTIVES
from tests.searching.toys import Brittle, Toy, is_slow


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Any]:
    ray = workers.import_ray()
    workers.connect(ray, 2, None)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def poison(space: Any, cheap: Any) -> Arch:
    problem = Problem(space, OBJECTIVES, (), cheap)
    return strategies.get("random")(problem, seed=1, first=12, batch=8).ask(12)[-1]


@pytest.fixture(scope="module")
def executor(local_ray: Any, poison: Arch) -> Iterator[RayExecutor]:
    executor = RayExecutor(Brittle(poison.digest), 2, retries=1)
    yield executor
    executor.close()
    assert local_ray.is_initialized()


def go(problem: Problem, path: Path, executor: RayExecutor, budget: int, seed: int = 0) -> list[Evaluation]:
    archive = Archive(Run.at(path).log("archive.jsonl"), problem.space)
    strategy = strategies.get("random")(problem, seed=seed, first=12, batch=8)
    return search(problem, strategy, executor, archive, budget=budget)


def test_backpressure(executor: RayExecutor, problem: Problem) -> None:
    assert executor.room == 4
    assert executor.collect() == []
    for arch in strategies.get("random")(problem).ask(4):
        executor.submit(arch)
    assert (executor.room, executor.pending) == (0, 4)
    results = [result for _ in range(4) for result in executor.collect()]
    assert len(results) == 4
    assert executor.pending == 0


def test_every_arch_once_on_one_thread_also_when_resumed(
    executor: RayExecutor, problem: Problem, tmp_path: Path
) -> None:
    first = go(problem, tmp_path, executor, 9)
    found = go(problem, tmp_path, executor, 16)
    assert found[:9] == first
    assert len({e.arch for e in found}) == len(found) == 16
    assert len(Run.at(tmp_path).log("archive.jsonl").rows()) == 16
    assert all(e.values["accuracy"] == Toy()(e.arch)["accuracy"] for e in found)
    assert {e.values["threads"] for e in found} == {1.0}


def test_a_killed_worker_is_replaced_and_its_archs_asked_again(
    local_ray: Any, executor: RayExecutor, problem: Problem
) -> None:
    slow = (arch for arch in strategies.get("random")(problem).ask(100) if is_slow(arch))
    archs, (victim, other) = list(itertools.islice(slow, 4)), executor.actors
    for arch in archs:
        executor.submit(arch)
    local_ray.kill(victim)
    results = []
    while executor.pending:
        results += executor.collect()
    assert {result.arch for result in results} == set(archs)
    assert not [result for result in results if result.error]
    assert executor.actors[0] != victim
    assert executor.actors[1] == other


def test_an_arch_that_kills_every_worker_is_recorded_as_failed(
    executor: RayExecutor, problem: Problem, tmp_path: Path, poison: Arch
) -> None:
    found = go(problem, tmp_path, executor, 24, seed=1)
    assert len({e.arch for e in found}) == 24
    assert [e.arch for e in found if e.error] == [poison]
    assert "its worker died 2 times" in next(e.error for e in found if e.error)


class Refusing:
    """A Ray that takes over SIGTERM, as the real one does, and then does not start."""

    def init(self, **_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise ConnectionError("nobody there\nsecond line")


@pytest.mark.parametrize("address", ["auto", "nonsense", "127.0.0.1:1", "127.0.0.1:99999", "ray://127.0.0.1:1"])
def test_address_without_a_cluster(address: str) -> None:
    told = f"address='{address}' needs a running Ray cluster and none answers there \\(.*: start one with"
    with pytest.raises(ConfigError, match=told):
        workers.connect(Refusing(), 2, address)


def test_a_machine_on_which_ray_does_not_start() -> None:
    with pytest.raises(ConfigError, match=r"did not start \(nobody there\): search.workers=0"):
        workers.connect(Refusing(), 2, None)


def test_termination_stays_the_programs_own() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(ConfigError):
            workers.connect(Refusing(), 2, None)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
