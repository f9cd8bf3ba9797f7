"""Combinations of settings, their names, and what `tune.over` may not hold."""

from typing import Any

import pytest

from nas.config import load
from nas.errors import ConfigError
from nas.tuning import AshaConfig, TuneConfig, check_over, combinations

PLAIN = {
    "run": {"seed": 0},
    "search": {"strategy": "surrogate", "seed": 0, "prefer": "front", "name": "main", "ray": {"retries": 2}},
    "train": {"lr": 0.1},
}
OWN = {"search.name": "set tune.name", "search.ray": "set tune.ray"}


def test_every_combination_has_a_readable_name_of_its_own() -> None:
    made = combinations({"search.strategy": ["nsga2", "random"], "search.seed": [0, 1]})
    assert [one.label for one in made] == [
        "strategy=nsga2,seed=0",
        "strategy=nsga2,seed=1",
        "strategy=random,seed=0",
        "strategy=random,seed=1",
    ]
    assert [one.group for one in made] == ["strategy=nsga2"] * 2 + ["strategy=random"] * 2


def test_no_settings_make_one_combination() -> None:
    assert [one.label for one in combinations({})] == ["all"]
    assert [one.group for one in combinations({"run.seed": [0, 1]})] == ["all", "all"]


def test_names_say_more_where_the_last_word_is_not_enough() -> None:
    labels = [one.label for one in combinations({"search.seed": [1], "run.seed": [2], "train.lr": [0.1]})]
    assert labels == ["search.seed=1,run.seed=2,lr=0.1"]


@pytest.mark.parametrize(
    "values",
    [["a/b", "a:b"], [{"latency_ms": [None, 5]}, {"latency_ms": [5, None]}], ["x" * 200, "x" * 201], ["..", "."]],
)
def test_names_are_file_names_and_differ(values: list[Any]) -> None:
    labels = [one.label for one in combinations({"search.prefer": values})]
    assert len(set(labels)) == len(values)
    assert all(len(label) < 160 and not set(label) & set("/:*? \n\"'{}") for label in labels)


def test_values_land_in_their_places_and_the_original_stays() -> None:
    one = combinations({"search.seed": [7], "search.ray.retries": [0]})[0]
    made = one.of(PLAIN)
    assert made["search"]["seed"] == 7 and made["search"]["ray"] == {"retries": 0}
    assert PLAIN["search"] == {**made["search"], "seed": 0, "ray": {"retries": 2}}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"search.stategy": ["a"]}, "tune.over names settings, and search.stategy is none: see `nas tune --cfg job`"),
        ({"search.seed.deep": [1]}, "search.seed.deep is none"),
        ({"search.name": ["a"]}, "cannot change search.name, which nas tune sets itself: set tune.name"),
        ({"search.ray.retries": [1]}, "search.ray.retries, which nas tune sets itself: set tune.ray"),
        ({"data.seed": [1]}, "those of search, run.seed; got data.seed: leave it out"),
        ({"run.dir": ["x"]}, "got run.dir"),
        ({"search.seed": []}, "tune.over.search.seed needs one or more different values"),
        ({"search.seed": [1, 1]}, r"got \[1, 1\]"),
    ],
)
def test_what_cannot_be_compared_is_refused(over: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_over(over, PLAIN, ("search", "run.seed"), OWN)


def test_what_can_be_compared_is_not() -> None:
    check_over({"search.seed": [0, True], "run.seed": [1]}, PLAIN, ("search", "run.seed"), OWN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"job": "train"}, "job: .*'search' or 'retrain'"),
        ({"over": {"search.seed": 1}}, "over.search.seed: .*list"),
        ({"name": "../x"}, "name: .*pattern"),
        ({"asha": {"grace": 0}}, "asha.grace"),
        ({"ray": {"env_vars": {"A": "1"}}}, "env_vars does not reach trials: export such variables"),
        ({"asha": {"reduction": 1}}, "asha.reduction"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(TuneConfig, values)


@pytest.mark.parametrize(
    ("grace", "reduction", "marks"),
    [
        (0.25, 2, (0.25, 0.5, 1.0)),
        (1.0, 2, (1.0,)),
        (0.2, 3, (0.2, 0.6, 1.0)),
        (0.1, 10, (0.1, 1.0)),
        (0.6, 4, (0.6, 1.0)),
    ],
)
def test_marks_climb_to_the_end(grace: float, reduction: float, marks: tuple[float, ...]) -> None:
    assert AshaConfig(grace=grace, reduction=reduction).marks == pytest.approx(marks)
