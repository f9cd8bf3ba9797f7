import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.following import following
from nas.journal import Log, Row


def test_rows_are_given_while_the_log_grows_and_all_of_them_at_the_end(tmp_path: Path) -> None:
    log, seen = Log(tmp_path / "log.jsonl"), []
    log.append({"a": 0})
    with following(tmp_path, "log.jsonl", {"test": seen.extend}, every_s=0.02):
        log.append({"a": 1})
        end = time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert seen == [{"a": 0}, {"a": 1}]
        log.append({"a": 2})
    assert seen == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_a_taker_that_fails_is_let_go_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(rows: Sequence[Row]) -> None:
        raise OSError("disk full")

    log, seen = Log(tmp_path / "log.jsonl"), []
    with following(tmp_path, "log.jsonl", {"one": fail, "two": seen.extend}, every_s=0.01):
        log.append({"a": 0})
        time.sleep(0.05)
        log.append({"a": 1})
    assert seen == [{"a": 0}, {"a": 1}]
    assert capsys.readouterr().err == "one: OSError: disk full; nothing more is written there\n"


def test_an_interruption_inside_still_gives_what_there_was(tmp_path: Path) -> None:
    log, seen = Log(tmp_path / "log.jsonl"), []
    with pytest.raises(KeyboardInterrupt), following(tmp_path, "log.jsonl", {"test": seen.extend}):
        log.append({"a": 0})
        raise KeyboardInterrupt
    assert seen == [{"a": 0}]


def test_without_takers_nothing_is_read(tmp_path: Path) -> None:
    with following(tmp_path, "log.jsonl", {}):
        pass
