import subprocess
import sys
from typing import Any

import pytest

from nas.searching.chunks import MOST, Waiting
from nas.searching.executor import Task


def waiting(*points: Any, order: Any = None, timeout_s: float | None = None) -> Waiting:
    made = Waiting(2, order, timeout_s)
    made.add([Task(point) for point in points])
    return made


def taken(jobs: Any) -> list[Any]:
    return [job.task.point for job in jobs]


@pytest.mark.parametrize(("seconds", "size"), [(1.0, 1), (0.04, 1), (0.03, 2), (0.0049, 15), (1e-6, MOST)])
def test_chunks_last_about_as_long_whatever_the_speed(seconds: float, size: int) -> None:
    queue = waiting()
    assert queue.size == 1
    queue.learn([seconds] * 10_000)
    assert queue.size == size


def test_chunks_grow_with_what_is_known() -> None:
    queue, sizes = waiting(), []
    for _ in range(6):
        queue.learn([1e-6] * 64)
        sizes.append(queue.size)
    assert sizes == [2, 4, 6, 8, 10, 12]


def test_chunks_are_short_beside_the_limit_of_one_evaluation() -> None:
    queue = waiting(timeout_s=0.1)
    queue.learn([0.0049] * 10_000)
    assert queue.size == 5


def test_suspects_travel_alone() -> None:
    queue = waiting(*"abcdef")
    jobs = queue.take(3)
    jobs[1].is_alone = True
    queue.put_back(jobs)
    assert [taken(queue.take(4)) for _ in range(3)] == [["a"], ["b"], ["c", "d", "e", "f"]]
    assert len(queue) == 0


def test_a_chunk_is_sorted_as_the_scorer_likes() -> None:
    assert taken(waiting(3, 1, 2, 0, order=sorted).take(3)) == [1, 2, 3]


def test_workers_keep_memory_that_evaluations_free_where_the_c_library_can() -> None:
    code = "from nas.searching.allocator import keep_freed_memory; print(keep_freed_memory())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() in ("True", "False")
