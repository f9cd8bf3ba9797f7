"""Reading run folders that are broken, huge or meant to do harm: what cannot be read is named, the rest is there."""

import os
from pathlib import Path

import pytest

from nas.report.read import JSON_BYTES, LOG_BYTES, number, read
from nas.run import Run
from tests.report.synthetic import full_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return full_run(tmp_path / "run", count=8)


@pytest.mark.parametrize(("name", "limit"), [("profile/card.json", JSON_BYTES), ("supernet/log.jsonl", LOG_BYTES)])
def test_a_huge_file_is_left_out_unread(run: Run, name: str, limit: int) -> None:
    os.truncate(run.path / name, 2**40)  # a sparse file: a terabyte that takes no room
    record = read(run)
    assert record.skipped == (f"{name}: {2**40:,} bytes, left out since at most {limit:,} are read",)
    assert len(record.evaluated) == 8


def test_a_value_nested_too_deeply_is_named(run: Run) -> None:
    run.file("summary.json").write_text("[" * 200_000 + "]" * 200_000)
    record = read(run)
    assert [line.split(":")[0] for line in record.skipped] == ["summary.json"]
    assert record.summary == {}
    assert record.front


@pytest.mark.parametrize("name", ["run.json", "supernet/log.jsonl"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(run: Run, name: str) -> None:
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    assert read(run).skipped == (f"{name}: not a plain file, left out",)


def test_numbers_that_no_float_holds_are_none() -> None:
    assert [number(value) for value in (10**400, float("inf"), float("nan"), True, "1")] == [None] * 5
    assert number(3) == 3.0


def test_blocks_that_occur_again_are_shared_and_archs_unchanged(run: Run) -> None:
    log = run.log("search/main/archive.jsonl").rows()
    evaluated = read(run).evaluated
    assert [point.arch.to_dict() for point in evaluated] == [row["arch"] for row in log]
    blocks = [block for point in evaluated for block in point.arch.blocks]
    assert len({id(block) for block in blocks}) == len(set(blocks)) < len(blocks)
