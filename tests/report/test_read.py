"""Reading run folders that are broken, huge or meant to do harm: what cannot be read is named, the rest is there."""

import operator
import os
from pathlib import Path

import pytest

from nas.report import files, points
from nas.report.read import JSON_BYTES, LOG_BYTES, Reader, number, read
from nas.run import Run
from nas.train import weights_digest
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


def test_a_reader_reads_on_and_says_the_same_as_one_that_starts_anew(run: Run) -> None:
    reader, log = Reader(run), run.log("search/main/archive.jsonl")
    rows = log.rows()
    assert reader.read() == read(run)
    for row in rows[:3]:
        log.append(row)
        run.record({"figure": row["seconds"]})
        run.log("supernet/log.jsonl").append({"step": 1000})
        assert reader.read() == read(run)
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    assert len(reader.read().evaluated) == 2


def test_a_reader_parses_nothing_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(run)
    first = reader.read()
    monkeypatch.setattr(files, "value", lambda *_: pytest.fail("a value was read again"))
    monkeypatch.setattr(points, "points_of", lambda rows, _: pytest.fail("rows again") if list(rows) else ([], 0))
    again = reader.read()
    assert again == first and all(map(operator.is_, again.evaluated, first.evaluated))


def test_a_link_out_of_the_run_folder_is_left_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"secret": 1}')
    (run.path / "summary.json").unlink()
    (run.path / "summary.json").symlink_to(tmp_path / "secret.json")
    record = read(run)
    assert record.summary == {} and record.skipped == ("summary.json: leads out of the run folder, left out",)


def test_the_digest_of_the_weights_is_that_of_the_checkpoint(run: Run) -> None:
    assert read(run).supernet == ""
    run.file("supernet/weights.safetensors").write_bytes(b"weights" * 1000)
    assert read(run).supernet == weights_digest(run)
