from pathlib import Path

from nas import report
from nas.report import page
from nas.report.read import read
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


def test_what_training_is_expected_to_give_stands_where_nothing_was_trained(tmp_path: Path) -> None:
    run = synthetic.full_run(tmp_path / "first")
    rows, trained = run.read_json("search/main/front.json"), {path.name for path in run.path.glob("retrain/*")}
    plain = report.front_table(run), page.page(read(run))
    assert "~" not in plain[0] and "After ~ stands" not in plain[1]
    for i, row in enumerate(rows):
        row["measured"]["standalone"] = 2 + i / 100
    run.write_json("search/main/front.json", rows)
    table, found = report.front_table(run), page.page(read(run))
    for i, row in enumerate(rows):
        assert (
            (f"~{2 + i / 100:.4f}" in table)
            == (f"<td>~{2 + i / 100:.4f}</td>" in found)
            == (row["digest"] not in trained)
        )
    assert "~ expected, not trained" in table and "After ~ stands" in found
    assert "2 bits per byte expected" in found and " expected" not in plain[1].split("After")[0].split("</header>")[0]


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
