import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.errors import ConfigError, InfeasibleError, MissingDependencyError
from nas.pareto import hypervolume, least
from nas.searching import strategies
from nas.searching.executor import Scorer
from nas.searching.objectives import Constraint, Objective
from nas.searching.problem import Problem
from nas.searching.strategies import Strategy
from nas.space import ArchSpace, ListedSpace, SearchSpace
from tests.searching.conftest import PLAIN
from tests.searching.toys import PlainToy, Toy, chance

NAMES: tuple[str, ...] = strategies.names()
GUIDED = tuple(name for name in NAMES if name != "random")


def every(test: Callable[..., None]) -> Callable[..., None]:
    """Runs the test on every strategy."""
    return pytest.mark.usefixtures("quick")(pytest.mark.parametrize("name", NAMES)(test))


def guided(test: Callable[..., None]) -> Callable[..., None]:
    """Runs the test on every strategy that learns."""
    return pytest.mark.usefixtures("quick")(pytest.mark.parametrize("name", GUIDED)(test))


def make(name: str, problem: Problem, seed: int = 0, **settings: Any) -> Strategy:
    return strategies.get(name)(problem, seed=seed, first=12, batch=8, **settings)


def valued(problem: Problem, scorer: Scorer, point: Any) -> dict[str, float]:
    return {**problem.cheap([point])[0], **scorer(point)}


def drive(strategy: Strategy, scorer: Scorer, count: int, *, at_once: int = 1) -> list[Any]:
    done: list[Any] = []
    while len(done) < count:
        asked = strategy.ask(min(at_once, count - len(done)))
        for point in asked:
            strategy.tell(point, valued(strategy.problem, scorer, point))
        done += asked
    return done


def volume(problem: Problem, scorer: Scorer, points: list[Any], scale: Any) -> float:
    costs = problem.points([valued(problem, scorer, point) for point in points])
    return hypervolume(costs / scale, [0.0] + [1.0] * (costs.shape[1] - 1), least(costs))


def test_folder_is_the_registry() -> None:
    assert NAMES == ("ehvi", "evolution", "local", "narrowing", "nsga2", "nsga3", "random", "surrogate", "tpe")
    with pytest.raises(ConfigError, match="a strategy must be one of ehvi, .*, tpe; got 'annealing'"):
        strategies.get("annealing")


@every
def test_proposals_are_in_the_space_and_never_repeat(name: str, problem: Problem, toy: Scorer) -> None:
    points = drive(make(name, problem), toy, 72, at_once=3)
    assert len(set(points)) == 72
    assert all(point in problem.space for point in points)


@every
def test_asking_without_telling_goes_on(name: str, problem: Problem, toy: Scorer) -> None:
    strategy = make(name, problem)
    done = drive(strategy, toy, 32)
    assert len({*done, *strategy.ask(40)}) == 72


@every
def test_first_design_comes_first(name: str, problem: Problem, toy: Scorer) -> None:
    strategy, corners = make(name, problem), problem.corners
    first = drive(strategy, toy, 12)
    assert first[:2] == [corners["smallest"], corners["largest"]]
    assert set(corners.values()) <= set(first)
    assert [strategy.origin(point) for point in (first[0], first[-1])] == ["smallest", "stratified"]
    assert strategy.origin(strategy.ask(1)[0]) == name


@every
def test_starting_points_come_before_all_but_the_corners(name: str, plain: Problem) -> None:
    given = [plain.space.sample(random.Random(i)) for i in range(3)]
    strategy = make(name, plain, start=given)
    first = strategy.ask(12)
    assert first[len(plain.corners) :][:3] == given
    assert [strategy.origin(point) for point in given] == ["start"] * 3


@every
def test_a_resumed_search_goes_on_with_the_same_points(name: str, problem: Problem, toy: Scorer) -> None:
    whole = drive(make(name, problem), toy, 40)
    for stop in (5, 17, 24, 39):
        resumed = make(name, problem)
        for point in whole[:stop]:
            resumed.tell(point, valued(problem, toy, point))
        assert drive(resumed, toy, 40 - stop) == whole[stop:], stop


@every
def test_an_archive_in_the_order_of_workers_ends_resumes_too(name: str, plain: Problem, plain_toy: Scorer) -> None:
    one, told, flying = make(name, plain), [], []
    for i in range(40):
        flying += one.ask(4 - len(flying))
        point = flying.pop(int(chance("end", i) * len(flying)))
        told.append(point)
        one.tell(point, plain_toy(point))
    again = [make(name, plain) for _ in range(2)]
    for strategy, point in itertools.product(again, told):
        strategy.tell(point, plain_toy(point))
    asked = [strategy.ask(12) for strategy in again]
    assert asked[0] == asked[1]
    assert not set(asked[0]) & set(told)


@every
def test_the_seed_decides(name: str, problem: Problem, toy: Scorer) -> None:
    one, same, other = (drive(make(name, problem, seed), toy, 28) for seed in (0, 0, 1))
    assert one == same != other


@every
def test_limits_hold_before_evaluation(name: str, limited: Problem, toy: Scorer) -> None:
    points = drive(make(name, limited), toy, 48)
    assert all(limited.feasible(values) for values in limited.cheap(points))
    assert len(set(points)) == 48


@every
def test_infeasible_limit_names_the_cheapest_cost(name: str, problem: Problem) -> None:
    cheapest = problem.cheap([problem.corners["smallest"]])[0]["params"]
    impossible = replace(problem, constraints=(Constraint(name="params", bound=cheapest / 2),))
    with pytest.raises(InfeasibleError, match=rf"meets params <= {cheapest / 2:g}.*cheapest has params {cheapest:.4g}"):
        make(name, impossible)


@every
def test_an_exhausted_space_gives_all_it_has(name: str, problem: Problem, space: SearchSpace, toy: Scorer) -> None:
    one, stage = space.only(space.largest()), space.stages[0]
    small = SearchSpace(one.frame, (type(stage)(stage.embed_dims, (1,), stage.blocks[:1]),))
    strategy = make(name, replace(problem, space=ArchSpace(small)))
    found: list[Any] = []
    while asked := strategy.ask(8):
        for point in asked:
            strategy.tell(point, valued(problem, toy, point))
        found += asked
    assert len(set(found)) == len(found) == small.size


@every
def test_every_value_of_every_gene_is_proposed(name: str, problem: Problem, toy: Scorer) -> None:
    proposed = [problem.space.genes(point) for point in drive(make(name, problem), toy, 192)]
    for gene, values in problem.space.choices.items():
        assert {genes[gene] for genes in proposed if gene in genes} == set(values), gene


@every
def test_failed_evaluations_are_skipped(name: str, problem: Problem, toy: Scorer) -> None:
    strategy = make(name, problem)
    for i, point in enumerate(itertools.chain.from_iterable(strategy.ask(1) for _ in range(50))):
        strategy.tell(point, {} if i % 2 else valued(problem, toy, point))
    assert strategy.ask(1)


@every
def test_nothing_but_failures_still_yields(name: str, plain: Problem) -> None:
    strategy = make(name, plain)
    for _ in range(40):
        strategy.tell(strategy.ask(1)[0], {})
    assert len(set(strategy.ask(8))) == 8


@every
def test_named_choices_with_a_rule_are_a_space_too(name: str, plain: Problem, plain_toy: Scorer) -> None:
    points = drive(make(name, plain), plain_toy, 64)
    assert len(set(points)) == 64
    assert all(point in plain.space for point in points)


@every
def test_a_list_of_points_is_a_space_too(name: str, listed: ListedSpace, plain_toy: Scorer) -> None:
    points = drive(make(name, Problem(listed, PLAIN)), plain_toy, 48)
    assert len(set(points)) == 48
    assert all(point in listed for point in points)


@every
@pytest.mark.parametrize("many", [1, 4])
def test_one_objective_and_four(name: str, many: int, plain: Problem) -> None:
    objectives = (*PLAIN, Objective("memory"), Objective("more", "maximise"))[:many]

    def scorer(point: Any) -> dict[str, float]:
        return {**PlainToy()(point), "more": chance(point.digest)}

    assert len(set(drive(make(name, Problem(plain.space, objectives)), scorer, 40))) == 40


@every
def test_a_constant_objective_is_no_obstacle(name: str, plain: Problem) -> None:
    points = drive(make(name, plain), lambda _: {"quality": 1.0, "cost": 2.0}, 32)
    assert len(set(points)) == 32


@every
def test_results_of_low_fidelity_are_superseded(name: str, plain: Problem) -> None:
    strategy = make(name, plain)
    for i in range(40):
        (point,) = strategy.ask(1)
        strategy.tell(point, PlainToy()(point, 0.25), 0.25)
        if i % 2:
            strategy.tell(point, PlainToy()(point))
    seen = strategy.seen(strategy._told)
    assert len(seen.told) == 40
    assert {result.fidelity for result in seen.told} == {0.25, 1.0}
    assert not set(strategy.ask(8)) & set(seen.points)


@guided
def test_a_constraint_on_what_is_evaluated_steers(name: str, plain: Problem, plain_toy: Scorer) -> None:
    bound = Constraint(name="memory", bound=24.0)
    strict = replace(plain, objectives=(*PLAIN, Objective("memory")), constraints=(bound,))
    early, late = _shares(name, strict, plain_toy, lambda values: strict.feasible(values))
    assert late > early


@guided
def test_a_preferred_region_steers(name: str, plain: Problem, plain_toy: Scorer) -> None:
    wished = replace(plain, prefer={"cost": (60.0, 100.0)})
    early, late = _shares(name, wished, plain_toy, lambda values: 60 <= values["cost"] <= 100)
    assert late > early


def _shares(name: str, problem: Problem, scorer: Scorer, wanted: Callable[[Any], bool]) -> tuple[float, float]:
    """Share of wanted points among random ones, and among a strategy's late proposals."""
    rng = random.Random(5)
    chance_ = [wanted(scorer(problem.space.sample(rng))) for _ in range(400)]
    late = [wanted(scorer(p)) for seed in range(2) for p in drive(make(name, problem, seed), scorer, 96)[-48:]]
    return float(np.mean(chance_)), float(np.mean(late))


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.usefixtures("quick")
def test_better_than_random_on_equal_evaluations(name: str, problem: Problem, toy: Scorer) -> None:
    scale = np.abs(problem.points([{**problem.cheap([problem.corners["largest"]])[0], "accuracy": 1.0}])[0])
    ours, chance_ = (
        [volume(problem, toy, drive(make(kind, problem, seed), toy, 96), scale) for seed in range(2)]
        for kind in (name, "random")
    )
    assert np.mean(ours) >= np.mean(chance_)


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.usefixtures("quick")
def test_better_than_random_on_named_choices(name: str, plain: Problem, plain_toy: Scorer) -> None:
    scale = np.array([60.0, 240.0])
    ours, chance_ = (
        [volume(plain, plain_toy, drive(make(kind, plain, seed), plain_toy, 96), scale) for seed in range(3)]
        for kind in (name, "random")
    )
    assert np.mean(ours) > np.mean(chance_)


@every
def test_nothing_known_beforehand_is_a_problem_too(name: str, space: SearchSpace) -> None:
    objectives = (Objective("accuracy", "maximise"), Objective("size"))
    strategy = make(name, Problem(ArchSpace(space), objectives))
    points = drive(strategy, lambda arch: {**Toy()(arch), "size": float(len(arch.blocks))}, 32)
    assert len(set(points)) == 32 and all(point in space for point in points)


def test_a_limit_that_few_meet_still_yields(problem: Problem) -> None:
    bound = sorted({v["params"] for v in problem.cheap([*_some(problem, 400)])})[12]
    tight = replace(problem, constraints=(Constraint(name="params", bound=bound),))
    drawn = set(itertools.islice(tight.draws(random.Random(0)), 200))
    assert len(drawn) > 20
    assert all(tight.excess(point) == 0 for point in drawn)


def test_a_constraint_that_nobody_computes_is_refused(problem: Problem) -> None:
    wrong = replace(problem, constraints=(Constraint(name="watts", bound=1.0),))
    with pytest.raises(ConfigError, match="constraint watts <= 1 needs a value .* or add 'watts' to search.objectives"):
        wrong.check()


def test_a_region_of_what_is_no_objective_is_refused(plain: Problem) -> None:
    with pytest.raises(ConfigError, match="a preferred region is one of objectives, and watts is none"):
        replace(plain, prefer={"watts": (None, 1.0)}).check()


def test_more_objectives_than_a_volume_can_have_are_refused(plain: Problem) -> None:
    many = tuple(Objective(name) for name in "abcde")
    with pytest.raises(ConfigError, match="ehvi takes up to 4 objectives, .* got 5: take nsga3"):
        make("ehvi", replace(plain, objectives=many))


def _some(problem: Problem, count: int) -> list[Any]:
    return list(itertools.islice(problem.draws(random.Random(1)), count))


def test_a_missing_package_is_named_with_its_remedy(plain: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botorch", None)
    with pytest.raises(
        MissingDependencyError, match=r"ehvi needs the package botorch: pip install 'attention-nas.bayes"
    ):
        make("ehvi", plain)
