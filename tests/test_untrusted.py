"""What others wrote is read within limits: nothing outside, nothing that waits, so many bytes at a time."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from nas.journal import Log
from nas.untrusted import Tail, UnreadableError, content, opened, value


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log.jsonl")


def test_a_log_is_read_on_from_where_it_was_read_last(log: Log) -> None:
    tail = Tail(log.path.parent, "log.jsonl")
    assert tail.more() == []
    log.append({"a": 1})
    assert tail.more() == [{"a": 1}]
    log.append({"a": 2})
    assert (tail.more(), tail.more(), tail.starts) == ([{"a": 2}], [], 1)


def test_no_more_than_so_many_bytes_at_a_time(log: Log) -> None:
    with log.locked() as session:
        session.write([{"a": i} for i in range(100)])
    tail, seen = Tail(log.path.parent, "log.jsonl", most=200), []
    for _ in range(100):
        rows = tail.more()
        assert len(rows) <= 11
        seen += rows
    assert seen == [{"a": i} for i in range(100)] and tail.is_over and not tail.damaged


def test_a_torn_last_line_waits_for_its_end(log: Log) -> None:
    log.append({"a": 1})
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[:9])
    tail = Tail(log.path.parent, "log.jsonl")
    assert (tail.more(), tail.more(), tail.damaged) == ([{"a": 1}], [], 0)
    with log.path.open("ab") as stream:
        stream.write(whole[9:])
    assert (tail.more(), tail.damaged) == ([{"a": 1}], 0)


def test_damaged_lines_and_endless_ones_are_left_out(log: Log) -> None:
    log.append({"a": 1})
    with log.path.open("ab") as stream:
        stream.write(b"00000000 {}\n" + b"x" * 1000 + b"\n\xff\xfe\n")
    log.append({"a": 2})
    tail, seen = Tail(log.path.parent, "log.jsonl", most=100), []
    for _ in range(30):
        seen += tail.more()
    assert (seen, tail.damaged) == ([{"a": 1}, {"a": 2}], 3)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_log_that_is_cut_or_replaced_is_read_anew(log: Log, is_replaced: bool) -> None:
    log.append({"a": 1})
    log.append({"a": 2})
    tail = Tail(log.path.parent, "log.jsonl")
    assert len(tail.more()) == 2
    if is_replaced:
        log.path.rename(log.path.with_name("old"))
    else:
        os.truncate(log.path, 0)
    log.append({"b": 1})
    assert (tail.more(), tail.starts) == ([{"b": 1}], 2)


def test_a_row_nested_too_deeply_with_a_right_checksum_is_damaged(log: Log) -> None:
    text = "[" * 100_000 + "]" * 100_000
    log.path.write_text(f"{hashlib.sha256(text.encode()).hexdigest()[:8]} {text}\n")
    tail = Tail(log.path.parent, "log.jsonl")
    assert (tail.more(), tail.damaged) == ([], 1)


def test_a_link_leads_nowhere_but_inside(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret.json").write_text("1")
    (tmp_path / "run" / "inside.json").write_text("2")
    for name, target in (("out.json", "../secret.json"), ("away.json", "/etc/passwd"), ("in.json", "inside.json")):
        (tmp_path / "run" / name).symlink_to(target)
    (tmp_path / "run" / "folder").symlink_to(tmp_path)
    assert value(tmp_path / "run", "in.json", 10) == 2
    for name in ("out.json", "away.json", "folder/secret.json", "../secret.json"):
        with pytest.raises(UnreadableError, match="leads out of the run folder"):
            opened(tmp_path / "run", name)


def test_pipes_and_folders_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UnreadableError, match="not a plain file"):
            opened(tmp_path, name)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**40)
    with pytest.raises(UnreadableError, match="1,099,511,627,776 bytes, left out since at most 1,000 are read"):
        content(tmp_path, "huge", 1000)


@pytest.mark.parametrize("text", ["{torn", "[" * 100_000, "9" * 5000, "\udcff"])
def test_a_value_that_cannot_be_parsed_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "value.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UnreadableError, match="damaged"):
        value(tmp_path, "value.json", 2**20)
    (tmp_path / "value.json").write_text(json.dumps({"a": 1}))
    assert value(tmp_path, "value.json", 2**20) == {"a": 1}
