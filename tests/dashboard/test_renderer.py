"""The process that makes pages: what it reads may end it, and never the server."""

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from nas.dashboard.making import Job, Readers
from nas.dashboard.renderer import Renderer, RenderError
from nas.run import Run


def payload(folder: Path) -> Job:
    return Job("payload", (folder,), "/run/x")


def test_a_killed_process_is_replaced(full: Path, renderer: Renderer) -> None:
    before = json.loads(gzip.decompress(renderer(payload(full / "first"))))
    first = renderer.process
    assert first is not None
    os.kill(first, 9)
    time.sleep(0.1)
    assert json.loads(gzip.decompress(renderer(payload(full / "first")))) == before
    assert renderer.process not in (None, first)


def test_what_takes_too_long_is_given_up(full: Path) -> None:
    hasty = Renderer(timeout_s=0.05)
    with pytest.raises(RenderError, match=r"took more than 0.05 s and was given up"):
        hasty(payload(full / "first"))
    assert hasty.process is None


def test_memory_is_limited(full: Path) -> None:
    tight = Renderer(most_bytes=60 * 2**20)
    with pytest.raises(RenderError):
        tight(payload(full / "first"))
    tight.close()


def test_a_process_that_has_grown_is_ended_after_its_work(tmp_path: Path) -> None:
    run = Run.at(tmp_path / "run")
    run.write_json("run.json", {})
    grown = Renderer(grown_bytes=1)
    assert gzip.decompress(grown(payload(run.path)))
    assert grown.process is None
    grown.close()


def test_a_run_that_was_removed_is_an_empty_one_or_said_to_be_gone(tmp_path: Path, renderer: Renderer) -> None:
    assert json.loads(gzip.decompress(renderer(payload(tmp_path / "gone"))))["explorer"] is None
    assert not (tmp_path / "gone").exists()


def test_readers_of_the_runs_asked_for_last_are_kept(tmp_path: Path) -> None:
    readers = Readers(most=2)
    first = readers.of(tmp_path / "a")
    readers.of(tmp_path / "b")
    assert readers.of(tmp_path / "a") is first
    readers.of(tmp_path / "c")
    assert readers.of(tmp_path / "a") is first
