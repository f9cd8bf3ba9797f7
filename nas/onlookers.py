"""Who looks on at a stage beside the person at the terminal: W&B, TensorBoard, Optuna's dashboard; nobody unless asked.

They are told of what the run folder's logs say, by a thread that reads them, so that no stage knows of any of them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from html import escape
from typing import Any

from nas.following import Taker, following
from nas.job import Job
from nas.journal import Row
from nas.report import markup
from nas.report.figures import FrontPoint, front_points
from nas.report.page import BROWSER
from nas.report.read import Record, read
from nas.report.stacks import stacks
from nas.tracking import Tracked, tracker

TRACKED = ("train", "search", "retrain")


@contextmanager
def looking_on(stage: str, job: Job) -> Iterator[None]:
    """Tells all who asked of the stage while inside, and of what it found when it ended well."""
    if stage not in TRACKED:
        yield
        return
    asked, name = job.settings.run, f"search/{job.settings.search.name}"
    with ExitStack() as ending:
        tracked = ending.enter_context(
            tracker(asked.wandb, job.run, name if stage == "search" else stage, job.settings.plain)
        )
        log = {"train": "supernet/log.jsonl", "search": f"{name}/archive.jsonl"}.get(stage)
        takers = _takers(stage, job, tracked, ending) if log else {}
        with following(job.run.path, log or "", takers):
            yield
        if tracked is not None:
            _tell(stage, job, tracked)


def _takers(stage: str, job: Job, tracked: Tracked | None, ending: ExitStack) -> Mapping[str, Taker]:
    found: dict[str, Taker] = {}
    if tracked is not None:
        found["wandb"] = tracked.steps if stage == "train" else tracked.evaluations
    if "tensorboard" in job.settings.run.mirror:
        found["tensorboard"] = _scalars(stage, job, ending)
    if "optuna" in job.settings.run.mirror and stage == "search":
        found["optuna"] = _study(job)
    return found


def _scalars(stage: str, job: Job, ending: ExitStack) -> Taker:
    from nas.tensorboard import Scalars

    folder = "train" if stage == "train" else f"search_{job.settings.search.name}"
    scalars = Scalars(job.run.path / "tensorboard" / folder)
    ending.callback(scalars.close)
    return scalars


def _study(job: Job) -> Taker:
    """The mirror, made with the first rows: by then the stage has what it is made of."""
    made: list[Callable[[Sequence[Row]], None]] = []

    def take(rows: Sequence[Row]) -> None:
        if not made:
            from nas.searching.optuna_mirror import OptunaMirror

            name = job.settings.search.name
            made.append(OptunaMirror(job.run.file(f"search/{name}/optuna.log"), name, job.problem))
        made[0](rows)

    return take


def _tell(stage: str, job: Job, tracked: Tracked) -> None:
    """The stage's figures, and what it found."""
    prefixes = {"train": ("supernet.", "space."), "search": ("search.", "predictor."), "retrain": ("retrain.",)}[stage]
    summary = job.run.read_json("summary.json", {})
    tracked.figures({name: value for name, value in summary.items() if name.startswith(prefixes)})
    record = read(job.run, job.settings.search.name)
    if stage == "search" and record.front:
        _tell_front(record, tracked)
    if stage == "retrain" and record.retrained:
        tracked.artifact("winners", {f"{digest}.json": _json(row) for digest, row in record.retrained.items()})


def _tell_front(record: Record, tracked: Tracked) -> None:
    columns = ("arch", "latency_ms", "spread_ms", record.metric, "params", "flops", "kv_cache_bytes", "front", "blocks")
    tracked.table("front", columns, [_cells(point) for point in front_points(record)])
    tracked.page("layers", layers(record))
    tracked.artifact(
        f"{record.search}-front",
        {f"{point.arch.digest}.json": _json(point.arch.to_dict()) for point in record.front},
    )


def layers(record: Record) -> str:
    """The front's layer stacks as a small page without any script."""
    points = {point.digest: point for point in front_points(record)}
    drawn = "".join(markup.stack(found, points.get(found.digest), record.metric) for found in stacks(record))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(record.name)}</title>'
        f"<style>{(BROWSER / 'page.css').read_text()}</style></head>"
        f'<body><main><div class="stacks">{drawn}</div></main></body></html>\n'
    )


def _cells(point: FrontPoint) -> tuple[Any, ...]:
    known = (point.latency_ms, point.high_ms - point.low_ms, point.quality, point.params, point.flops)
    kind = "balanced" if point.is_knee else "front" if point.is_front else "dominated"
    return (point.digest, *known, point.kv_cache_bytes, kind, point.outline)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1)
