import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Arch
from nas.errors import CheckpointError, NasError
from nas.journal import Log
from nas.searching import Pace, SerialExecutor, front_of, hypervolume_curve, loop, search, strategies
from nas.searching.archive import Archive, Evaluation
from nas.searching.objectives import Constraint
from nas.searching.problem import Problem
from nas.space import ArchSpace
from tests.searching.conftest import space_of
from tests.searching.toys import Counting, PlainToy, Shuffling, Toy, chance

Scorer = Callable[..., dict[str, float]]
GROWING = Pace(fidelities=(0.25, 1.0))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "WAIT_S", 0.02)


def archive_at(problem: Problem, path: Path) -> Archive:
    path.mkdir(parents=True, exist_ok=True)
    return Archive(Log(path / "archive.jsonl"), problem.space)


def go(
    problem: Problem,
    path: Path,
    scorer: Scorer,
    *,
    budget: float = 40,
    name: str = "nsga2",
    executor: Any = None,
    **settings: Any,
) -> list[Evaluation]:
    strategy = strategies.get(name)(problem, first=12, batch=8)
    with closing(archive_at(problem, path)) as archive:
        return search(problem, strategy, executor or SerialExecutor(scorer), archive, budget=budget, **settings)


def keys(evaluations: list[Evaluation]) -> list[tuple[str, str, dict[str, float], float]]:
    return [(e.point.digest, e.origin, dict(e.values), e.fidelity) for e in evaluations]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def mortal(scorer: Scorer, life: int) -> Scorer:
    left = iter(range(life))

    def call(point: Any, **asked: float) -> dict[str, float]:
        if next(left, None) is None:
            raise Killed
        return scorer(point, **asked)

    return call


def test_every_arch_is_evaluated_once_and_rows_are_as_documented(problem: Problem, tmp_path: Path) -> None:
    scorer = Counting()
    found = go(problem, tmp_path, scorer)
    assert len(found) == len(set(scorer.asked)) == len(scorer.asked) == 40
    head, *rows = Log(tmp_path / "archive.jsonl").rows()
    assert head == {"journal": 2, "space": problem.space.digest}
    row = next(row for row in rows if "arch" in row)
    assert set(row) == {"arch", "digest", "values", "origin", "seconds"}
    assert set(row["values"]) == {"accuracy", "latency_ms", "params", "flops", "kv_cache_bytes"}
    assert row["origin"] == "smallest"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", strategies.names())
def test_killed_five_times_and_resumed_is_as_if_undisturbed(name: str, problem: Problem, tmp_path: Path) -> None:
    whole = go(problem, tmp_path / "whole", Toy(), name=name)
    scorer, lives = Counting(), random.Random(name)
    for _ in range(5):
        with pytest.raises(Killed):
            go(problem, tmp_path / "killed", mortal(scorer, lives.randint(1, 7)), name=name)
    assert keys(go(problem, tmp_path / "killed", scorer, name=name)) == keys(whole)
    assert len(scorer.asked) == len(set(scorer.asked)) == 40


def test_a_torn_last_line_is_repaired_with_a_word(
    problem: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = go(problem, tmp_path, Toy(), budget=20)
    log = tmp_path / "archive.jsonl"
    log.write_bytes(log.read_bytes()[:-30])
    assert keys(go(problem, tmp_path, Toy(), budget=20)) == keys(whole)
    assert "removed a last line of" in capsys.readouterr().err


def test_a_journal_of_a_newer_version_is_refused(problem: Problem, tmp_path: Path) -> None:
    Log(tmp_path / "archive.jsonl").append({"journal": 99, "space": problem.space.digest})
    with pytest.raises(CheckpointError, match="newer version .journal 99, this one reads up to 2.*update"):
        archive_at(problem, tmp_path)


def test_a_larger_budget_goes_on(problem: Problem, tmp_path: Path) -> None:
    first = go(problem, tmp_path, Toy(), budget=20)
    scorer = Counting()
    assert keys(go(problem, tmp_path, scorer, budget=30))[:20] == keys(first)
    assert len(scorer.asked) == 10


def test_known_archs_are_copied(problem: Problem, tmp_path: Path) -> None:
    main = go(problem, tmp_path, Toy())
    scorer, known = Counting(), {e.point.digest: e for e in main}
    other = go(problem, tmp_path / "random", scorer, name="random", known=known)
    assert len(other) == 40
    assert len(scorer.asked) == 40 - len({e.point for e in other} & {e.point for e in main}) <= 28


def test_failures_are_recorded_with_their_reason(problem: Problem, tmp_path: Path) -> None:
    def scorer(arch: Arch) -> Any:
        kind = int(arch.digest, 16) % 24
        if kind == 0:
            raise RuntimeError("out of luck")
        return {1: {"accuracy": math.nan}, 2: {}, 3: 0.9, 4: {"accuracy": "high"}}.get(kind, Toy()(arch))

    found = go(problem, tmp_path, scorer, name="random", budget=90)
    assert len(found) == 90
    assert {e.error.split(":")[0] for e in found} == {
        "",
        "RuntimeError",
        "no finite value for accuracy",
        "TypeError",
        "ValueError",
    }
    assert "an objective returns values by name" in next(e.error for e in found if e.error.startswith("TypeError"))
    assert not {e.point for e in front_of(problem, found)} & {e.point for e in found if e.error}


def test_an_evaluation_that_hangs_is_ended(plain: Problem, tmp_path: Path) -> None:
    def scorer(point: Any) -> dict[str, float]:
        if int(point.digest, 16) % 4 == 0:
            time.sleep(60)
        return PlainToy()(point)

    found = go(plain, tmp_path, scorer, budget=12, executor=SerialExecutor(scorer, timeout_s=0.05), name="random")
    late = [e for e in found if e.error]
    assert 0 < len(late) < 12
    assert all("took longer than timeout_s=0.05: raise that limit" in e.error for e in late)


def test_a_scorer_that_always_fails_ends_the_search(problem: Problem, tmp_path: Path) -> None:
    def scorer(arch: Arch) -> dict[str, float]:
        raise ValueError("no weights")

    with pytest.raises(NasError, match="5 evaluations in a row failed, the last with: ValueError: no weights"):
        go(problem, tmp_path, scorer)


def test_an_exhausted_space_ends_the_search(
    problem: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = space_of(num_heads=[1], num_kv_heads=[1], operators={"softmax": {}}, ffn={"none": []})
    found = go(replace(problem, space=ArchSpace(small)), tmp_path, Toy(), name="random")
    assert len(found) == small.size == 12
    assert "no architecture left within the constraints, after 12" in capsys.readouterr().err


def test_archive_of_another_space_is_refused(problem: Problem, tmp_path: Path) -> None:
    go(problem, tmp_path, Toy(), budget=5)
    other = replace(problem, space=ArchSpace(space_of(num_heads=[1], num_kv_heads=[1])))
    with pytest.raises(CheckpointError, match="holds .* not in space 'toy': choose another search.name"):
        archive_at(other, tmp_path)


def test_archive_refuses_a_point_twice(problem: Problem, tmp_path: Path) -> None:
    archive = archive_at(problem, tmp_path)
    row = Evaluation(point=problem.corners["largest"], values={}, origin="largest", seconds=0.1)
    archive.append(row)
    with pytest.raises(ValueError, match="an archive holds each point once"):
        archive.append(row)


def test_front_respects_constraints_on_what_is_measured(problem: Problem, tmp_path: Path) -> None:
    found = go(problem, tmp_path, Toy())
    strict = replace(problem, constraints=(Constraint(name="accuracy", bound=0.5, direction="maximise"),))
    assert 0 < len(front_of(strict, found)) <= len(front_of(problem, found))
    assert all(e.values["accuracy"] >= 0.5 for e in front_of(strict, found))


def test_hypervolume_curve_never_falls_and_ends_at_the_front(problem: Problem, tmp_path: Path) -> None:
    found = go(problem, tmp_path, Toy())
    curve = hypervolume_curve(problem, found)
    assert len(curve) == 40
    assert all(a <= b + 1e-12 for a, b in zip(curve, curve[1:], strict=False))
    assert 0 < curve[-1] <= 1
    assert hypervolume_curve(problem, front_of(problem, found), found)[-1] == pytest.approx(curve[-1])
    failed = Evaluation(point=problem.corners["largest"], values={}, origin="x", seconds=0.0, error="x")
    assert hypervolume_curve(problem, [failed]) == [0.0]
    assert hypervolume_curve(problem, [*found, failed])[-1] == pytest.approx(curve[-1])


@pytest.mark.parametrize("budget", [10, 12.3, 30])
def test_growing_fidelity_spends_what_it_was_given(budget: float, plain: Problem, tmp_path: Path) -> None:
    found = go(plain, tmp_path, PlainToy(), budget=budget, pace=GROWING)
    spent = sum(e.fidelity for e in found)
    assert budget - 0.25 < spent <= budget + 1e-9
    by_rung = {f: {e.point for e in found if e.fidelity == f} for f in GROWING.fidelities}
    assert by_rung[1.0] <= by_rung[0.25]
    assert {e.fidelity for e in front_of(plain, found)} == {1.0}


def test_points_that_cannot_enter_the_front_do_not_climb(plain: Problem, tmp_path: Path) -> None:
    found = go(plain, tmp_path, PlainToy(), budget=40, pace=GROWING, name="random")
    low, full = ([e for e in found if e.fidelity == f] for f in GROWING.fidelities)
    stayed = {e.point for e in low} - {e.point for e in full}
    assert len(stayed) > len(low) / 4
    best = plain.front([dict(PlainToy()(e.point)) for e in low])
    missed = [low[i].point for i in best if low[i].point in stayed and i < len(low) - 8]
    assert len(missed) <= len(best) / 4


def test_growing_fidelity_resumes_in_the_middle(plain: Problem, tmp_path: Path) -> None:
    whole = go(plain, tmp_path / "whole", PlainToy(), budget=20, pace=GROWING)
    lives = random.Random(3)
    for _ in range(6):
        with pytest.raises(Killed):
            go(plain, tmp_path / "cut", mortal(PlainToy(), lives.randint(1, 6)), budget=20, pace=GROWING)
    assert keys(go(plain, tmp_path / "cut", PlainToy(), budget=20, pace=GROWING)) == keys(whole)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["nsga2", "evolution", "surrogate"])
@pytest.mark.parametrize("pace", [Pace(reproducible=True), Pace(reproducible=True, fidelities=(0.25, 1.0))])
def test_reproducible_searches_do_not_depend_on_who_is_faster(
    name: str, pace: Pace, plain: Problem, tmp_path: Path
) -> None:
    def run(folder: str, seed: int, scorer: Scorer = PlainToy()) -> set[tuple[str, float]]:  # noqa: B008
        found = go(plain, tmp_path / folder, scorer, name=name, executor=Shuffling(scorer, seed), pace=pace)
        return {(e.point.digest, e.fidelity) for e in found}

    whole = run("a", 0)
    assert run("b", 1) == whole
    for life in (3, 9, 14):
        with pytest.raises(Killed):
            run("c", life, mortal(PlainToy(), life))
    assert run("c", 5) == whole


@pytest.mark.parametrize("pace", [Pace(), GROWING])
def test_processes_that_share_an_archive_share_the_work(pace: Pace, plain: Problem, tmp_path: Path) -> None:
    asked: list[tuple[str, float]] = []

    def scorer(point: Any, fidelity: float = 1.0) -> dict[str, float]:
        asked.append((point.digest, fidelity))
        time.sleep(0.003 * chance(point.digest))
        return PlainToy()(point, fidelity)

    found: list[list[Evaluation]] = []

    def work() -> None:
        found.append(go(plain, tmp_path, scorer, budget=40, pace=pace))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 3
    assert len(asked) == len(set(asked))
    assert sum(fidelity for _, fidelity in asked) <= 40
    kept = archive_at(plain, tmp_path).evaluations
    assert {(e.point.digest, e.fidelity) for e in kept} == set(asked)


@pytest.fixture
def two(plain: Problem, tmp_path: Path) -> Iterator[list[Archive]]:
    """One log, as two processes see it."""
    archives = [archive_at(plain, tmp_path) for _ in range(2)]
    yield archives
    for archive in archives:
        archive.close()


def test_claims_hold_while_their_owner_lives(plain: Problem, two: list[Archive]) -> None:
    one, other = two
    points = strategies.get("random")(plain, first=12, batch=8).ask(4)
    assert one.claim(points[:3]) == points[:3]
    assert other.claim(points) == points[3:]
    assert (one.news(), one.claimed, other.claimed) == ([], 1, 3)
    one.close()
    assert other.claimed == 0
    assert other.claim(points[:3]) == points[:3]


def test_a_claim_ends_with_its_evaluation(plain: Problem, two: list[Archive]) -> None:
    one, other = two
    (point,) = strategies.get("random")(plain, first=12, batch=8).ask(1)
    assert one.claim([point], 0.25) == [point]
    one.append(Evaluation(point=point, values=PlainToy()(point), origin="x", seconds=0.0, fidelity=0.25))
    assert [e.point for e in other.news()] == [point]
    assert other.claimed == 0
    assert other.claim([point], 0.25) == []
    assert other.claim([point], 1.0) == [point]
    assert one.claim([point], 1.0) == []


def test_rows_with_their_names_in_another_order_are_the_same_points(plain: Problem) -> None:
    point = plain.corners["smallest"]
    again = plain.space.read(dict(sorted(point.to_dict().items())))
    assert (again, hash(again), again.digest) == (point, hash(point), point.digest)


def test_the_curve_counts_what_evaluations_cost(plain: Problem) -> None:
    points = [plain.space.sample(random.Random(i)) for i in range(6)]
    shares = [0.25, 0.25, 0.5, 1.0, 0.5, 1.0]
    rows = [
        Evaluation(point=p, values=PlainToy()(p), origin="x", seconds=0.0, fidelity=share)
        for p, share in zip(points, shares, strict=True)
    ]
    curve = hypervolume_curve(plain, rows)
    assert len(curve) == 4  # 3.5 in all
    assert curve[0] == 0.0 < curve[1] == curve[2] <= curve[3]
