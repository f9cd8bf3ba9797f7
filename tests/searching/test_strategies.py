import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from nas.arch import Arch
from nas.errors import ConfigError, InfeasibleError
from nas.pareto import hypervolume, least
from nas.searching import strategies
from nas.searching.executor import Scorer
from nas.searching.objectives import Constraint, Objective
from nas.searching.problem import Problem
from nas.searching.strategies import Strategy, surrogate
from nas.space import Encoder, SearchSpace
from tests.searching.toys import Toy

NAMES: tuple[str, ...] = strategies.names()


def every(test: Callable[..., None]) -> Callable[..., None]:
    """Runs the test on every strategy."""
    return pytest.mark.usefixtures("quick")(pytest.mark.parametrize("name", NAMES)(test))


def make(name: str, problem: Problem, seed: int = 0) -> Strategy:
    return strategies.get(name)(problem, seed=seed, first=12, batch=8)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # the contract does not depend on how long candidates are evolved
    monkeypatch.setattr(surrogate, "GENERATIONS", 2)
    monkeypatch.setattr(surrogate, "CHILDREN", 24)


def drive(strategy: Strategy, scorer: Scorer, count: int, *, at_once: int = 1) -> list[Arch]:
    done: list[Arch] = []
    while len(done) < count:
        asked = strategy.ask(min(at_once, count - len(done)))
        for arch in asked:
            strategy.tell(arch, {**strategy.problem.cheap([arch])[0], **scorer(arch)})
        done += asked
    return done


def volume(problem: Problem, scorer: Scorer, archs: list[Arch]) -> float:
    points = problem.points([{**problem.cheap([arch])[0], **scorer(arch)} for arch in archs])
    scale = problem.points([{**problem.cheap([problem.space.largest()])[0], "accuracy": 1.0}])[0]
    return hypervolume(points / np.abs(scale), [0, 1, 1], least(points))


def test_folder_is_the_registry() -> None:
    assert NAMES == ("nsga2", "random", "surrogate")
    with pytest.raises(ConfigError, match="search.strategy must be one of nsga2, random, surrogate; got 'tpe'"):
        strategies.get("tpe")


@every
def test_proposals_are_in_the_space_and_never_repeat(name: str, problem: Problem, toy: Scorer) -> None:
    archs = drive(make(name, problem), toy, 72, at_once=3)
    assert len(set(archs)) == 72
    assert all(arch in problem.space for arch in archs)


@every
def test_asking_without_telling_goes_on(name: str, problem: Problem, toy: Scorer) -> None:
    strategy = make(name, problem)
    done = drive(strategy, toy, 32)
    assert len({*done, *strategy.ask(40)}) == 72


@every
def test_first_design_comes_first(name: str, problem: Problem, toy: Scorer) -> None:
    strategy, space = make(name, problem), problem.space
    first = drive(strategy, toy, 12)
    assert first[:2] == [space.smallest(), space.largest()]
    assert set(space.anchors().values()) <= set(first)
    assert [strategy.origin(arch) for arch in (first[0], first[-1])] == ["smallest", "stratified"]
    assert strategy.origin(strategy.ask(1)[0]) == name


@every
def test_a_resumed_search_goes_on_with_the_same_archs(name: str, problem: Problem, toy: Scorer) -> None:
    whole = drive(make(name, problem), toy, 40)
    for stop in (5, 17, 24, 39):
        resumed = make(name, problem)
        for arch in whole[:stop]:
            resumed.tell(arch, {**problem.cheap([arch])[0], **toy(arch)})
        assert drive(resumed, toy, 40 - stop) == whole[stop:], stop


@every
def test_the_seed_decides(name: str, problem: Problem, toy: Scorer) -> None:
    one, same, other = (drive(make(name, problem, seed), toy, 28) for seed in (0, 0, 1))
    assert one == same != other


@every
def test_limits_hold_before_evaluation(name: str, limited: Problem, toy: Scorer) -> None:
    archs = drive(make(name, limited), toy, 48)
    assert all(limited.feasible(values) for values in limited.cheap(archs))
    assert len(set(archs)) == 48


@every
def test_infeasible_limit_names_the_cheapest_cost(name: str, problem: Problem) -> None:
    cheapest = problem.cheap([problem.space.smallest()])[0]["params"]
    impossible = Problem(
        problem.space, problem.objectives, (Constraint(name="params", bound=cheapest / 2),), problem.cheap
    )
    with pytest.raises(InfeasibleError, match=rf"meets params <= {cheapest / 2:g}.*cheapest has params {cheapest:.4g}"):
        make(name, impossible)


@every
def test_an_exhausted_space_gives_all_it_has(name: str, problem: Problem, toy: Scorer) -> None:
    space = problem.space.only(problem.space.largest())
    stage = problem.space.stages[0]
    small = SearchSpace(space.frame, (type(stage)(stage.embed_dims, (1,), stage.blocks[:1]),))
    strategy = make(name, Problem(small, problem.objectives, (), problem.cheap))
    found: list[Arch] = []
    while asked := strategy.ask(8):
        for arch in asked:
            strategy.tell(arch, {**problem.cheap([arch])[0], **toy(arch)})
        found += asked
    assert len(set(found)) == len(found) == small.size


@every
def test_every_value_of_every_gene_is_proposed(name: str, problem: Problem, toy: Scorer) -> None:
    encoder = Encoder(problem.space)
    proposed = [encoder.genes(arch) for arch in drive(make(name, problem), toy, 160)]
    for gene, values in encoder.choices.items():
        assert {genes[gene] for genes in proposed if gene in genes} == set(values), gene


@every
def test_failed_evaluations_are_skipped(name: str, problem: Problem, toy: Scorer) -> None:
    strategy = make(name, problem)
    for i, arch in enumerate(itertools.chain.from_iterable(strategy.ask(1) for _ in range(50))):
        strategy.tell(arch, {} if i % 2 else {**problem.cheap([arch])[0], **toy(arch)})
    assert strategy.ask(1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
def test_better_than_random_on_equal_evaluations(name: str, problem: Problem, toy: Scorer) -> None:
    ours, chance = (
        [volume(problem, toy, drive(make(kind, problem, seed), toy, 96)) for seed in range(2)]
        for kind in (name, "random")
    )
    assert np.mean(ours) >= np.mean(chance)


def test_nothing_known_beforehand_is_a_problem_too(space: SearchSpace) -> None:
    objectives = (Objective("accuracy", "maximise"), Objective("size"))
    for name in NAMES:
        strategy, asked = make(name, Problem(space, objectives)), set()
        for _ in range(32):
            (arch,) = strategy.ask(1)
            asked.add(arch)
            strategy.tell(arch, {**Toy()(arch), "size": float(len(arch.blocks))})
        assert len(asked) == 32 and all(arch in space for arch in asked), name


def test_a_limit_that_few_meet_still_yields(problem: Problem) -> None:
    bound = sorted({v["params"] for v in problem.cheap([*_some(problem, 400)])})[12]
    tight = Problem(problem.space, problem.objectives, (Constraint(name="params", bound=bound),), problem.cheap)
    drawn = set(itertools.islice(tight.draws(random.Random(0)), 200))
    assert len(drawn) > 20
    assert all(tight.excess(arch) == 0 for arch in drawn)


def test_a_constraint_that_nobody_computes_is_refused(problem: Problem) -> None:
    wrong = Problem(problem.space, problem.objectives, (Constraint(name="watts", bound=1.0),), problem.cheap)
    with pytest.raises(ConfigError, match="constraint watts <= 1 needs a value .* or add 'watts' to search.objectives"):
        wrong.check()


def _some(problem: Problem, count: int) -> list[Arch]:
    return list(itertools.islice(problem.draws(random.Random(1)), count))
