"""What the list says of a run, as a search, a training or whoever wrote the folder leaves it."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from nas.dashboard.folders import Folder, key_of
from nas.dashboard.journal import KEPT, MOST_CLAIMS, Tally
from nas.dashboard.overview import activity, overview
from nas.dashboard.status import Status, Watch
from nas.journal import Owner
from nas.presence import at_work
from nas.run import Run

SETTINGS = {
    "data": {"name": "stdlib"},
    "space": {"name": "lm_tiny"},
    "train": {"steps": 400},
    "search": {"name": "main", "budget": 100, "workers": 2},
}


def evaluated(digest: str, value: float = 3.0, **more: Any) -> dict[str, Any]:
    return {"digest": digest, "arch": {}, "values": {"bits_per_byte": value}, "origin": "nsga2", "seconds": 0.5, **more}


def look(watch: Watch) -> Status:
    return watch.look(time.monotonic() + 5)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.at(tmp_path / "run")
    made.write_json("run.json", {"settings": SETTINGS})
    return made


@pytest.fixture
def watch(run: Run) -> Watch:
    return Watch(Folder(key_of(run.path), run.path, "run"))


def test_a_run_that_has_only_begun(run: Run, watch: Watch) -> None:
    seen = look(watch)
    assert (seen.task, seen.space, seen.stage, seen.state) == ("stdlib", "lm_tiny", "", "idle")
    assert (seen.evaluated, seen.best, seen.total, seen.skipped) == (0, None, None, ())


def test_a_training_is_followed_by_its_log(run: Run, watch: Watch) -> None:
    log = run.log("supernet/log.jsonl")
    with at_work(run.path, "train"):
        log.append({"step": 0})
        assert look(watch).done == 1
        log.append({"step": 199})
        seen = look(watch)
    assert (seen.state, seen.done, seen.total, seen.unit) == ("running", 200, 400, "steps")


def test_a_profile_is_followed_by_the_clock_and_a_retraining_by_its_results(run: Run, watch: Watch) -> None:
    run.write_json("retrain/old/result.json", {})
    os.utime(run.path / "retrain/old/result.json", (1, 1))
    run.write_json("run.json", {"settings": {"profile": {"minutes": 0.5}}})
    with at_work(run.path, "profile"):
        seen = look(watch)
    assert 0 <= seen.done < 10 and (seen.total, seen.unit) == (30.0, "s")
    with at_work(run.path, "retrain"):
        assert look(watch).done == 0
        run.write_json("retrain/new/result.json", {})
        assert (look(watch).done, look(watch).unit) == (1, "nets")


@pytest.mark.parametrize(("stage", "folder"), [("rank", "rank/trials"), ("tune", "tune/seeds")])
def test_trials_are_followed_by_what_their_runner_says(run: Run, watch: Watch, stage: str, folder: str) -> None:
    run.write_json("tune/old/progress.json", {"done": 9, "total": 9})
    os.utime(run.path / "tune/old/progress.json", (1, 1))
    with at_work(run.path, stage):
        assert (look(watch).done, look(watch).total, look(watch).unit) == (0, None, "trials")
        run.write_json(f"{folder}/progress.json", {"done": 2.5, "total": 74})
        seen = look(watch)
        run.file(f"{folder}/progress.json").write_text("[}")
        damaged = look(watch)
    assert (seen.done, seen.total, seen.skipped) == (2.5, 74, ())
    assert (damaged.done, damaged.total) == (0, None) and f"{folder}/progress.json: damaged" in damaged.skipped[0]


def test_a_search_is_followed_by_its_journal(run: Run, watch: Watch) -> None:
    log = run.log("search/main/archive.jsonl")
    owner = Owner(log.path)
    log.append({"journal": 2, "space": "x"})
    log.append({"claim": ["a", "b", "c"], "owner": owner.name})
    log.append(evaluated("a", 3.1))
    log.append(evaluated("b", error="ValueError: no"))
    with at_work(run.path, "search"):
        seen = look(watch)
        assert (seen.evaluated, seen.failed, seen.total, seen.best) == (2, 1, 100, 3.1)
        assert (seen.metric, dict(seen.workers)) == ("bits_per_byte", {owner.name: 1})
        assert [(one.digest, one.reason) for one in seen.failures] == [("b", "ValueError: no")]
        assert seen.per_s == pytest.approx(2 / 0.5) and seen.left_s == pytest.approx(98 / 4)
        log.append(evaluated("c", 2.9))
        assert (look(watch).best, look(watch).workers) == (2.9, {})
    owner.close()
    assert (look(watch).state, look(watch).per_s) == ("done", None)


def test_claims_of_a_killed_process_do_not_count_and_are_not_taken_away(run: Run, watch: Watch) -> None:
    log = run.log("search/main/archive.jsonl")
    log.append({"claim": ["a"], "owner": "0123456789ab"})
    left = log.path.with_name(".archive-0123456789ab.owner")
    left.touch()
    assert look(watch).workers == {} and left.exists()


def test_accuracy_is_best_where_it_is_greatest(run: Run, watch: Watch) -> None:
    for i, value in enumerate((0.5, 0.9, 0.7)):
        run.log("search/main/archive.jsonl").append(evaluated(str(i)) | {"values": {"accuracy": value}})
    assert (look(watch).metric, look(watch).best) == ("accuracy", 0.9)


def test_scores_on_a_part_of_the_data_are_not_the_best(run: Run, watch: Watch) -> None:
    run.log("search/main/archive.jsonl").append(evaluated("a", 1.0, fidelity=0.25))
    run.log("search/main/archive.jsonl").append(evaluated("b", 3.0))
    assert (look(watch).best, look(watch).evaluated) == (3.0, 2)


def test_the_search_that_was_written_last_is_shown_once_none_is_at_work(run: Run, watch: Watch) -> None:
    run.log("search/main/archive.jsonl").append(evaluated("a"))
    time.sleep(0.01)
    run.log("search/other/archive.jsonl").append(evaluated("a"))
    assert look(watch).search == "other"
    with at_work(run.path, "search"):
        assert look(watch).search == "main"


def test_a_tally_forgets_a_journal_that_was_replaced(run: Run) -> None:
    log = run.log("search/main/archive.jsonl")
    for i in range(5):
        log.append(evaluated(str(i), error="no"))
    tally = Tally(run.path, "main")
    tally.read_on(time.monotonic() + 5)
    log.path.rename(log.path.with_name("old"))
    log.append(evaluated("x"))
    tally.read_on(time.monotonic() + 5)
    assert (tally.evaluated, tally.failed, len(tally.failures)) == (1, 0, 0)


def test_what_a_tally_keeps_is_bounded(run: Run) -> None:
    rows: list[dict[str, Any]] = [{"claim": [f"{i}-{j}" for j in range(200)], "owner": f"o{i}"} for i in range(100)]
    rows += [evaluated(f"e{i}", error="x" * 10_000, origin=f"origin{i}") for i in range(300)]
    rows += [evaluated(f"v{i}") | {"values": {f"value{i}": 1.0, "bits_per_byte": float(i)}} for i in range(300)]
    with run.log("search/main/archive.jsonl").locked() as session:
        session.write(rows)
    tally = Tally(run.path, "main")
    tally.read_on(time.monotonic() + 5)
    assert (tally.evaluated, tally.failed) == (600, 300)
    assert len(tally._claims) <= MOST_CLAIMS and len(tally.failures) == KEPT and len(tally.origins) <= KEPT
    assert len(tally.lowest) <= KEPT + 1 and all(len(one.reason) <= 300 for one in tally.failures)


def test_a_journal_is_not_read_beyond_its_time(run: Run, watch: Watch) -> None:
    run.log("search/main/archive.jsonl").append(evaluated("a"))
    assert watch.look(time.monotonic() - 1).evaluated == 0
    assert look(watch).evaluated == 1


def test_rows_that_make_no_sense_are_survived(run: Run, watch: Watch) -> None:
    odd: list[dict[str, Any]] = [
        {"claim": 3, "owner": []},
        {"claim": [[], {}], "owner": "../../etc/passwd"},
        {"digest": [1], "values": [2], "seconds": "x", "origin": {}},
        {"digest": "a", "values": {"bits_per_byte": 10**400, "accuracy": "high"}, "seconds": 10**400},
        {"fidelity": "half", "values": None},
        {"error": {"a": [1]}},
    ]
    for row in odd:
        run.log("search/main/archive.jsonl").append(row)
    run.write_json("run.json", {"settings": {"data": [], "search": {"budget": "many", "workers": -1}}})
    run.write_json("summary.json", {"search.hypervolume": 10**400})
    seen = look(watch)
    assert (seen.evaluated, seen.failed, seen.total, seen.best, seen.hypervolume) == (4, 1, None, None, None)
    assert overview([seen]) and activity(seen)


def test_a_damaged_line_is_counted_and_the_rest_is_there(run: Run, watch: Watch) -> None:
    log = run.log("search/main/archive.jsonl")
    log.append(evaluated("a"))
    with log.path.open("ab") as stream:
        stream.write(b"00000000 {}\n")
    log.append(evaluated("b"))
    seen = look(watch)
    assert seen.evaluated == 2 and seen.skipped == ("search/main/archive.jsonl: damaged lines left out: 1",)


def test_a_small_file_that_is_broken_is_named_each_time_until_it_is_whole(run: Run, watch: Watch) -> None:
    run.file("summary.json").write_text("{torn")
    assert [look(watch).skipped[0].split(":")[0] for _ in range(2)] == ["summary.json"] * 2
    run.file("summary.json").write_text('{"search.hypervolume": 0.9}')
    assert (look(watch).skipped, look(watch).hypervolume) == ((), 0.9)
