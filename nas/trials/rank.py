"""Stage `rank`: some archs trained alone, as trials, and what that says about the scores that they inherit."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas import report
from nas.arch import Arch
from nas.errors import MeasurementError
from nas.job import Job
from nas.progress import say
from nas.ranking.correction import Correction, Trained, foretold
from nas.ranking.evidence import EVIDENCE, Evidence, Net, evidence
from nas.ranking.settings import LEAST_ARCHS, LEAST_LANDMARKS
from nas.ranking.traits import Traits
from nas.searching import cluster
from nas.trials.contract import open_trial, portable
from nas.trials.ranked import Ranked, Training
from nas.trials.results import Results
from nas.tuning import TuneConfig
from nas.tuning.tuner import run_trials

TRIALS = "rank/trials"
FORMAT = 3


def rank_subnets(job: Job) -> None:
    """Trains what is left to train, and writes `rank/evidence.json`; at once if nothing has changed since it was."""
    study = Ranked(job)
    asked, missing = study.asked, study.missing()
    before = job.run.read_json(EVIDENCE, {})
    if not missing and before.get("format") == FORMAT and before.get("asked") == json.loads(json.dumps(asked)):
        say(report.ranking_text(job.run))
        return
    failed = _train(study, missing) if missing else {}
    results = Results(study, failed)
    nets, left_out = results.whole()
    for row in left_out:
        say(f"rank      left out {row['digest']}: {row['reason']}")
    for one, reason in failed.items():
        if one.is_short:
            say(f"rank      no short training of {one.digest}: {reason}")
    landmarks = results.landmarks()
    _enough(study, nets, left_out)
    _enough_landmarks(study, landmarks)
    found, by_landmarks = _judged(study, nets, landmarks)
    facts = {**results.facts(nets, landmarks, left_out), "by_landmarks": by_landmarks}
    job.run.write_json(EVIDENCE, {"format": FORMAT, "asked": asked, **facts, **asdict(found)})
    _record(job, found)
    say(report.ranking_text(job.run))
    say(f"rank      {job.run.path / EVIDENCE}")


def _judged(study: Ranked, nets: Sequence[Net], landmarks: Trained) -> tuple[Evidence, bool]:
    """What the nets say of inherited scores and of corrected ones, and whether landmarks count for these."""
    config, metric = study.job.settings.rank, study.job.task.metric
    ranked = [net for net in nets if net.digest in study.ranked]
    known = Trained(ranked, [study.ranked[net.digest] for net in ranked])
    traits, marks = Traits(study.job.space, study.data.shape), landmarks if landmarks.nets else None
    fitted = Correction.fit(traits, metric.name, metric.direction, known, marks)
    largest = next((fitted.told(net, study.largest) for net in nets if net.digest == study.largest.digest), None)
    ranked = foretold(traits, known, metric.direction, marks)
    found = evidence(ranked, largest, direction=metric.direction, resamples=config.resamples, seed=config.seed)
    return found, fitted.by_landmarks


def rank_trial(config: Mapping[str, Any]) -> None:
    """One training, or what an earlier process left of it."""
    _, job, asked = open_trial(config)
    study, arch = Ranked(job), Arch.from_dict(asked["arch"])
    table = study.table_of(Training(arch.digest, asked["seed"], asked["is_short"]))
    table.train(job.space, arch, asked["seed"], study.data, job.net if table.recipe.supernet else None)


def _train(study: Ranked, missing: Sequence[Training]) -> dict[Training, str]:
    """Trains them; why some could not be."""
    job, config = study.job, study.job.settings.rank
    labels = {one.label: one for one in missing}
    folder = job.run.path / TRIALS
    # how far a training is stands in the shared folder: Tune has nothing to remember
    shutil.rmtree(folder, ignore_errors=True)
    plain = portable(job.settings.plain, job.run)
    plain["train"] = {**plain["train"], "threads": 0}
    plain["rank"] = {**plain["rank"], "table": str(study.table.folder.path)}
    trials = {
        label: {
            "settings": plain,
            "arch": study.everyone[one.digest].to_dict(),
            "seed": one.seed,
            "is_short": one.is_short,
        }
        for label, one in labels.items()
    }
    job.run.write_json(f"{TRIALS}/asked.json", {"threads": cluster.threads(config.ray), "trials": trials})
    say(f"rank      {len(missing)} of {len(study.trainings)} trainings are left to do")
    failed = run_trials(
        folder,
        list(labels),
        rank_trial,
        TuneConfig(max_concurrent=config.max_concurrent, ray=config.ray),
        lambda label: study.table_of(labels[label]).done(labels[label].digest, labels[label].seed),
        stage="rank",
    )
    return {labels[label]: reason for label, reason in failed.items()}


def _enough(study: Ranked, nets: Sequence[Net], left_out: Sequence[Mapping[str, str]]) -> None:
    count = sum(net.digest in study.ranked for net in nets)
    if count < LEAST_ARCHS:
        raise MeasurementError(
            f"a ranking needs {LEAST_ARCHS} architectures that were trained with every seed, and {count} of "
            f"{len(study.ranked)} were ({left_out[0]['reason']}): mend that and call `nas rank` again, which keeps the "
            "finished ones"
        )


def _enough_landmarks(study: Ranked, landmarks: Trained) -> None:
    wanted, count = study.job.settings.rank.landmarks, len(landmarks.nets)
    if wanted and count < LEAST_LANDMARKS:
        raise MeasurementError(
            f"landmarks must be {LEAST_LANDMARKS} or more that were trained, and {count} of {len(study.landmarks)} "
            f"were, {wanted} being asked for: mend that and call `nas rank` again, which keeps the finished ones, or "
            "set rank.landmarks=0"
        )


def _record(job: Job, found: Evidence) -> None:
    """The key figures; those of an earlier study go, since its groups may have had other names."""
    summary = {k: v for k, v in job.run.read_json("summary.json", {}).items() if not k.startswith("rank.")}
    job.run.write_json("summary.json", summary)
    job.run.record(
        {
            "rank.nets": found.overall.nets,
            "rank.tau": found.overall.tau.value,
            "rank.tau_low": found.overall.tau.low,
            "rank.tau_high": found.overall.tau.high,
            "rank.spearman": found.overall.spearman.value,
            "rank.ceiling": found.ceiling.value,
            "rank.share_of_ceiling": found.share_of_ceiling,
            "rank.corrected_error": found.corrected_error,
            "rank.corrected_largest": found.corrected_largest,
            "rank.within_bins.tau": found.within_bins.value,
            "rank.within_families.tau": found.within_families.value,
            **{f"rank.family.{group.name}.tau": group.tau.value for group in found.families},
            **{f"rank.rival.{rival.name}.tau": rival.tau.value for rival in found.rivals},
            **{f"rank.gap.{name}": value for name, value in asdict(found.gap).items()},
            **{f"rank.noise.{name}": value for name, value in asdict(found.noise).items()},
        }
    )
