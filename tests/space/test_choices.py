import itertools
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nas.errors import ArchError
from nas.space import ArchSpace, ChoiceSpace, ListedSpace, Pick, Space, as_space, load_space

CHOICES = {"a.width": [16, 8, 32], "a.act": ["relu", "gelu"], "b.width": [8, 16, 32], "bias": [True, False]}


def narrower(genes: Mapping[str, Any]) -> bool:
    return bool(genes["b.width"] <= genes["a.width"])


def made() -> dict[str, Space]:
    free, ruled = ChoiceSpace(CHOICES), ChoiceSpace(CHOICES, where=narrower)
    return {"free": free, "ruled": ruled, "listed": ListedSpace(ruled, list(ruled.every())[::3])}


@pytest.fixture(params=["free", "ruled", "listed"])
def space(request: pytest.FixtureRequest) -> Space:
    return made()[request.param]


def test_every_point_once_and_no_other(space: Space) -> None:
    points = list(space.every())
    assert len(points) == len(set(points)) <= space.size
    assert all(point in space for point in points)
    drafts = (Pick(tuple(zip(space.choices, values, strict=True))) for values in itertools.product(*CHOICES.values()))
    assert len(points) == sum(draft in space for draft in drafts)
    assert {"a.width": 99} not in space


def test_all_that_varies_points_stays_inside(space: Space) -> None:
    rng, points = random.Random(0), list(space.every())
    for _ in range(200):
        one, other = rng.choice(points), rng.choice(points)
        assert space.mutate(one, rng) in space
        assert space.mutate(one, rng) != one
        assert space.crossover(one, other, rng) in space
        assert space.sample(rng) in space
        assert space.point({"a.width": 8, "b.width": 32}) in space


def test_genes_and_rows_lead_back_to_the_point(space: Space) -> None:
    for point in space.every():
        assert space.point(space.genes(point)) == point
        again = space.read(dict(sorted(point.to_dict().items())))
        assert (again, hash(again), again.digest) == (point, hash(point), point.digest)


def test_neighbours_are_others_and_come_once(space: Space) -> None:
    for point in space.every():
        near = list(space.neighbours(point))
        assert len(near) == len(set(near)) > 0
        assert point not in near
        assert all(other in space for other in near)
        shuffled = list(space.neighbours(point, random.Random(1)))
        assert set(shuffled) == set(near)


def test_neighbours_without_rules_differ_in_one_gene() -> None:
    space = made()["free"]
    point = space.sample(random.Random(0))
    near = list(space.neighbours(point))
    assert len(near) == sum(len(values) - 1 for values in CHOICES.values())
    assert {int((space.columns([point]) != space.columns([other])).sum()) for other in near} == {1}


def test_a_listed_point_has_the_closest_others_as_neighbours() -> None:
    space = made()["listed"]
    points = list(space.every())
    apart = (space.columns(points)[:, None] != space.columns(points)).sum(axis=2)
    for i, point in enumerate(points):
        near = [points.index(other) for other in space.neighbours(point)]
        rest = set(range(len(points))) - {i, *near}
        assert max(apart[i][near]) <= min((apart[i][j] for j in rest), default=np.inf)


def test_columns_are_places_among_the_choices() -> None:
    space = ChoiceSpace(CHOICES)
    assert space.choices["a.width"] == (8, 16, 32)
    (row,) = space.columns([space.point({"a.width": 16, "a.act": "gelu", "b.width": 32, "bias": False})])
    assert row.tolist() == [1, 1, 2, 1]
    assert space.ordered.tolist() == [True, False, True, False]


def test_corners_are_the_ends_that_the_rule_allows() -> None:
    assert set(made()["free"].corners()) == {"smallest", "largest"}
    wide = ChoiceSpace({"x": [1, 2], "y": [1, 2]}, where=lambda genes: genes["x"] + genes["y"] < 4)
    assert set(wide.corners()) == {"smallest"}


def test_the_digest_tells_spaces_apart_whatever_their_name() -> None:
    spaces = made()
    assert spaces["free"].digest == ChoiceSpace(CHOICES, name="other").digest
    assert ChoiceSpace({**CHOICES, "bias": [True]}).digest != spaces["free"].digest != spaces["listed"].digest


def test_a_pick_is_a_mapping_that_can_be_a_key() -> None:
    pick = ChoiceSpace(CHOICES).point({"a.width": 32})
    assert pick == {"a.width": 32, "a.act": "relu", "b.width": 8, "bias": True}
    assert {pick: 1}[Pick(tuple(pick.items()))] == 1
    assert len(pick.digest) == 16


def test_a_space_is_what_people_write_down() -> None:
    assert isinstance(as_space(CHOICES), ChoiceSpace)
    rows = [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}, {"x": 1, "y": "a"}]
    listed = as_space(rows)
    assert isinstance(listed, ListedSpace) and listed.size == 2
    block = {"num_heads": [1], "head_dim": [8], "operators": {"softmax": {}}, "ffn": {"mlp": [1]}}
    stage = {"embed_dim": [8], "depth": [1], "block": block}
    content = {"name": "toy", "domain": "image", "stem": {"patch": 1}, "stages": [stage]}
    assert isinstance(as_space(content), ArchSpace) and isinstance(as_space(load_space(content)), ArchSpace)
    assert as_space(listed) is listed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "at least one name with choices.*got none"),
        ({"x": []}, "'x' needs a list of choices, such as .64, 128.; got .."),
        ({"x": "relu"}, "'x' needs a list of choices"),
        ({"x": 3}, "'x' needs a list of choices"),
        ({"x": [1, None]}, "choices are numbers, texts or booleans; 'x' has None"),
        ([], "a space is a SearchSpace.*got list"),
        ([{"x": 1}, {"y": 1}], "all listed points need the names x; got one with y"),
        (7, "a space is a SearchSpace.*got int"),
    ],
)
def test_what_is_no_space_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        as_space(value)


def test_a_rule_that_nothing_meets_is_noticed() -> None:
    space = ChoiceSpace(CHOICES, where=lambda _: False)
    with pytest.raises(ArchError, match="none of 10000 combinations of space 'choices' is allowed.*loosen `where`"):
        space.sample(random.Random(0))


def test_a_listed_point_outside_the_other_space_is_refused() -> None:
    space = ChoiceSpace(CHOICES)
    stranger = Pick((("a.width", 64), ("a.act", "relu"), ("b.width", 8), ("bias", True)))
    with pytest.raises(ArchError, match="which is not in space 'choices': take it out of the list"):
        ListedSpace(space, [stranger])
    with pytest.raises(ArchError, match="a list of points needs at least one"):
        ListedSpace(space, [])


def test_genes_that_rules_bind_can_all_be_turned() -> None:
    block = {"num_heads": [1, 2, 4], "num_kv_heads": [1, 2], "head_dim": [8], "operators": {"softmax": {}}}
    stage = {"embed_dim": [16], "depth": [1], "block": {**block, "ffn": {"mlp": [1]}}}
    found = load_space({"name": "toy", "domain": "image", "stem": {"patch": 1}, "stages": [stage]})
    space = ArchSpace(found)
    gene = next(name for name in space.choices if name.endswith("num_heads"))
    near = [space.genes(arch)[gene] for arch in space.neighbours(found.largest())]
    assert {1, 2} <= set(near)
