import json
from pathlib import Path

import pytest

from nas.errors import CheckpointError
from nas.run import Run


def test_log_keeps_rows_in_order(tmp_path: Path) -> None:
    log = Run.at(tmp_path).log("a/log.jsonl")
    for i in range(3):
        log.append({"i": i, "text": "é\n"})
    assert [row["i"] for row in log.rows()] == [0, 1, 2]
    assert log.rows()[0]["text"] == "é\n"


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_torn_last_line_is_dropped_and_mended(tmp_path: Path, cut: int) -> None:
    log = Run.at(tmp_path).log("log.jsonl")
    for i in range(3):
        log.append({"i": i})
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert [row["i"] for row in log.rows()] == [0, 1]
    log.append({"i": 9})
    assert [row["i"] for row in log.rows()] == [0, 1, 9]


def test_damage_in_the_middle_is_said(tmp_path: Path) -> None:
    log = Run.at(tmp_path).log("log.jsonl")
    for i in range(3):
        log.append({"i": i})
    log.path.write_bytes(log.path.read_bytes().replace(b'"i":1', b'"i":7'))
    with pytest.raises(CheckpointError, match="line 2 is damaged"):
        log.rows()


def test_json_is_whole_and_has_no_nan(tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    run.write_json("x.json", {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.0]}
    assert run.read_json("missing.json", 3) == 3
    run.write_json("order.json", {"b": 1, "a": 2})
    assert list(run.read_json("order.json")) == ["b", "a"]
    (tmp_path / "order.json").unlink()
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        run.read_json("x.json")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_figures_merge_and_stage_time_adds_up_over_interruptions(tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    run.record({"a": 1})
    with pytest.raises(KeyboardInterrupt), run.stage("train"):
        raise KeyboardInterrupt
    first = run.read_json("summary.json")["stage.train.seconds"]
    with run.stage("train"):
        pass
    summary = run.read_json("summary.json")
    assert summary["a"] == 1 and summary["stage.train.seconds"] >= first


def test_only_a_folder_without_results_is_withdrawn(tmp_path: Path) -> None:
    bare, used = Run.at(tmp_path / "bare"), Run.at(tmp_path / "used")
    for run in (bare, used):
        with run.stage("rank"):
            run.write_json("run.json", {})
    used.file("supernet/log.jsonl").touch()
    bare.withdraw()
    used.withdraw()
    assert not bare.path.exists() and (used.path / "run.json").exists() and (used.path / "summary.json").exists()
