import random
from collections import defaultdict
from typing import Any

import pytest

from nas.arch import Arch
from nas.errors import ArchError, ConfigError
from nas.space import ArchSpace, Encoder, SearchSpace, crossover, load_space, mutate, sample, stratified
from nas.supernet import network_cost
from tests.spaces import SHAPES, names, raw, shipped


@pytest.fixture(params=names())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return shipped(request.param)


def test_everything_drawn_varied_or_crossed_is_in_the_space(space: SearchSpace) -> None:
    rng = random.Random(0)
    for _ in range(60):
        one, other = sample(space, rng), sample(space, rng)
        changed = mutate(space, one, rng)
        assert changed != one
        assert all(arch in space for arch in (one, other, changed, crossover(space, one, other, rng)))


def test_corners_and_anchors_are_in_the_space(space: SearchSpace) -> None:
    assert space.smallest() in space and space.largest() in space
    assert set(space.anchors()) == set(space.families())
    assert all(anchor in space for anchor in space.anchors().values())


def test_every_value_of_every_knob_is_reached_by_sampling_and_by_mutation(space: SearchSpace) -> None:
    rng = random.Random(0)
    encoder = Encoder(space)
    wanted = {(gene, value) for gene, values in encoder.choices.items() for value in values}
    sampled: set[Any] = set()
    mutated: set[Any] = set()
    arch = space.largest()
    for _ in range(6000):
        sampled |= set(encoder.genes(sample(space, rng)).items())
        arch = mutate(space, arch, rng, rate=0.5)
        mutated |= set(encoder.genes(arch).items())
        if wanted <= sampled and wanted <= mutated:
            break
    assert not wanted - sampled
    assert not wanted - mutated


def test_genes_give_the_arch_back(space: SearchSpace) -> None:
    rng, encoder = random.Random(0), Encoder(space)
    for _ in range(50):
        arch = sample(space, rng)
        assert encoder.arch(encoder.genes(arch)) == arch


def test_any_genes_give_an_arch_of_the_space(space: SearchSpace) -> None:
    rng, encoder = random.Random(0), Encoder(space)
    for _ in range(50):
        assert encoder.arch({gene: rng.choice(values) for gene, values in encoder.choices.items()}) in space


def test_encoding_has_one_number_per_feature_and_tells_archs_apart(space: SearchSpace) -> None:
    rng, points = random.Random(0), ArchSpace(space)
    archs = list({sample(space, rng) for _ in range(50)})
    columns = points.columns(archs)
    assert len({tuple(row) for row in columns.tolist()}) == len(archs)
    sizes = [len(values) for values in points.choices.values()]
    assert columns.shape == (len(archs), len(sizes)) and (columns >= -1).all() and (columns < sizes).all()


def test_stratified_spans_the_costs(space: SearchSpace) -> None:
    shape = SHAPES[space.frame.name]

    def cost(arch: Arch) -> float:
        return network_cost(space.frame, shape, arch).flops

    rng = random.Random(0)
    drawn = [sample(space, rng) for _ in range(200)]
    archs = stratified([*drawn, space.smallest(), space.largest()], 12, cost)
    assert len(set(archs)) == 12
    assert cost(archs[0]) <= cost(space.smallest()) and cost(archs[-1]) >= cost(space.largest())


def test_size_counts_different_archs() -> None:
    values = raw("digits_tiny")
    values["stages"][0]["embed_dim"] = [8, 16]
    values["stages"][0]["depth"] = [1, 2]
    values["stages"][0]["block"] = {
        "num_heads": [1, 2],
        "num_kv_heads": [1, 2],
        "operators": {"softmax": {}, "none": {}},
        "ffn": {"mlp": [1], "none": []},
        "gate": ["none"],
    }
    space, rng = load_space(values), random.Random(0)
    seen = {sample(space, rng) for _ in range(3000)}
    assert len(seen) == space.size == 2 * (1 + 7 + 8 * 7)


def test_digest_is_of_the_content_not_the_name() -> None:
    values = raw("digits_tiny")
    same = load_space({**values, "name": "other"})
    values["stages"][0]["depth"] = [1, 2]
    assert same.digest == shipped("digits_tiny").digest != load_space(values).digest


def test_only_one_arch_is_a_space_of_size_one(space: SearchSpace) -> None:
    arch = sample(space, random.Random(3))
    alone = space.only(arch)
    assert alone.size == 1 and alone.largest() == alone.smallest() == arch


def _broken(change: dict[str, Any]) -> dict[str, Any]:
    values = raw("digits_tiny")
    values["stages"][0]["block"].update(change)
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operators": {"sofmax": {}}}, "must be one of .*softmax.*'sofmax'"),
        ({"operators": {"softmax": {"window": [3]}}}, "unknown window"),
        ({"operators": {"neighborhood": {}}}, "needs choices for kernel_size"),
        ({"operators": {"decayed": {}}}, "'decayed' is not legal in domain 'image'"),
        ({"num_kv_heads": [3]}, "no legal combination"),
        ({"ffn": {"mpl": [1]}}, "FFN kind"),
        ({"gate": ["cbma"]}, "gate must be one of"),
        ({"operators": {}}, "at least one operator"),
        ({"ffn": {"mlp": []}}, "at least one operator, one FFN"),
        ({"ffn": {"mlp": [-1]}}, "every other kind a positive one"),
        ({"num_heads": [0, 4]}, r"num_heads = \[0\]"),
        ({"num_kv_heads": [0]}, "num_kv_heads must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_choices_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchError, match=message):
        load_space(_broken(change))


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="head_dims"):
        load_space(_broken({"head_dims": [8]}))
    with pytest.raises(ConfigError, match="stem.patch.*greater than or equal to 0"):
        load_space({**raw("digits_tiny"), "stem": {"patch": -1}})
    with pytest.raises(ConfigError, match="stages.0.reduction.*greater than or equal to 1"):
        load_space({**raw("digits_tiny"), "stages": [{**raw("digits_tiny")["stages"][0], "reduction": 0}]})
    with pytest.raises(ConfigError, match="stages.0.depth"):
        load_space({**raw("digits_tiny"), "stages": [{**raw("digits_tiny")["stages"][0], "depth": ["two"]}]})


def test_grouped_sizes_follow_the_cost() -> None:
    by_name: dict[str, list[int]] = defaultdict(list)
    for name in names():
        space = shipped(name)
        cost = [network_cost(space.frame, SHAPES[name], a).flops for a in (space.smallest(), space.largest())]
        by_name[name] = cost
    assert all(small < large for small, large in by_name.values())
