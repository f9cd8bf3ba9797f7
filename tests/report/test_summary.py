from pathlib import Path

from nas import report
from nas.report.summary import columns, meaning, shown
from nas.run import Run
from tests.report import synthetic


def test_text_holds_every_figure_the_front_and_a_plot(tmp_path: Path) -> None:
    run = synthetic.full_run(tmp_path / "first")
    text = report.text(run)
    for name in run.read_json("summary.json"):
        assert name in text
        assert meaning(name), f"{name} is not documented"
    assert report.front_table(run) in text
    assert all(row["digest"] in text for row in run.read_json("search/main/front.json"))
    assert "●" in text


def test_text_of_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    text = report.text(Run.at(tmp_path))
    assert "nas train" in text
    assert "nas search" in text


def test_meanings_match_whole_names_only() -> None:
    assert meaning("retrain.0123abcd.test") == "the same nets on test, scored once"
    assert meaning("predictor.within_5")
    assert not meaning("search.evaluations.extra")
    assert not meaning("stage.x.y.seconds")


def test_figures_as_people_read_them() -> None:
    assert [shown(value) for value in (1234567, 0.031234, 1.7e12, 1.2e-8, None, "ridge", 3.0)] == [
        "1,234,567",
        "0.03123",
        "1.7×10¹²",
        "1.2×10⁻⁸",
        "not known",
        "ridge",
        "3",
    ]
    assert columns([("a", "1"), ("bb", "10")], right=(1,)) == "a    1\nbb  10"
