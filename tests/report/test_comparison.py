from pathlib import Path

import pytest

from nas.report.comparison import compare
from nas.report.read import read
from nas.run import Run
from tests.report.test_figures import A, B, C, measured


def run_of(path: Path, rows: list[dict[str, object]], cpu: str) -> Run:
    run = Run.at(path)
    run.write_json("search/main/front.json", rows)
    run.log("search/main/archive.jsonl").append(rows[0])
    run.write_json("profile/device.json", {"cpu": cpu, "runtime": "eager", "threads": 2})
    return run


def test_fronts_share_one_box_and_archs_are_matched(tmp_path: Path) -> None:
    one = run_of(tmp_path / "a/run", [measured(A, 4.0, 0.9), measured(B, 2.0, 0.7)], "Fast")
    other = run_of(tmp_path / "b/run", [measured(A, 6.0, 0.9), measured(C, 3.0, 0.5)], "Slow")
    found = compare(read(one), [read(other), read(Run.at(tmp_path / "none"))])
    assert found is not None
    assert [(run.name, run.device) for run in found.runs] == [
        ("run (1)", "Fast, eager, threads: 2"),
        ("run (2)", "Slow, eager, threads: 2"),
    ]
    # the box spans 2 to 6 ms and 0.5 to 0.9, each with a margin of a twentieth beyond the worst
    first = 0.55 * 1.05 + 0.5 * 0.55  # what 4 ms at 0.9 beats, and 2 ms at 0.7 left of it
    second = 0.05 * 1.05 + (0.8 - 0.05) * 0.05
    assert [run.hypervolume for run in found.runs] == pytest.approx([first / 1.05**2, second / 1.05**2])
    assert [(one.digest, one.latencies) for one in found.shared] == [(A.digest, (4.0, 6.0))]
    assert found.left_out == ("none has no measured front: run `nas search run.dir=none`",)


def test_a_run_alone_and_runs_in_another_metric_are_not_compared(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", [measured(A, 4.0, 0.9)], "Fast")
    assert compare(read(one), []) is None
    row = measured(A, 1.0, 0.9)
    for part in ("values", "measured"):
        row[part]["bits_per_byte"] = row[part].pop("accuracy")
    other = run_of(tmp_path / "other", [row], "Fast")
    found = compare(read(one), [read(other)])
    assert found is not None and len(found.runs) == 1
    assert found.left_out == ("other has bits_per_byte, not accuracy",)
