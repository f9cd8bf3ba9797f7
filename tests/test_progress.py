import io
import re
import sys
import time

import pytest
from rich.console import Console

from nas import progress
from nas.progress import SECONDS, Tracker, lasting, paced, show, terminal_width, track


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)


def test_a_line_says_done_pace_and_what_is_left() -> None:
    tracker = Tracker("search", 100, "evaluations")
    tracker.set(40, "front 7")
    assert tracker.text(20.0) == "40 of 100 evaluations, 2/s, 30 s left  front 7"
    tracker.set(100, "front 9")
    assert tracker.text(50.0) == "100 of 100 evaluations, 2/s, in 50 s  front 9"


def test_what_earlier_processes_did_is_no_pace() -> None:
    tracker = Tracker("train", 100, "steps")
    tracker.resume(80)
    assert tracker.text(5.0) == "80 of 100 steps"
    tracker.advance(10)
    assert tracker.text(5.0) == "90 of 100 steps, 2/s, 5.0 s left"


def test_a_stage_of_given_time_has_no_pace() -> None:
    tracker = Tracker("profile", 30, SECONDS)
    tracker.set(12.0, "5 measured")
    assert tracker.text(12.0) == "12 of 30 s, 18 s left  5 measured"


def test_a_trace_of_the_first_foretells_nothing() -> None:
    tracker = Tracker("rank", 8, "trials")
    tracker.set(0.001)
    assert tracker.text(12.0) == "0 of 8 trials"
    tracker.set(0.1)
    assert tracker.text(60.0) == "0 of 8 trials, 10 min each, 79 min left"


def test_nothing_done_yet_is_no_division() -> None:
    assert Tracker("train", 0, "steps").text(0.0) == "0 of 0 steps"
    assert Tracker("train", 10, "steps").text(3.0) == "0 of 10 steps"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_slow_work_is_said_by_piece() -> None:
    assert (paced(12.34), paced(0.25)) == ("12.3/s", "4.0 s each")


@pytest.mark.usefixtures("quiet")
def test_plain_lines_stand_in_one_column_and_the_last_one_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with track("train", 3, "steps") as tracker:
        for i in range(3):
            time.sleep(0.01)
            tracker.advance(1, f"loss {i}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("train     ") for line in lines)
    assert lines[0].startswith("train     1 of 3 steps, ") and lines[-1].endswith("loss 2")


def test_a_short_stage_is_one_plain_line_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    with track("train", 3, "steps") as tracker:
        tracker.advance(3)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said and "3 of 3 steps" in said


def test_how_far_it_came_stays_when_it_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), track("search", 100, "evaluations") as tracker:
        tracker.advance(7)
        raise KeyboardInterrupt
    assert "search    7 of 100 evaluations" in capsys.readouterr().err


@pytest.mark.parametrize("width", [30, 100])
def test_a_terminal_gets_one_live_line_that_fits_and_stays(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=width))
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyboardInterrupt), track("search", 100, "evaluations") as tracker:
        tracker.advance(7, "front 3")
        progress.say("said meanwhile")
        raise KeyboardInterrupt
    shown = screen.getvalue()
    assert "said meanwhile\n" in shown and "search" in shown
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).strip().splitlines()[-1].rpartition("\r")[2]
    assert len(last) <= width and "7 of 100 evaluations" in last


def test_results_are_printed_whatever_letters_the_output_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    show("● 3.2 ± 0.1")
    plain.flush()
    assert plain.buffer.getvalue() == b"? 3.2 ? 0.1\n"
    assert terminal_width() is None
