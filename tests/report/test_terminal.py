from pathlib import Path

import pytest

from nas import report
from nas.report.terminal import HEIGHT, NARROWEST, fitted, plot, stairs
from tests.report import synthetic


def test_the_corners_of_a_plot_are_the_ends_of_its_axes() -> None:
    lines = plot({"·": [(1.0, 10.0), (3.0, 20.0)], "●": [(1.0, 20.0)]}, "ms", 60).splitlines()
    assert len(lines) == HEIGHT + 2
    assert lines[0].startswith("20 │●") and lines[0].endswith("·") and lines[HEIGHT - 1].startswith("10 │·")
    assert lines[-1].split() == ["1", "3", "ms"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_plot_is_no_wider_than_the_terminal(width: int) -> None:
    lines = plot({"·": [(i, i * i) for i in range(50)]}, "ms", width).splitlines()
    assert max(map(len, lines)) <= width and max(map(len, lines)) >= min(width, NARROWEST)


def test_one_place_and_equal_ones_have_a_plot() -> None:
    assert "●" in plot({"●": [(1.0, 2.0)]}, "ms")
    assert plot({"·": [(1.0, 2.0)] * 3, "●": []}, "ms").count("·") == 1


def test_stairs_leave_out_what_is_dominated() -> None:
    places = [(2.0, 5.0), (1.0, 6.0), (1.0, 7.0), (3.0, 5.0), (4.0, 1.0)]
    assert stairs(places, is_less=True) == [(1.0, 6.0), (2.0, 5.0), (4.0, 1.0)]
    assert stairs(places, is_less=False) == [(1.0, 7.0)]


def test_long_lines_are_cut_only_on_a_terminal() -> None:
    assert fitted("a" * 50 + "\nb", 10) == "a" * 9 + "…\nb"
    assert fitted("a" * 50, None) == "a" * 50


@pytest.mark.parametrize("width", [40, 120])
def test_the_text_of_a_run_fits_the_terminal_and_ends_with_the_front(tmp_path: Path, width: int) -> None:
    run = synthetic.full_run(tmp_path / "first")
    text = report.text(run, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.splitlines()[-1].strip().endswith("ms")
    assert "\x1b" not in text
