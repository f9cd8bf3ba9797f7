"""Winners of a search, and hand-made references beside them: chosen, timed and trained alone in the same way."""

import statistics
from collections.abc import Mapping, Sequence, Set
from typing import Any

from nas import profiling
from nas.arch import Arch
from nas.errors import ArchError, ConfigError
from nas.job import Job
from nas.progress import say
from nas.report.alone import with_spread
from nas.searching.objectives import STANDALONE
from nas.space import preset, references
from nas.supernet import Supernet, network_cost
from nas.train import load_retrained, retrain
from nas.train.standalone import asked_of, check_asked

ALL = "all"
FIGURES = ("val", "val_std", "test", "test_std", "inherited_val", "start", "teacher", "steps", "lr")


def chosen(job: Job) -> list[Arch]:
    """The archs asked for, or of the front the best, then the balanced one, then the others by quality.

    Where the search went by what training alone is expected to give, that is the quality.
    """
    known = {row["digest"]: Arch.from_dict(row["arch"]) for row in job.front}
    if wanted := job.settings.retrain.archs:
        others = set(wanted) - known.keys()
        known |= _evaluated(job, others) if others else {}
        return [known[digest] for digest in wanted]
    sign = 1.0 if job.task.metric.direction == "maximise" else -1.0
    by_quality = sorted(
        (row for row in job.front if row["is_front"]),
        key=lambda row: -sign * row["measured"].get(STANDALONE, row["measured"]["quality_val"]),
    )
    if not by_quality:
        say("nothing to choose: no architecture of the front meets the constraints once measured")
    ordered = by_quality[:1] + sorted(by_quality[1:], key=lambda row: not row["is_knee"])
    return [known[row["digest"]] for row in ordered[: job.settings.retrain.count]]


def _evaluated(job: Job, digests: Set[str]) -> dict[str, Arch]:
    """Archs that the search or its random baseline evaluated; `ConfigError` for those that neither did."""
    logs = [job.run.log(f"search/{job.settings.search.name}/{name}.jsonl") for name in ("archive", "random")]
    rows = (row for log in logs for row in log.rows() if row.get("digest") in digests)
    found = {row["digest"]: Arch.from_dict(row["arch"]) for row in rows}
    if missing := sorted(digests - found.keys()):
        front = ", ".join(row["digest"] for row in job.front)
        raise ConfigError(
            f"retrain.archs must be archs that search {job.settings.search.name} evaluated, such as its front "
            f"({front}); got {', '.join(missing)}"
        )
    return found


def named(job: Job) -> dict[Arch, list[str]]:
    """The references asked for, with the names of each; `ConfigError` lists those there are, and why others are not."""
    found: dict[Arch, list[str]] = {}
    everything = references(job.space)
    try:
        for name in job.settings.retrain.references:
            for one in everything if name == ALL else (name,):
                found.setdefault(preset(job.space, one), []).append(one)
    except ArchError as error:
        raise ConfigError(f"retrain.references: {error}") from error
    return {arch: list(dict.fromkeys(names)) for arch, names in found.items()}


def retrain_all(job: Job) -> None:
    """Winners and references alone, under every seed, and their test scores; what was done is not done again."""
    cfg, won, made = job.settings, chosen(job), named(job)
    archs = list(dict.fromkeys([*won, *made]))
    for arch in archs:
        check_asked(job.run, arch, asked_of(job.run, job.dataset, cfg.retrain, cfg.train))
    times = latencies(job, archs)
    for arch in archs:
        seeds = cfg.retrain.seeds or (cfg.run.seed,)
        result = retrain(job.run, job.net, arch, job.dataset, cfg.retrain, cfg.train, seeds=seeds)
        beside = _beside(job, arch, result, times[arch], is_winner=arch in won, names=made.get(arch, ()))
        job.run.write_json(_file(arch), {**result, **beside})
        known = {name: result[name] for name in FIGURES if result[name] is not None}
        job.run.record({f"retrain.{arch.digest}.{name}": value for name, value in known.items()})
        job.run.record({f"retrain.{arch.digest}.seeds": len(result["seeds"])})
        splits = {split: with_spread(result[split], result[f"{split}_std"]) for split in ("val", "test")}
        said = ", ".join(f"{score} on {split}" for split, score in splits.items())
        title = " ".join((arch.digest, *(f"({name})" for name in made.get(arch, ()))))
        say(f"retrain   {title}  {result['metric']}: inherited {result['inherited_val']:.4f}, alone {said}")


def retrained(job: Job, arch: Arch) -> Supernet | None:
    """The arch's network as its best seed left it; None if it was not retrained, an error if not as is asked for."""
    check_asked(job.run, arch, asked_of(job.run, job.dataset, job.settings.retrain, job.settings.train))
    return load_retrained(job.run, job.net, arch)


def measured(job: Job, archs: Sequence[Arch]) -> list[tuple[float, float]]:
    """Medians and quartile distances, at the pace of the device's table: with its reference net beside them, so that
    measured and predicted milliseconds compare although the machine's speed has moved since."""
    timings, seen = profiling.measure(job.net, archs, job.settings.profile)
    pace = statistics.median(row.reference_ms for row in job.measured) / seen.median_ms
    return [(timing.median_ms * pace, (timing.high_ms - timing.low_ms) * pace) for timing in timings]


def _beside(
    job: Job,
    arch: Arch,
    result: Mapping[str, Any],
    time: tuple[float, float],
    *,
    is_winner: bool,
    names: Sequence[str],
) -> dict[str, Any]:
    """What a result is compared by: whether the arch won, its names, its parameters, its latency here."""
    return {
        "is_winner": is_winner or result.get("is_winner", False),
        "references": list(dict.fromkeys([*result.get("references", ()), *names])),
        "params": network_cost(job.net.space.frame, job.net.shape, arch).params,
        "latency_ms": time[0],
        "latency_spread_ms": time[1],
        "timed_with": job.table_name,
    }


def latencies(job: Job, archs: Sequence[Arch]) -> dict[Arch, tuple[float, float]]:
    """Latency and spread: the front's, those of an earlier call with the same table, or measured now."""
    rows = {arch: job.run.read_json(_file(arch), {}) for arch in archs}
    known = {arch: row for arch, row in rows.items() if row.get("timed_with") == job.table_name}
    front = {row["digest"]: row["measured"] for row in job.front}
    known |= {arch: front[arch.digest] for arch in archs if arch.digest in front}
    found = {arch: (row["latency_ms"], row["latency_spread_ms"]) for arch, row in known.items()}
    unknown = [arch for arch in archs if arch not in found]
    return found | (dict(zip(unknown, measured(job, unknown), strict=True)) if unknown else {})


def _file(arch: Arch) -> str:
    return f"retrain/{arch.digest}/result.json"
