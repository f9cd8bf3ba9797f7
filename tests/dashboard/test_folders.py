import os
from pathlib import Path

import pytest

from nas.dashboard import folders
from nas.dashboard.folders import Folders, fingerprint, key_of, last_change


def run_at(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text("{}")
    return path


def labels(*roots: Path) -> list[str]:
    return [one.label for one in Folders(roots).all().values()]


def test_runs_are_found_at_any_depth_and_not_inside_of_runs(tmp_path: Path) -> None:
    run_at(tmp_path / "b")
    run_at(tmp_path / "project" / "a")
    run_at(tmp_path / "b" / "tune" / "inner")
    run_at(tmp_path / ".hidden")
    (tmp_path / "empty").mkdir()
    assert labels(tmp_path) == ["b", "project/a"]
    assert labels(tmp_path / "b") == ["b"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    away = run_at(tmp_path / "away" / "run")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(away)
    fake = tmp_path / "runs" / "fake"
    fake.mkdir()
    (fake / "run.json").symlink_to(away / "run.json")
    assert labels(tmp_path / "runs") == []


def test_a_run_that_becomes_a_link_is_gone(tmp_path: Path) -> None:
    run, away = run_at(tmp_path / "runs" / "run"), run_at(tmp_path / "away")
    found = Folders([tmp_path / "runs"], fresh_s=1000)
    assert found.get(key_of(run)) is not None
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(away)
    assert found.get(key_of(run)) is None


def test_a_loop_of_links_and_a_folder_out_of_reach_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    run_at(tmp_path / "run")
    assert labels(tmp_path, tmp_path / "gone") == ["run"]


def test_a_folder_with_too_much_is_cut_and_does_not_hide_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST_ENTRIES", 40)
    for i in range(100):
        (tmp_path / "a" / "junk" / f"{i}").mkdir(parents=True)
    run_at(tmp_path / "b")
    found = Folders([tmp_path])
    assert [one.label for one in found.all().values()] == ["b"] and found.is_cut


def test_names_that_are_no_text_are_shown_as_far_as_they_are(tmp_path: Path) -> None:
    run_at(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    assert labels(tmp_path) == ["\ufffd\ufffd"]


def test_a_fingerprint_changes_with_every_file(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run")
    seen = [fingerprint(run)]
    assert fingerprint(run) == seen[0]
    (run / "search").mkdir()
    (run / "search" / "log").write_text("1")
    seen.append(fingerprint(run))
    (run / "search" / "log").write_text("12")
    seen.append(fingerprint(run))
    os.utime(run / "search" / "log", (5, 5))
    seen.append(fingerprint(run))
    (run / "search" / "log").unlink()
    seen.append(fingerprint(run))
    assert len(set(seen[:-1])) == len(seen) - 1 and seen[-1] == seen[0]


def test_drafts_and_locks_are_no_change(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run")
    before = fingerprint(run), last_change(run)
    (run / ".summary.json.123").write_text("half")
    assert (fingerprint(run), last_change(run)) == before
