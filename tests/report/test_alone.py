from pathlib import Path
from typing import Any

import pytest

from nas import report
from nas.report import charts
from nas.report.alone import trained_alone
from nas.report.page import page
from nas.report.read import read
from nas.run import Run
from tests.report.synthetic import HOSTILE
from tests.report.test_figures import A, B, C, measured


def runs(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"seed": i, "val": val, "test": test} for i, (val, test) in enumerate(pairs)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A winner of two seeds, a reference of one, and a result of an earlier version."""
    run = Run.at(tmp_path)
    run.log("search/main/archive.jsonl").append({"arch": A.to_dict(), "values": {}})
    run.write_json("search/main/front.json", [measured(A, 4.0, 0.9, is_front=True), measured(C, 2.0, 0.5)])
    how = {"start": "scratch", "teacher": "largest", "steps": 40, "lr": 0.01, "inherited_val": 0.7}
    scores = {"val": 0.9, "val_std": 0.014, "test": 0.8, "test_std": 0.1, "runs": runs((0.89, 0.7), (0.91, 0.9))}
    one = {"digest": A.digest, "arch": A.to_dict(), **how, **scores, "is_winner": True, "references": []}
    run.write_json(f"retrain/{A.digest}/result.json", {**one, "latency_ms": 3.0, "latency_spread_ms": 0.2})
    two = {**one, "digest": B.digest, "arch": B.to_dict(), "is_winner": False, "references": ["all_linear"]}
    two |= {"teacher": "none", "val": 0.6, "val_std": None, "runs": runs((0.6, 0.5)), "params": 1234}
    run.write_json(f"retrain/{B.digest}/result.json", {**two, "latency_ms": 1.0, "latency_spread_ms": 0.1})
    old = {"digest": C.digest, "arch": C.to_dict(), "val": 0.55, "test": 0.5, "seeds": [0]}
    run.write_json(f"retrain/{C.digest}/result.json", old)
    return run


def test_winners_and_references_are_one_list_by_latency(run: Run) -> None:
    reference, old, winner = trained_alone(read(run))
    assert [one.digest for one in (reference, old, winner)] == [B.digest, C.digest, A.digest]
    assert [one.kind for one in (reference, old, winner)] == ["reference", "winner", "winner"]
    assert (reference.name, reference.params, reference.seeds, reference.outline) == ("all_linear", 1234, 1, "linear")
    assert (winner.latency_ms, winner.low_ms, winner.high_ms) == (3.0, 2.9, 3.1)
    assert old.latency_ms == 2.0, "the front's, where the result does not say it"


def test_scores_have_mean_spread_and_ends_over_seeds(run: Run) -> None:
    reference, old, winner = trained_alone(read(run))
    assert (winner.val.text, winner.val.low, winner.val.high) == ("0.9000 ± 0.0140", 0.89, 0.91)
    assert (winner.test.low, winner.test.high, winner.inherited) == (0.7, 0.9, 0.7)
    assert (reference.val.text, reference.val.low, reference.val.high) == ("0.6000", 0.6, 0.6)
    assert (old.val.text, old.val.low, old.test.text, old.inherited) == ("0.5500", 0.55, "0.5000", None)
    assert winner.how == "scratch, taught by largest, 40 steps, lr 0.01"
    assert reference.how == "scratch, 40 steps, lr 0.01" and old.how == ""


def test_table_page_and_chart_show_them(run: Run) -> None:
    text = report.alone_table(run)
    assert text in report.text(run)
    line = next(line for line in text.splitlines() if B.digest in line)
    assert line.split()[:4] == ["1.000", "0.7000", "0.6000", "0.8000"] and "reference all_linear" in line
    html = page(read(run))
    assert 'id="alone-table"' in html and "0.9000 ± 0.0140" in html and "all_linear" in html
    spec = charts.alone(trained_alone(read(run)), "accuracy")
    bars, dots, names = spec["layer"]
    assert (bars["encoding"]["y"]["field"], bars["encoding"]["y2"]["field"]) == ("low", "high")
    assert dots["encoding"]["x"]["field"] == "latency_ms" and dots["encoding"]["shape"]["field"] == "kind"
    assert names["encoding"]["text"]["field"] == "name"


def test_what_makes_no_sense_is_left_empty(run: Run) -> None:
    odd = {"digest": "odd", "arch": {"stages": 3}, "val": "high", "runs": [{"val": None}, 7], "references": [HOSTILE]}
    run.write_json("retrain/odd/result.json", odd)
    found = {one.digest: one for one in trained_alone(read(run))}["odd"]
    assert (found.outline, found.latency_ms, found.val.mean, found.val.text) == ("", None, None, "")
    assert HOSTILE not in page(read(run))
    assert "odd" in report.alone_table(run)


def test_nothing_trained_alone_says_what_to_run(tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    assert report.alone_table(run) == ""
    assert "nas retrain" in page(read(run))
