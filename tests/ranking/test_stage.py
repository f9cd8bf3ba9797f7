"""The stage on made-up trainings: what it takes, leaves out, refuses and does not do twice."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas import report
from nas.arch import Arch
from nas.data import DataConfig, load
from nas.errors import ConfigError, MeasurementError
from nas.job import Job
from nas.ranking import RankConfig
from nas.ranking.settings import SHORT_SEED
from nas.report.summary import meaning
from nas.run import Run
from nas.supernet import Supernet
from nas.tasks import of
from nas.train import TrainConfig
from nas.trials import rank_subnets as stage
from nas.trials.ranked import Ranked
from tests.spaces import shipped

WEIGHTS = "supernet/weights.safetensors"


def job(run: Run, **config: Any) -> Job:
    """A run whose supernet is fresh and whose weights file is a text."""
    plain = {"run": {"dir": "nowhere"}, "train": {"threads": 2}, "rank": {}, "tune": {"over": 1}}
    settings: Any = SimpleNamespace(rank=RankConfig(**{"count": 9, **config}), train=TrainConfig(steps=5), plain=plain)
    made = Job(run, settings)
    torch.manual_seed(0)
    space, digits = shipped("digits_tiny"), load(DataConfig(name="digits", val_size=40))
    net = Supernet(space, digits.shape)
    made.__dict__.update({"space": space, "dataset": digits, "task": of(digits), "net": net})
    if not (run.path / WEIGHTS).exists():
        run.file(WEIGHTS).write_text("weights")
    return made


def plain(made: Job, arch: Arch) -> dict[str, float]:
    """Metric and loss from all logits at once."""
    val = made.dataset.val
    inputs, targets = made.task.prepare(val, torch.arange(len(val)), torch.device("cpu"))
    with torch.inference_mode():
        logits = torch.cat([made.net.eval()(part, arch) for part in inputs.split(64)])
    right = (logits.argmax(-1) == targets).sum().item() / len(targets)
    return {"accuracy": right, "loss": pytest.approx(float(made.task.loss(logits, targets)), rel=1e-5)}


def value(digest: str, seed: int) -> float:
    return int(digest[:4], 16) / 65536 + 0.01 * seed


def fill(made: Job, *, without: tuple[tuple[str, int], ...] = (), **changed: Any) -> Ranked:
    ranked = Ranked(made)
    for one in ranked.missing():
        digest, seed, _ = one
        if (digest, seed) not in without:
            row = {"digest": digest, "seed": seed, "value": value(digest, seed), "proxies": {"synflow": 1.0 + seed}}
            ranked.table_of(one).log.append({**row, **changed.get(f"at_{digest}_{seed}", {})})
    return ranked


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.at(tmp_path / "one")


@pytest.fixture(autouse=True)
def no_trials(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Labels of every call of Ray Tune, all of whose trials fail."""
    import nas.trials.rank as module

    calls: list[list[str]] = []

    def fail(_: Path, labels: list[str], *__: Any, **___: Any) -> dict[str, str]:
        calls.append(labels)
        return dict.fromkeys(labels, "RuntimeError: no memory")

    monkeypatch.setattr(module, "run_trials", fail)
    return calls


def test_known_results_need_no_ray(run: Run, no_trials: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    made = job(run)
    ranked = fill(made)
    stage(made)
    found = run.read_json("rank/evidence.json")
    assert not no_trials and found["left_out"] == []
    assert found["overall"]["nets"] == 9 and len(found["nets"]) == 10
    extra = [net for net in found["nets"] if not net["is_ranked"]]
    assert [net["digest"] for net in extra] == [shipped("digits_tiny").largest().digest]
    assert found["gap"]["largest"] is not None
    assert found["asked"]["supernet"] == ranked.supernet and found["asked"]["recipe"] == ranked.table.recipe.digest
    for net in found["nets"]:
        assert net["standalone"] == [value(net["digest"], seed) for seed in (0, 1)]
        assert set(net["proxies"]) == {"synflow", "loss"} and net["proxies"]["synflow"] == 1.5
        arch = Arch.from_dict(net["arch"])
        assert {"accuracy": net["inherited"], "loss": -net["proxies"]["loss"]} == plain(made, arch)
    assert found["ceiling"]["value"] == 1.0
    summary = run.read_json("summary.json")
    assert summary["rank.nets"] == 9 and summary["rank.tau"] == found["overall"]["tau"]["value"]
    assert all(meaning(name) for name in summary)
    assert report.ranking_text(run) in capsys.readouterr().err


def test_nothing_is_done_again_until_something_changes(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import nas.trials.ranked as module

    fill(job(run))
    stage(job(run))
    first = run.read_json("rank/evidence.json")
    counted: list[str] = []
    both = {"accuracy": 0.5, "loss": 1.0}
    monkeypatch.setattr(module, "scores", lambda _, arch, *__: counted.append(arch.digest) or dict(both))
    path = run.path / "rank/evidence.json"
    before = path.stat().st_mtime_ns
    stage(job(run))
    assert path.stat().st_mtime_ns == before and report.ranking_text(run) in capsys.readouterr().err
    stage(job(run, resamples=200))
    assert run.read_json("rank/evidence.json")["nets"] == first["nets"] and not counted, "inherited scores are kept"
    run.file(WEIGHTS).write_text("other weights")
    assert "The supernet has changed since" in report.ranking_text(run)
    stage(job(run, resamples=200))
    assert len(counted) == 10 and "has changed" not in report.ranking_text(run)


def test_short_trainings_are_a_rival(run: Run, no_trials: list[list[str]]) -> None:
    """They rank as the truth does here, are each made once, and stay out of the means."""
    fill(job(run, short_steps=2))
    stage(job(run, short_steps=2))
    found = run.read_json("rank/evidence.json")
    assert (
        not no_trials and found["short_steps"] == 2 and len(job(run).run.read_json("rank/evidence.json")["nets"]) == 10
    )
    taus = {rival["name"]: rival["tau"]["value"] for rival in found["rivals"]}
    assert list(taus) == ["params", "flops", "loss", "short", "synflow", "traits", "corrected"] and taus["short"] == 1.0
    assert all(net["standalone"] == [value(net["digest"], seed) for seed in (0, 1)] for net in found["nets"])
    assert "training alone for 2 steps" in report.ranking_text(run)
    assert not Ranked(job(run, short_steps=2)).missing() and len(Ranked(job(run, short_steps=3)).missing()) == 9
    assert all(meaning(name) for name in run.read_json("summary.json"))
    stage(job(run))
    assert "short" not in [rival["name"] for rival in run.read_json("rank/evidence.json")["rivals"]]


def test_a_short_training_that_failed_costs_no_net_and_is_said(
    run: Run, no_trials: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(run, short_steps=2)
    failing, *_ = Ranked(made).ranked
    fill(made, without=((failing, SHORT_SEED),))
    stage(made)
    found = run.read_json("rank/evidence.json")
    assert no_trials == [[f"arch={failing},seed={SHORT_SEED},short"]] and found["left_out"] == []
    assert found["overall"]["nets"] == 9
    assert f"no short training of {failing}: RuntimeError: no memory" in capsys.readouterr().err
    assert {rival["name"]: rival["nets"] for rival in found["rivals"]}["short"] == 8
    asked = run.read_json("rank/trials/asked.json")["trials"]
    assert [trial["is_short"] for trial in asked.values()] == [True]


def test_short_trainings_must_be_short(run: Run) -> None:
    with pytest.raises(
        ConfigError,
        match="rank.short_steps must be fewer than the 5 steps of the trainings to foretell, got 5: such as 1",
    ):
        stage(job(run, short_steps=5))


def test_landmarks_are_trained_for_a_short_time_and_correct(
    run: Run, no_trials: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(run, short_steps=2, landmarks=20)
    study = Ranked(made)
    assert len(study.landmarks) == 20 and not set(study.landmarks) & set(study.archs)
    assert [one for one in study.missing() if one.digest in study.landmarks] == [
        (digest, SHORT_SEED, True) for digest in study.landmarks
    ]
    failing, diverged, *others = study.landmarks
    fill(made, without=((failing, SHORT_SEED),), **{f"at_{diverged}_{SHORT_SEED}": {"value": None}})
    stage(made)
    assert no_trials == [[f"arch={failing},seed={SHORT_SEED},short"]]
    found = run.read_json("rank/evidence.json")
    assert found["asked"]["landmarks"] == list(study.landmarks) and found["overall"]["nets"] == 9
    assert [net["digest"] for net in found["landmarks"]] == others
    for net in found["landmarks"]:
        arch = Arch.from_dict(net["arch"])
        assert net["standalone"] == [value(net["digest"], SHORT_SEED)]
        assert {"accuracy": net["inherited"], "loss": -net["proxies"]["loss"]} == plain(made, arch)
    said = report.ranking_text(run)
    assert said.count("18 landmarks and the others") == 3 and said in capsys.readouterr().err
    without = {rival["name"]: rival["tau"]["value"] for rival in found["rivals"]}
    stage(job(run, short_steps=2))
    again = run.read_json("rank/evidence.json")
    assert again["landmarks"] == [] and "landmarks" not in again["asked"]
    assert without["corrected"] != {rival["name"]: rival["tau"]["value"] for rival in again["rivals"]}["corrected"]


def test_short_trainings_from_inherited_weights_are_the_supernets_own(run: Run, no_trials: list[list[str]]) -> None:
    """A regression that knows no supernet does without such landmarks."""
    asked = {"short_steps": 2, "landmarks": 20, "short_start": "inherited"}
    fill(job(run, **asked))
    stage(job(run, **asked))
    found, said = run.read_json("rank/evidence.json"), report.ranking_text(run)
    assert not no_trials and len(found["landmarks"]) == 20 and found["short_start"] == "inherited"
    assert "inherited weights, trained on for 2 steps" in said and "learnt from the others" in said
    assert "corrected by 20 landmarks and the others" in said
    stage(job(run))
    without = {rival["name"]: rival["tau"] for rival in run.read_json("rank/evidence.json")["rivals"]}
    assert without["traits"] == {rival["name"]: rival["tau"] for rival in found["rivals"]}["traits"]
    assert len(Ranked(job(run, **{**asked, "short_start": "scratch"})).missing()) == 29
    run.file(WEIGHTS).write_text("other weights")
    assert len(Ranked(job(run, **asked)).missing()) == 29


def test_too_few_landmarks_are_refused(run: Run) -> None:
    made = job(run, short_steps=2, landmarks=16)
    missing = tuple((digest, SHORT_SEED) for digest in list(Ranked(made).landmarks)[:1])
    fill(made, without=missing)
    with pytest.raises(MeasurementError, match="16 or more that were trained, and 15 of 16 were.*rank.landmarks=0"):
        stage(made)
    assert not (run.path / "rank/evidence.json").exists()
    small = job(run, short_steps=2, landmarks=16)
    study = Ranked(small)
    space = shipped("digits_tiny")
    # what is ranked is chosen, then the space has no more
    small.__dict__["space"], _ = space.only(space.largest()), study.archs
    with pytest.raises(ConfigError, match="'digits_tiny' gave 0: use a larger space, or rank.landmarks=0"):
        _ = study.landmarks


def test_what_cannot_be_used_is_left_out_and_said(
    run: Run, no_trials: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(run, count=11)
    failing, diverged, *_ = Ranked(made).ranked
    fill(made, without=((failing, 1),), **{f"at_{diverged}_0": {"value": None}})
    stage(made)
    found, said = run.read_json("rank/evidence.json"), capsys.readouterr().err
    assert no_trials == [[f"arch={failing},seed=1"]]
    asked = run.read_json("rank/trials/asked.json")["trials"][f"arch={failing},seed=1"]
    assert asked["seed"] == 1 and asked["settings"]["run"]["dir"] == str(run.path) and "tune" not in asked["settings"]
    assert {row["digest"]: row["reason"].split(":")[0] for row in found["left_out"]} == {
        failing: "RuntimeError",
        diverged: "trained alone, its metric on val is no number",
    }
    assert found["overall"]["nets"] == 9 and f"left out {failing}: RuntimeError: no memory" in said
    assert "Left out: 2" in report.ranking_text(run)


def test_too_few_left_is_an_error_that_keeps_what_is_there(run: Run) -> None:
    made = job(run)
    first, second, *_ = Ranked(made).ranked
    fill(made, without=((first, 0), (second, 1)))
    with pytest.raises(MeasurementError, match="needs 8 .*and 7 of 9 were .*no memory.*call `nas rank` again"):
        stage(made)
    assert not (run.path / "rank/evidence.json").exists()
    assert len(Ranked(job(run)).missing()) == 2


def test_a_space_that_is_too_small_is_refused(run: Run) -> None:
    made = job(run)
    space = shipped("digits_tiny")
    made.__dict__["space"] = space.only(space.largest())
    with pytest.raises(ConfigError, match="needs 8 different architectures or more, .*'digits_tiny' gave 1"):
        stage(made)


def test_another_run_and_more_seeds_train_only_what_is_new(run: Run, tmp_path: Path) -> None:
    fill(job(run))
    other = Ranked(job(Run.at(tmp_path / "two"), seeds=(0, 1, 2)))
    assert {one.seed for one in other.missing()} == {2} and len(other.missing()) == 10
    moved = Run.at(tmp_path / "elsewhere/three")
    assert len(Ranked(job(moved)).missing()) == 20
    assert not Ranked(job(moved, table=str(tmp_path / "standalone"))).missing()
    shutil.rmtree(tmp_path / "standalone")
    assert len(Ranked(job(run)).missing()) == 20


def searching(made: Job, *objectives: str) -> Job:
    made.settings.search = SimpleNamespace(objectives=objectives)  # type: ignore[misc,assignment]
    return made


def test_a_search_by_standalone_quality_needs_a_ranking_of_its_supernet(run: Run, no_trials: list[list[str]]) -> None:
    assert searching(job(run), "quality", "latency_ms").correction is None
    with pytest.raises(
        ConfigError, match=r"'standalone' .*has trained none: run `nas rank` first, or ask for `quality`"
    ):
        _ = searching(job(run), "standalone", "latency_ms").correction
    ranked = fill(job(run))
    stage(job(run))
    made = searching(job(run), "standalone", "latency_ms")
    assert made.correction is not None and made.correction.columns == 2
    arch = next(iter(ranked.ranked.values()))
    found = made.scored(arch)
    assert {name: found[name] for name in ("accuracy", "loss")} == plain(made, arch)
    assert found["standalone"] == made.correction(arch, found)
    run.file(WEIGHTS).write_text("other weights")
    with pytest.raises(ConfigError, match="has trained none since its supernet changed"):
        _ = searching(job(run), "standalone", "latency_ms").correction
