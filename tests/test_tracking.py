"""Weights & Biases without a network: offline and disabled runs are real, resuming is told to a list."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas import tracking
from nas.errors import MissingDependencyError
from nas.run import Run
from nas.tracking import Tracked, tracker


class Session:
    """Stands for an open run where only what is logged matters."""

    id = "abc"

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, Any]]] = []

    def log(self, figures: dict[str, Any], step: int) -> None:
        self.logged.append((step, figures))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.at(tmp_path / "run")


def evaluation(value: float, **more: Any) -> dict[str, Any]:
    return {"digest": str(value), "values": {"accuracy": value, "params": None}, "seconds": 0.5, **more}


def test_off_is_nobody_and_needs_no_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with tracker("off", run, "train") as tracked:
        assert tracked is None
    assert list(run.path.iterdir()) == []


def test_a_missing_package_is_named_with_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'attention-nas\[wandb\]'"),
        tracker("offline", run, "x"),
    ):
        pass


def test_evaluations_are_steps_in_the_order_of_their_ends(run: Run) -> None:
    session = Session()
    rows = [{"claim": ["a"]}, evaluation(0.1), evaluation(0.2, error="no"), evaluation(0.3, fidelity=0.5)]
    Tracked(session, run).evaluations([*rows, evaluation(0.4)])
    assert session.logged == [(1, {"accuracy": 0.1, "seconds": 0.5}), (2, {"accuracy": 0.4, "seconds": 0.5})]


def test_who_goes_on_logs_only_what_is_new(run: Run) -> None:
    first, second = Session(), Session()
    Tracked(first, run).evaluations([evaluation(0.1), evaluation(0.2)])
    resumed = Tracked(second, run)
    resumed.evaluations([evaluation(0.1)])
    resumed.evaluations([evaluation(0.2), evaluation(0.3)])
    assert [step for step, _ in first.logged] == [1, 2]
    assert second.logged == [(3, {"accuracy": 0.3, "seconds": 0.5})]


def test_steps_that_a_killed_training_repeats_are_logged_once(run: Run) -> None:
    session, rows = Session(), [{"step": step, "loss": float(step)} for step in (0, 20, 40, 20, 40, 60)]
    Tracked(session, run).steps(rows)
    Tracked(session, run).steps(rows)
    assert session.logged == [(step, {"loss": float(step)}) for step in (0, 20, 40, 60)]


def test_offline_keeps_everything_in_the_run_folder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb", reason="pip install 'attention-nas[wandb]'")
    with tracker("offline", run, "search/main", {"search": {"budget": 3}}) as tracked:
        assert tracked is not None
        tracked.evaluations([evaluation(0.1), evaluation(0.2)])
        tracked.figures({"search.hypervolume": 0.9})
        tracked.table("front", ("arch", "latency_ms"), [("a", 1.0), ("b", 2.0)])
        tracked.page("layers", "<p>layers</p>")
        tracked.artifact("main/front", {"a.json": "{}"})
    kept = next((run.path / "wandb").glob("offline-run-*"))
    table = json.loads(next(kept.glob("files/media/table/front*.json")).read_text())
    assert (table["columns"], table["data"]) == (["arch", "latency_ms"], [["a", 1.0], ["b", 2.0]])
    assert next(kept.glob("files/media/html/layers*.html")).read_text() == "<p>layers</p>"
    assert list(kept.glob("run-*.wandb"))
    assert "wandb sync" in capsys.readouterr().err


def test_stages_of_a_run_are_one_group_and_each_name_one_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def init(**settings: Any) -> Any:
        asked.append(settings)
        return SimpleNamespace(finish=lambda exit_code: asked[-1].update(code=exit_code), id="x", url="")

    double = SimpleNamespace(init=init, Settings=dict)
    monkeypatch.setattr(tracking, "_wandb", lambda: double)
    for stage in ("train", "search/main", "search/main", "search/other"):
        with tracker("offline", run, stage):
            pass
    assert {one["group"] for one in asked} == {"run"} and [one["code"] for one in asked] == [0] * 4
    assert [one["job_type"] for one in asked] == ["train", "search", "search", "search"]
    ids = [one["id"] for one in asked]
    assert ids[1] == ids[2] and len(set(ids)) == 3
    with pytest.raises(KeyboardInterrupt), tracker("offline", run, "train"):
        raise KeyboardInterrupt
    assert asked[-1]["code"] == 1


def test_disabled_goes_through_all_motions_and_keeps_nothing(run: Run) -> None:
    pytest.importorskip("wandb", reason="pip install 'attention-nas[wandb]'")
    with tracker("disabled", run, "search/main") as tracked:
        assert tracked is not None
        tracked.table("front", ("arch",), [("a",)])
        tracked.artifact("front", {"a.json": "{}"})
    assert not list(run.path.rglob("*.wandb"))


def test_without_a_key_nothing_goes_online(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("wandb", reason="pip install 'attention-nas[wandb]'")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with tracker("online", run, "train"):
        pass
    assert "no API key found, logging offline" in capsys.readouterr().err
    assert list((run.path / "wandb").glob("offline-run-*"))
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking._has_key()
