from pathlib import Path
from typing import Any

import pytest

from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.report import figures
from nas.report.families import dependences
from nas.report.read import read
from nas.report.stacks import leading_family, operator_shares, outline, stacks
from nas.run import Run

SOFTMAX = OperatorArch.of("softmax", num_heads=4, num_kv_heads=2, head_dim=16)
LINEAR = OperatorArch.of("linear", num_heads=2, num_kv_heads=2, head_dim=8, feature_map="elu", feature_dim=8)
NONE = OperatorArch.of("none")


def net(*found: OperatorArch, embed_dim: int = 32) -> Arch:
    return Arch((StageArch(embed_dim, tuple(BlockArch(operator, FfnArch("mlp", 2.0)) for operator in found)),))


def row(arch: Arch, latency: float, accuracy: float, **more: Any) -> dict[str, Any]:
    known = {"latency_ms": latency, "accuracy": accuracy, "params": 10.0}
    return {"arch": arch.to_dict(), "digest": arch.digest, "values": known, "origin": "x", "seconds": 1.0, **more}


def measured(arch: Arch, latency: float, accuracy: float, **more: Any) -> dict[str, Any]:
    found = {"latency_ms": latency, "latency_spread_ms": 0.2, "quality_val": accuracy, "accuracy": accuracy}
    return row(arch, latency, accuracy, measured=found, **more)


A, B, C = net(SOFTMAX, SOFTMAX), net(LINEAR), net(SOFTMAX, LINEAR)
GATED = Arch((StageArch(16, (BlockArch(LINEAR, gate="cbam"),)), StageArch(32, (BlockArch(NONE, FfnArch("mlp", 1.0)),))))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.at(tmp_path)
    for one in (row(A, 4.0, 0.9), row(B, 1.0, 0.6), {"arch": A.to_dict(), "error": "boom"}, {"odd": 1}):
        run.log("search/main/archive.jsonl").append(one)
    for one in (row(B, 1.0, 0.6), row(C, 2.0, 0.5)):
        run.log("search/main/random.jsonl").append(one)
    rows = [measured(A, 4.0, 0.9, is_front=True, is_knee=True), measured(C, 2.0, 0.5, is_front=False)]
    run.write_json("search/main/front.json", [*rows, measured(B, 1.0, 0.6, is_front=True, is_knee=False)])
    run.write_json(f"retrain/{A.digest}/result.json", {"digest": A.digest, "val": 0.95, "test": 0.94})
    return run


def test_front_points_are_sorted_and_know_their_place(run: Run) -> None:
    fast, lost, best = figures.front_points(read(run))
    assert [p.digest for p in (fast, lost, best)] == [B.digest, C.digest, A.digest]
    assert (best.low_ms, best.high_ms) == (3.9, 4.1)
    assert (best.quality, best.quality_alone, best.quality_test) == (0.9, 0.95, 0.94)
    assert fast.quality_alone is None
    assert [p.is_edge for p in (fast, lost, best)] == [True, False, True]
    assert [p.is_front for p in (fast, lost, best)] == [True, False, True]
    assert best.is_knee
    assert best.blocks == ("softmax h4/2 head_dim=16 | mlp x2",) * 2


def test_an_arch_of_both_logs_counts_once_as_the_searchs(run: Run) -> None:
    found = {point.digest: point.source for point in figures.evaluated_points(read(run))}
    assert found == {A.digest: "search", B.digest: "search", C.digest: "random"}


def test_what_is_no_evaluation_is_counted_and_what_failed_is_not(run: Run) -> None:
    assert read(run).skipped == ("search/main/archive.jsonl: 1 of 4 rows are not evaluations",)


def test_dependence_on_families(run: Run) -> None:
    found = dependences(read(run))
    assert found is not None
    # costs scaled to 0..1: A (1, 0), B (0, .75), C (1/3, 1); box to 1.05
    total = 0.05 * 1.05 + 1.0 * 0.3
    assert found.whole.share == 1.0
    linear, softmax = found.families
    assert (linear.family, softmax.family) == ("linear", "softmax")
    assert linear.only.archs == linear.without.archs == softmax.only.archs == 1
    assert linear.only.share == pytest.approx(1.05 * 0.3 / total)
    assert softmax.only.share == pytest.approx(0.05 * 1.05 / total)
    # the front is B at 1 ms and A at 4 ms, and so are the budgets
    assert [(at.latency_ms, at.best) for at in found.whole.at] == [(1.0, 0.6), (1.0, 0.6), (4.0, 0.9)]
    assert [at.best for at in softmax.only.at] == [None, None, 0.9]
    assert [at.best for at in linear.only.at] == [0.6, 0.6, 0.6]


def test_stacks_and_shares(run: Run) -> None:
    drawn = {stack.digest: stack for stack in stacks(read(run))}
    cell = drawn[A.digest].layers[0].cells[0]
    assert (cell.operator, cell.family, cell.heads, cell.ffn) == ("softmax", "softmax", "4/2x16", "mlp x2")
    assert drawn[B.digest].layers[0].cells[0].knobs == (("feature_dim", "8"), ("feature_map", "elu"))
    shares = {(s.depth, s.operator): s.share for s in operator_shares(read(run))}
    assert shares == {(1, "softmax"): 0.5, (1, "linear"): 0.5, (2, "softmax"): 0.5}


def test_words_for_whole_archs() -> None:
    assert outline(A) == "2x softmax"
    assert outline(GATED) == "linear | ffn"
    assert leading_family(C) == "mixed"
    assert leading_family(net(SOFTMAX, LINEAR, LINEAR)) == "linear"
    assert leading_family(net(NONE)) == "no mixing"
    assert leading_family(net(OperatorArch.of("nonsense"))) == "unknown"


def test_curves_and_costs(run: Run) -> None:
    run.write_json("search/main/curve.json", {"search": [0.1, 0.4], "random": [0.1]})
    run.record({"stage.search.seconds": 2.0, "stage.train.seconds": 3.0, "stage.train.cpu_seconds": 9.0})
    run.log("supernet/log.jsonl").append({"step": 20, "loss.largest": 2.5, "loss.random": None, "grad_norm": 1.0})
    record = read(run)
    assert [(p.name, p.x, p.y) for p in figures.hypervolume_curves(record)] == [
        ("search", 1.0, 0.1),
        ("search", 2.0, 0.4),
        ("random", 1.0, 0.1),
    ]
    assert [(c.stage, c.seconds) for c in figures.stage_costs(record)] == [("train", 3.0), ("search", 2.0)]
    assert [(p.name, p.x, p.y) for p in figures.training_curves(record)] == [("largest", 20.0, 2.5)]


def test_many_points_are_thinned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_POINTS", 2)
    assert len(figures.evaluated_points(read(run))) == 2


def test_an_empty_folder_has_no_figures(tmp_path: Path) -> None:
    record = read(Run.at(tmp_path))
    assert not figures.front_points(record)
    assert not figures.evaluated_points(record)
    assert dependences(record) is None
    assert not record.skipped


def test_hypervolume_over_time_adds_up_the_seconds(run: Run) -> None:
    run.write_json("search/main/curve.json", {"search": [0.2, 0.5], "random": [0.1]})
    assert figures.hypervolume_times(read(run)) == [
        figures.CurvePoint("search", 1.0, 0.2),
        figures.CurvePoint("search", 2.0, 0.5),
    ]
