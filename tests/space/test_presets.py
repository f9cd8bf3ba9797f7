from pathlib import Path
from typing import Any

import pytest
import torch

from nas.arch import Arch
from nas.config import load
from nas.errors import ArchError, ConfigError
from nas.resources import PRESETS
from nas.space import ArchSpace, SearchSpace, load_space, preset, presets, references, scaled
from nas.space.pattern import Preset, resolve
from nas.supernet import Supernet, example_inputs, network_cost
from tests.spaces import SHAPES, names, shipped

NAMES = tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))
WANTED = {
    "lm_small": {
        "all_softmax": [["softmax"] * 6],
        "all_window": [["window"] * 6],
        "all_linear": [["linear"] * 6],
        "uniform_half": [["softmax"] * 3],
        "uniform_quarter": [["softmax"] * 2],
        "sala_hybrid": [["softmax", "decayed", "decayed", "decayed", "softmax", "decayed"]],
        "based_mix": [["linear", "window"] * 3],
        "hymba_mix": [["softmax", "window_linear", "window_linear", "reused_kv", "window_linear", "reused_kv"]],
    },
    "lm_tiny": {
        "sala_hybrid": [["softmax", "decayed", "decayed", "decayed"]],
        "hymba_mix": [["softmax", "window", "window", "softmax"]],
    },
    "vit_small": {"all_softmax": [["softmax"] * 5], "all_window": [["neighborhood"] * 5]},
    "pyramid_small": {
        "levit_like": [["softmax"] * 2, ["softmax"] * 3],
        "shvit_like": [["depthwise"], ["depthwise", "softmax", "depthwise"]],
        "twins_like": [["neighborhood", "softmax"], ["neighborhood", "softmax", "neighborhood"]],
        "efficientvim_like": [["state_mixer"] * 2, ["state_mixer"] * 3],
    },
}


def operators(arch: Arch) -> list[list[str]]:
    return [[block.operator.name for block in stage.blocks] for stage in arch.stages]


def two_blocks(**operators: Any) -> SearchSpace:
    block = {"num_heads": [1, 2], "num_kv_heads": [1, 2], "head_dim": [8], "operators": operators, "ffn": {"mlp": [2]}}
    stage = {"embed_dim": [16, 32], "depth": [1, 2], "block": block}
    return load_space({"name": "toy", "domain": "causal", "stem": {}, "stages": [stage]})


@pytest.mark.parametrize("name", names())
def test_references_are_in_the_space_at_every_size(name: str) -> None:
    space = shipped(name)
    found = references(space)
    assert {"uniform_half", "uniform_quarter"} <= set(found)
    everywhere = set.intersection(
        *({op.name for op in block.operators} for stage in space.stages for block in stage.blocks)
    )
    assert {f"all_{name}" for name in ("softmax", "window", "linear") if name in everywhere} <= set(found)
    assert all(arch in space for arch in found.values())
    for reference, arch in found.items():
        sizes = scaled(space, reference)
        assert all(size in space for size in sizes) and len(set(sizes)) == len(sizes)
        same_form = [size for size in sizes if operators(size) == operators(arch)]
        assert same_form, "its own size is among them"


@pytest.mark.parametrize("name", WANTED)
def test_patterns_are_those_of_the_papers(name: str) -> None:
    found = references(shipped(name))
    assert {reference: operators(found[reference]) for reference in WANTED[name]} == WANTED[name]


def test_every_preset_has_a_source_and_a_shipped_space_that_can_express_it() -> None:
    assert set(presets.presets()) == set(NAMES)
    able = {reference for name in names() for reference in references(shipped(name))}
    assert able == set(NAMES)
    assert all("(20" in one.source for one in presets.presets().values())


def test_knobs_are_those_of_the_papers_as_far_as_the_space_has_them() -> None:
    small = references(shipped("lm_small"))
    far, near = (block.operator for block in small["based_mix"].blocks[:2])
    assert (far["feature_map"], far["feature_dim"], near["window_size"]) == ("taylor2", 16, 64)
    sparse, lightning = (block.operator for block in small["sala_hybrid"].blocks[:2])
    assert (sparse["num_kv_heads"], lightning["num_kv_heads"]) == (1, 8)
    assert {block.operator["feature_map"] for block in small["all_linear"].blocks} == {"elu"}
    assert {block.ffn.kind for block in small["hymba_mix"].blocks} == {"swiglu"}
    pyramid = references(shipped("pyramid_small"))
    single = pyramid["shvit_like"].stages[1].blocks[1]
    assert (single.operator["num_heads"], single.ffn.kind, single.ffn.ratio) == (1, "mlp", 2.0)
    fine, coarse = pyramid["efficientvim_like"].stages
    assert (fine.blocks[0].operator["num_states"], coarse.blocks[0].operator["num_states"]) == (16, 8)
    tiny = references(shipped("lm_tiny"))["based_mix"]
    assert tiny.blocks[0].operator["feature_map"] == "elu", "what stands in for Taylor's where that is missing"


def test_uniform_references_lie_between_smallest_and_largest() -> None:
    space = shipped("lm_small")
    params = [
        network_cost(space.frame, SHAPES["lm_small"], preset(space, name)).params
        for name in ("uniform_quarter", "uniform_half", "all_softmax")
    ]
    smallest = network_cost(space.frame, SHAPES["lm_small"], space.smallest()).params
    assert smallest < params[0] < params[1] < params[2]
    assert [preset(space, name).stages[0].embed_dim for name in ("uniform_quarter", "uniform_half")] == [64, 64]


def test_sizes_cover_widths_depths_and_ratios() -> None:
    space = shipped("lm_tiny")
    sizes = scaled(space, "all_window")
    assert len(sizes) == 2 * 3 * 3
    assert sizes[0] == preset(space, "all_window")
    assert {(s.stages[0].embed_dim, len(s.blocks), s.blocks[0].ffn.ratio) for s in sizes} == {
        (width, depth, ratio) for width in (48, 64) for depth in (2, 3, 4) for ratio in (1.0, 2.0, 4.0)
    }
    pyramid = scaled(shipped("pyramid_small"), "levit_like")
    assert {tuple(len(stage.blocks) for stage in size.stages) for size in pyramid} >= {(2, 3), (1, 2), (1, 1)}


def test_an_unknown_or_impossible_reference_is_refused_with_those_there_are() -> None:
    space = shipped("vit_small")
    for name, reason in (
        ("resnet", "are all_linear, all_softmax, all_window, uniform_half, uniform_quarter; got 'resnet'"),
        ("sala_hybrid", "sala_hybrid: it is for causal, the space is for image"),
        ("levit_like", "levit_like: it needs 2 stages or more, the space has 1"),
    ):
        for call in (preset, scaled):
            with pytest.raises(ArchError) as refused:
                call(space, name)
            assert reason in str(refused.value)


def test_a_missing_operator_makes_a_reference_impossible_and_says_where() -> None:
    space = two_blocks(softmax={}, decayed={})
    assert set(references(space)) == {"all_softmax", "uniform_half", "uniform_quarter", "sala_hybrid"}
    wanted = "block 0 of stage 0 must be window or neighborhood, the space offers softmax, decayed"
    assert presets.unfit(space)["all_window"] == wanted


def test_numbers_give_way_to_the_nearest_and_words_to_the_next_wanted() -> None:
    knobs = {"feature_map": ["taylor2", "relu"], "feature_dim": 9}
    stages = [{"cycle": [{"operators": ["linear"], "knobs": knobs}]}]
    one = load(Preset, {"name": "x", "source": "none", "domains": ["causal"], "stages": stages})
    for maps, kept in ((["elu", "taylor2"], "taylor2"), (["elu", "relu"], "relu"), (["elu"], "elu")):
        space = two_blocks(linear={"feature_map": maps, "feature_dim": [4, 8]})
        operator = resolve(space, one).blocks[1].operator
        assert (operator["feature_map"], operator["feature_dim"]) == (kept, 8)


def test_mistakes_in_a_preset_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", tmp_path)
    text = (PRESETS / "uniform_half.yaml").read_text()
    for wrong, message in (
        ("width: 2", "odd.yaml: stages.0.width: .*less than or equal to 1"),
        ("width: }", "odd.yaml"),
    ):
        (tmp_path / "odd.yaml").write_text(text.replace("width: 0.5", wrong))
        presets.presets.cache_clear()
        with pytest.raises(ConfigError, match=message):
            presets.presets()


def test_searches_begin_with_the_references() -> None:
    space = ArchSpace(shipped("lm_tiny"))
    corners = space.corners()
    assert list(corners)[:2] == ["smallest", "largest"]
    made = {name.removeprefix("reference/"): arch for name, arch in corners.items() if name.startswith("reference/")}
    assert made == references(space.space)


@pytest.mark.parametrize("name", ["lm_small", "pyramid_small", "vit_small"])
def test_references_run_on_a_supernet(name: str) -> None:
    space = shipped(name)
    net = Supernet(space, SHAPES[name])
    inputs = example_inputs(SHAPES[name], 1, 0)
    for arch in references(space).values():
        with torch.no_grad():
            assert torch.isfinite(net(inputs, arch)).all()
