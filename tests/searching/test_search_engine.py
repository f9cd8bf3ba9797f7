import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.arch import Arch
from nas.errors import CheckpointError, NasError
from nas.run import Run
from nas.searching import strategies
from nas.searching.archive import Archive, Evaluation
from nas.searching.engine import front_of, hypervolume_curve, search
from nas.searching.executor import SerialExecutor
from nas.searching.objectives import Constraint
from nas.searching.problem import Problem
from tests.searching.conftest import space_of
from tests.searching.toys import Counting, Toy

Scorer = Callable[[Arch], dict[str, float]]


def go(problem: Problem, path: Path, scorer: Scorer, *, budget: int = 40, name: str = "nsga2") -> list[Evaluation]:
    archive = Archive(Run.at(path).log("search/main/archive.jsonl"), problem.space)
    strategy = strategies.get(name)(problem, first=12, batch=8)
    return search(problem, strategy, SerialExecutor(scorer), archive, budget=budget)


def keys(evaluations: list[Evaluation]) -> list[tuple[str, str, dict[str, float]]]:
    return [(e.arch.digest, e.origin, dict(e.values)) for e in evaluations]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def mortal(scorer: Scorer, life: int) -> Scorer:
    left = iter(range(life))

    def call(arch: Arch) -> dict[str, float]:
        if next(left, None) is None:
            raise Killed
        return scorer(arch)

    return call


def test_every_arch_is_evaluated_once_and_rows_are_as_documented(problem: Problem, tmp_path: Path) -> None:
    scorer = Counting()
    found = go(problem, tmp_path, scorer)
    assert len(found) == len(set(scorer.asked)) == len(scorer.asked) == 40
    row = Run.at(tmp_path).log("search/main/archive.jsonl").rows()[0]
    assert set(row) == {"arch", "digest", "values", "origin", "seconds"}
    assert set(row["values"]) == {"accuracy", "latency_ms", "params", "flops", "kv_cache_bytes"}
    assert row["origin"] == "smallest"


@pytest.mark.parametrize("name", strategies.names())
def test_killed_five_times_and_resumed_is_as_if_undisturbed(name: str, problem: Problem, tmp_path: Path) -> None:
    whole = go(problem, tmp_path / "whole", Toy(), name=name)
    scorer, lives = Counting(), random.Random(name)
    for _ in range(5):
        with pytest.raises(Killed):
            go(problem, tmp_path / "killed", mortal(scorer, lives.randint(1, 7)), name=name)
    assert keys(go(problem, tmp_path / "killed", scorer, name=name)) == keys(whole)
    assert len(scorer.asked) == len(set(scorer.asked)) == 40


def test_a_torn_last_line_is_evaluated_again(problem: Problem, tmp_path: Path) -> None:
    whole = go(problem, tmp_path, Toy(), budget=20)
    log = tmp_path / "search/main/archive.jsonl"
    log.write_bytes(log.read_bytes()[:-30])
    assert keys(go(problem, tmp_path, Toy(), budget=20)) == keys(whole)


def test_a_larger_budget_goes_on(problem: Problem, tmp_path: Path) -> None:
    first = go(problem, tmp_path, Toy(), budget=20)
    scorer = Counting()
    assert keys(go(problem, tmp_path, scorer, budget=30))[:20] == keys(first)
    assert len(scorer.asked) == 10


def test_known_archs_are_copied(problem: Problem, tmp_path: Path) -> None:
    main = go(problem, tmp_path, Toy())
    scorer, archive = Counting(), Archive(Run.at(tmp_path).log("random.jsonl"), problem.space)
    strategy = strategies.get("random")(problem, first=12, batch=8)
    known = {e.arch.digest: e for e in main}
    other = search(problem, strategy, SerialExecutor(scorer), archive, budget=40, known=known)
    assert len(other) == 40
    assert len(scorer.asked) == 40 - len({e.arch for e in other} & {e.arch for e in main}) <= 28


def test_failures_are_recorded_with_their_reason(problem: Problem, tmp_path: Path) -> None:
    def scorer(arch: Arch) -> dict[str, float]:
        if int(arch.digest, 16) % 8 == 0:
            raise RuntimeError("out of luck")
        return {"accuracy": math.nan} if int(arch.digest, 16) % 8 == 1 else Toy()(arch)

    found = go(problem, tmp_path, scorer, name="random")
    assert len(found) == 40
    reasons = {e.error for e in found}
    assert reasons == {"", "RuntimeError: out of luck", "no finite value for accuracy"}
    assert not {e.arch for e in front_of(problem, found)} & {e.arch for e in found if e.error}


def test_a_scorer_that_always_fails_ends_the_search(problem: Problem, tmp_path: Path) -> None:
    def scorer(arch: Arch) -> dict[str, float]:
        raise ValueError("no weights")

    with pytest.raises(NasError, match="5 evaluations in a row failed, the last with: ValueError: no weights"):
        go(problem, tmp_path, scorer)


def test_an_exhausted_space_ends_the_search(
    problem: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = space_of(num_heads=[1], num_kv_heads=[1], operators={"softmax": {}}, ffn={"none": []})
    found = go(Problem(small, problem.objectives, (), problem.cheap), tmp_path, Toy(), name="random")
    assert len(found) == small.size == 12
    assert "no architecture left within the constraints, after 12" in capsys.readouterr().err


def test_archive_of_another_space_is_refused(problem: Problem, tmp_path: Path) -> None:
    go(problem, tmp_path, Toy(), budget=5)
    with pytest.raises(CheckpointError, match="line 2 holds arch .* not in space 'toy': choose another search.name"):
        Archive(Run.at(tmp_path).log("search/main/archive.jsonl"), space_of(num_heads=[1], num_kv_heads=[1]))


def test_archive_refuses_an_arch_twice(problem: Problem, tmp_path: Path) -> None:
    archive = Archive(Run.at(tmp_path).log("a.jsonl"), problem.space)
    row = Evaluation(arch=problem.space.largest(), values={}, origin="largest", seconds=0.1)
    archive.append(row)
    with pytest.raises(ValueError, match="an archive holds each arch once"):
        archive.append(row)


def test_front_respects_constraints_on_what_is_measured(problem: Problem, tmp_path: Path) -> None:
    found = go(problem, tmp_path, Toy())
    bound = Constraint(name="accuracy", bound=0.5, direction="maximise")
    strict = Problem(problem.space, problem.objectives, (bound,), problem.cheap)
    assert 0 < len(front_of(strict, found)) <= len(front_of(problem, found))
    assert all(e.values["accuracy"] >= 0.5 for e in front_of(strict, found))


def test_hypervolume_curve_never_falls_and_ends_at_the_front(problem: Problem, tmp_path: Path) -> None:
    found = go(problem, tmp_path, Toy())
    curve = hypervolume_curve(problem, found)
    assert len(curve) == 40
    assert all(a <= b + 1e-12 for a, b in zip(curve, curve[1:], strict=False))
    assert 0 < curve[-1] <= 1
    assert hypervolume_curve(problem, front_of(problem, found), found)[-1] == pytest.approx(curve[-1])
    failed = Evaluation(arch=problem.space.largest(), values={}, origin="x", seconds=0.0, error="x")
    assert hypervolume_curve(problem, [failed]) == [0.0]
    assert hypervolume_curve(problem, [*found, failed])[-1] == pytest.approx(curve[-1])
