import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from nas.presence import FILE, at_work, presence


def _work_for_ever(folder: Path, told: "multiprocessing.synchronize.Event") -> None:
    with at_work(folder, "search"):
        told.set()
        signal.pause()


def test_a_stage_is_seen_while_it_goes_on_and_when_it_has_ended(tmp_path: Path) -> None:
    assert presence(tmp_path) is None
    with at_work(tmp_path, "train"):
        seen = presence(tmp_path)
        assert seen is not None and (seen.stage, seen.state) == ("train", "running")
    seen = presence(tmp_path)
    assert seen is not None and seen.state == "done"


@pytest.mark.parametrize(("error", "state"), [(ValueError, "failed"), (KeyboardInterrupt, "stopped")])
def test_how_it_ended_is_kept(tmp_path: Path, error: type[BaseException], state: str) -> None:
    with pytest.raises(error), at_work(tmp_path, "train"):
        raise error
    seen = presence(tmp_path)
    assert seen is not None and seen.state == state


def test_a_killed_stage_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    told = fork.Event()
    process = fork.Process(target=_work_for_ever, args=(tmp_path, told))
    process.start()
    assert told.wait(30) and process.pid is not None
    running = presence(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    killed = presence(tmp_path)
    assert running is not None and running.state == "running"
    assert killed is not None and (killed.stage, killed.state) == ("search", "killed")


def test_two_processes_at_work_are_both_waited_for(tmp_path: Path) -> None:
    with at_work(tmp_path, "search"):
        with at_work(tmp_path, "search"):
            pass
        seen = presence(tmp_path)
    assert seen is not None and seen.is_alive


@pytest.mark.parametrize("said", ["", "{", "[]", '{"stage": 1, "since": "x", "outcome": 2}', "[" * 4000])
def test_what_makes_no_sense_is_nobody(tmp_path: Path, said: str) -> None:
    (tmp_path / FILE).write_text(said)
    assert presence(tmp_path) is None
