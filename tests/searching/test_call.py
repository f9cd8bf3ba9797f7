"""`nas.search` as people who have a space and a function of their own call it."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.arch import Arch
from nas.errors import ArchError, CheckpointError, ConfigError, InfeasibleError, NasError
from nas.journal import Log
from nas.resources import ROOT
from nas.searching import Constraint
from tests.searching.conftest import space_of
from tests.searching.toys import Toy
from tests.spaces import raw

SPACE = {"layers": [1, 2, 3, 4], "width": [16, 32, 64], "kind": ["conv", "attention"], "bias": [True, False]}
DIRECTIONS = {"quality": "maximise", "params": "minimise"}


def objective(point: Mapping[str, Any]) -> dict[str, float]:
    worth = point["layers"] * point["width"] ** 0.5 * (1.3 if point["kind"] == "attention" else 1.0)
    return {"quality": worth / (worth + 10), "params": float(point["layers"] * point["width"])}


def test_a_plain_space_is_searched_to_its_front() -> None:
    found = nas.search(SPACE, objective, DIRECTIONS, budget=40)
    assert len(found.evaluations) == len({row.point for row in found.evaluations}) == 40
    best = max(objective(row.point)["quality"] for row in found.evaluations)
    assert best == found.best("quality").values["quality"] == pytest.approx(4 * 8 * 1.3 / (4 * 8 * 1.3 + 10))
    assert found.best(params=64).values["params"] <= 64
    assert found.closest(params=100).values["params"] in (96, 128)
    assert found.knee in found.front
    assert "points on the front of 40 evaluations, 0 failed" in str(found)


def test_a_whole_space_is_evaluated_once_and_the_search_ends(capsys: pytest.CaptureFixture[str]) -> None:
    found = nas.search(SPACE, objective, DIRECTIONS, budget=100)
    assert len(found.evaluations) == 48
    assert "no architecture left within the constraints, after 48" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", ["surrogate", "evolution"])
def test_architectures_from_a_space_file_or_built_in_python(strategy: str) -> None:
    def score(arch: Arch) -> dict[str, float]:
        return {**Toy()(arch), "blocks": float(len(arch.blocks))}

    for space in (raw("digits_tiny"), space_of()):
        found = nas.search(space, score, {"accuracy": "maximise", "blocks": "minimise"}, strategy=strategy, budget=30)
        assert len(found.evaluations) == 30
        assert all(isinstance(row.point, Arch) for row in found.evaluations)


def test_a_table_of_results() -> None:
    rows = [{"layers": a, "width": b} for a in range(1, 9) for b in (8, 16, 32) if (a * b) % 3]
    results = {(row["layers"], row["width"]): {"loss": 1 / (row["layers"] * row["width"])} for row in rows}
    found = nas.search(rows, lambda p: results[p["layers"], p["width"]], {"loss": "minimise"}, budget=12)
    assert found.front[0].point == {"layers": 8, "width": 32}


def test_a_folder_goes_on_and_is_not_evaluated_again(tmp_path: Path) -> None:
    asked = []

    def counting(point: Mapping[str, Any]) -> dict[str, float]:
        asked.append(point)
        return objective(point)

    nas.search(SPACE, counting, DIRECTIONS, budget=10, folder=tmp_path)
    found = nas.search(SPACE, counting, DIRECTIONS, budget=25, folder=tmp_path)
    assert len(found.evaluations) == len(asked) == len(set(asked)) == 25
    whole = nas.search(SPACE, objective, DIRECTIONS, budget=25)
    assert [row.point for row in whole.evaluations] == [row.point for row in found.evaluations]


def test_a_finished_search_starts_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(point: Mapping[str, Any], fidelity: float = 1.0) -> dict[str, float]:
        return objective(point)

    def ask() -> int:
        found = nas.search(SPACE, score, DIRECTIONS, budget=5, folder=tmp_path, fidelities=[0.3, 1])
        return len(found.evaluations)

    count = ask()
    monkeypatch.setattr("nas.searching.call.make_executor", None)
    assert ask() == count


def test_costs_steer_and_limit_before_anything_is_evaluated() -> None:
    found = nas.search(
        SPACE,
        lambda point: {"quality": objective(point)["quality"]},
        DIRECTIONS,
        costs=lambda point: {"params": objective(point)["params"]},
        constraints={"params": 64},
        budget=20,
    )
    assert all(row.values["params"] <= 64 for row in found.evaluations)


def test_earlier_points_come_first() -> None:
    early = nas.search(SPACE, objective, DIRECTIONS, budget=20)
    late = nas.search(SPACE, objective, DIRECTIONS, budget=12, start=early.front, first=4)
    assert {row.point for row in early.front} <= {row.point for row in late.evaluations}
    assert "start" in {row.origin for row in late.evaluations}


def test_constraints_that_no_evaluation_meets_say_which_came_closest(capsys: pytest.CaptureFixture[str]) -> None:
    found = nas.search(SPACE, objective, DIRECTIONS, constraints={"quality": 0.99}, budget=20)
    assert found.front == []
    assert re.search(r"none of them meets quality >= 0.99; the closest, \w{16}, has quality 0.8", str(found))
    assert "none of them meets" in capsys.readouterr().err
    with pytest.raises(InfeasibleError, match="the front is empty: none of them meets"):
        _ = found.knee


def test_constraints_on_costs_that_nothing_meets_are_refused_at_once() -> None:
    with pytest.raises(InfeasibleError, match=r"meets params <= 4: the cheapest has params 16, and the closest"):
        nas.search(
            SPACE, objective, DIRECTIONS, costs=lambda p: {"params": objective(p)["params"]}, constraints={"params": 4}
        )


def test_an_objective_that_hangs_counts_as_failed() -> None:
    def slow(point: Mapping[str, Any]) -> dict[str, float]:
        time.sleep(5 if point["kind"] == "conv" and point["layers"] == 1 else 0)
        return objective(point)

    found = nas.search(SPACE, slow, DIRECTIONS, budget=12, timeout_s=0.05)
    reasons = {row.error for row in found.evaluations if row.error}
    assert reasons == {"took longer than timeout_s=0.05: raise that limit if such evaluations are to count"}


def test_a_part_of_the_space_that_always_fails_is_left_alone() -> None:
    def scorer(point: Mapping[str, Any]) -> dict[str, float]:
        if point["kind"] == "attention":
            raise MemoryError("too large")
        return objective(point)

    found = nas.search({**SPACE, "more": list(range(40))}, scorer, DIRECTIONS, budget=120)
    failed = [bool(row.error) for row in found.evaluations]
    assert len(failed) == 120 and sum(failed[:24]) > 6  # half of the space fails
    assert sum(failed[60:]) < 20


def broken(point: Any) -> Any:
    raise ValueError("no data")


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (broken, "ValueError: no data"),
        (lambda _: {"quality": float("nan"), "params": 1.0}, "no finite value for quality"),
        (lambda _: {"params": 1.0}, "no finite value for quality"),
        (lambda _: 0.5, "TypeError: an objective returns values by name, such as {'accuracy': 0.9}; got 0.5"),
    ],
)
def test_objectives_that_always_fail_end_the_search(scorer: Any, reason: str) -> None:
    with pytest.raises(NasError, match=re.escape(f"5 evaluations in a row failed, the last with: {reason}")):
        nas.search(SPACE, scorer, DIRECTIONS)


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"directions": {"quality": "up"}}, ConfigError, "a direction is 'minimise' or 'maximise'; 'quality' has 'up'"),
        ({"directions": {}}, ConfigError, "needs at least one objective"),
        ({"space": {}}, ArchError, "needs at least one name with choices"),
        ({"space": {"width": 3}}, ArchError, "'width' needs a list of choices"),
        ({"space": 3}, ArchError, "a space is a SearchSpace, the content of a space file"),
        ({"strategy": "luck"}, ConfigError, "strategy: a strategy must be one of ehvi, "),
        ({"budget": 0}, ConfigError, "budget: input should be greater than or equal to 1"),
        ({"speed": 3}, ConfigError, "speed: no such setting"),
        ({"fidelities": [0.5, 0.1]}, ConfigError, "must ascend and end with 1, such as [0.1, 1]; got [0.5, 0.1]"),
        ({"constraints": {"watts": 3.0}}, ConfigError, "constraint watts <= 3 needs a value"),
        ({"constraints": [Constraint(name="watts", bound=3.0)]}, ConfigError, "constraint watts <= 3 needs a value"),
        ({"prefer": {"watts": (None, 3.0)}}, ConfigError, "watts"),
        ({"workers": 1, "ray": {"address": "127.0.0.1:1"}}, ConfigError, "needs a running Ray cluster"),
    ],
)
def test_wrong_input(changed: dict[str, Any], error: type[Exception], told: str) -> None:
    asked: dict[str, Any] = {"space": SPACE, "objective": objective, "directions": DIRECTIONS}
    with pytest.raises(error, match=re.escape(told)):
        nas.search(**{**asked, **changed})


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    nas.search(SPACE, objective, DIRECTIONS, budget=5, folder=tmp_path)
    with pytest.raises(CheckpointError, match="not in space 'choices'"):
        nas.search({"layers": [1, 2], "width": [1, 2]}, objective, DIRECTIONS, folder=tmp_path)
    with pytest.raises(CheckpointError, match="holds evaluations without loss"):
        nas.search(SPACE, objective, {"loss": "minimise"}, folder=tmp_path)


def test_a_torn_last_line_is_repaired_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = nas.search(SPACE, objective, DIRECTIONS, budget=8, folder=tmp_path)
    path = tmp_path / "archive.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = nas.search(SPACE, objective, DIRECTIONS, budget=8, folder=tmp_path)
    assert [row.point for row in again.evaluations] == [row.point for row in whole.evaluations]
    assert "removed a last line of" in capsys.readouterr().err
    assert sum("values" in row for row in Log(path).rows()) == 8


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("an installed package has no README")
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", readme.read_text(), re.S) if "nas.search(" in block
    )
    assert len(code.splitlines()) < 25
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert "points on the front" in capsys.readouterr().out
