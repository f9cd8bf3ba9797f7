"""Comparisons of trials whose results are known."""

from types import SimpleNamespace
from typing import Any

import pytest

from nas.pareto import Direction
from nas.run import Run
from nas.searching import Evaluation, Objective, Problem
from nas.space import ChoiceSpace
from nas.trials.search import SearchTrials, _problem
from nas.tuning import TuneConfig
from nas.tuning.table import RetrainTrial, SearchTrial, retrain_cells, retrain_rows, search_cells, search_rows


def searched(group: str, curve: list[float], **changed: Any) -> SearchTrial:
    asked = {"problem": "", "strategy": group.partition("=")[2], "first": 2, "seconds": 3.0}
    return SearchTrial(group=group, curve=curve, **{**asked, **changed})


def test_seeds_are_summed_up_and_random_is_the_yardstick() -> None:
    rows = search_rows(
        [
            searched("strategy=random", [0.1, 0.2, 0.3, 0.4]),
            searched("strategy=random", [0.1, 0.2, 0.4, 0.6]),
            searched("strategy=nsga2", [0.1, 0.5, 0.6, 0.8]),
            searched("strategy=nsga2", [0.1, 0.2, 0.3, 0.45]),
        ]
    )
    assert [row["combination"] for row in rows] == ["strategy=nsga2", "strategy=random"]
    best = rows[0]
    assert best["trials"] == 2 and best["evaluations"]["mean"] == 4
    assert best["first"] == pytest.approx({"mean": 0.35, "min": 0.2, "max": 0.5})
    assert best["half"] == best["first"] and best["end"]["mean"] == pytest.approx(0.625)
    assert best["to_random"] == [2, None], "random ends at 0.5 on average"
    cells = search_cells(rows)
    assert len({len(row) for row in cells}) == 1 and cells[1][6] == "1 of 2 reach it"


def test_only_searches_of_the_same_problem_are_measured_against_random() -> None:
    trials = [searched("a", [0.5], problem="4 threads", strategy="nsga2"), searched("b", [0.1], strategy="random")]
    rows = {row["combination"]: row for row in search_rows(trials)}
    assert rows["a"]["to_random"] is None and rows["b"]["to_random"] == [1]
    assert search_cells(search_rows(trials))[2][6] == ""


def test_a_short_search_has_all_marks() -> None:
    assert search_rows([searched("a", [0.3], first=24)])[0]["first"]["mean"] == 0.3


@pytest.mark.parametrize(("best", "order"), [("max", ["b", "a", "c"]), ("min", ["a", "b", "c"])])
def test_retrainings_that_went_further_come_first(best: str, order: list[str]) -> None:
    def trial(group: str, value: float, steps: int) -> RetrainTrial:
        return RetrainTrial(group=group, value=value, steps=steps, of=100, seconds=1.0)

    trials = [
        trial("a", 0.5, 100),
        trial("a", 0.9, 25),
        trial("b", 0.6, 100),
        trial("b", 0.8, 100),
        trial("c", 0.99, 25),
    ]
    rows = retrain_rows(trials, best=best)
    assert [row["combination"] for row in rows] == order
    made = {row["combination"]: row for row in rows}
    assert made["a"]["value"] == {"mean": 0.5, "min": 0.5, "max": 0.5}, "a value after fewer steps is another one"
    assert made["a"]["stopped"] == 1 and made["b"]["stopped"] == 0 and made["c"]["stopped"] == 1
    assert made["b"]["value"]["mean"] == pytest.approx(0.7)
    assert retrain_cells(rows, "accuracy")[0][2] == "accuracy val"


def test_all_searches_share_one_box(tmp_path: Any) -> None:
    """Two archives of known points: each volume is that in the box around both."""
    space = ChoiceSpace({"a": [0, 1, 2, 3]})
    minimise: Direction = "minimise"
    problem = Problem(space, (Objective("x", minimise), Objective("y", minimise)))
    run = Run.at(tmp_path)
    made: Any = SearchTrials.__new__(SearchTrials)
    made.folder, made.config = "tune/main", TuneConfig(over={"search.strategy": ["nsga2", "random"]})
    plain = {"search": {"strategy": "nsga2"}}
    search = {name: SimpleNamespace(strategy=name, first=1, budget=2) for name in ("nsga2", "random")}
    made.job = SimpleNamespace(run=run, settings=SimpleNamespace(plain=plain))
    made._jobs = {
        f"strategy={name}": SimpleNamespace(run=run, problem=problem, settings=SimpleNamespace(search=search[name]))
        for name in search
    }
    made._seen = {}
    points = list(space.every())
    for name, values in {"nsga2": [(0.0, 1.0), (1.0, 0.0)], "random": [(1.0, 1.0)]}.items():
        rows = [
            Evaluation(point=point, values={"x": x, "y": y}, origin="t", seconds=0.1)
            for point, (x, y) in zip(points, values, strict=False)
        ]
        for row in rows:
            run.log(f"search/tune/main/strategy={name}/archive.jsonl").append(row.to_row())
    rows, _ = made.compare(list(made._jobs))
    ends = {row["combination"]: row["end"]["mean"] for row in rows}
    box = 1.05**2
    assert ends["strategy=nsga2"] == pytest.approx((1.05 * 0.05 * 2 - 0.05**2) / box)
    assert ends["strategy=random"] == pytest.approx(0.05**2 / box)
    assert made.done("strategy=nsga2") == 1.0 and made.done("strategy=random") == 0.5


def test_what_changes_values_makes_another_box() -> None:
    assert _problem({"search.strategy": "random", "search.seed": 1}) == ""
    assert _problem({"profile.threads": 2, "search.seed": 1}) == '{"profile.threads": 2}'
    assert "val_limit" in _problem({"search.val_limit": 9})
