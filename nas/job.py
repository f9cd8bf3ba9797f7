"""What the stages of a run share: the run folder, the settings, and what is read from both."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nas import data, profiling, tasks
from nas.arch import Arch
from nas.errors import CheckpointError, ConfigError
from nas.predict import choose, fit_predictor, plan_transfer, transfer
from nas.predict.learned import Corrected
from nas.ranking.correction import Correction
from nas.ranking.evidence import EVIDENCE
from nas.ranking.traits import Traits
from nas.run import Run
from nas.searching import Problem, supernet_problem
from nas.searching.objectives import STANDALONE, Values
from nas.settings import Settings
from nas.space import SearchSpace, load_space, sample
from nas.supernet import Supernet
from nas.train import load_supernet, scores, weights_digest

POOL = 500


@dataclass(frozen=True, slots=True)
class Base:
    """A predictor of another device or workload, and this workload's batch size over its."""

    predictor: Corrected
    batch: float


@dataclass(frozen=True)
class Job:
    """One run folder with its settings, and what several stages need of it."""

    run: Run
    settings: Settings
    table: str | None = None
    """File of the run with the rows of another machine, for a job that only needs predictions."""

    def under(self, settings: Settings) -> "Job":
        """The same run under other settings; what those do not change is shared."""
        other, kept = Job(self.run, settings), ["space", "dataset", "task", "net"]
        if (settings.profile, settings.predict) == (self.settings.profile, self.settings.predict):
            kept += ["load", "measured", "table_name", "base", "predictor"]
        other.__dict__.update({name: self.__dict__[name] for name in kept if name in self.__dict__})
        return other

    @cached_property
    def space(self) -> SearchSpace:
        """The space asked for."""
        return load_space(self.settings.space)

    @cached_property
    def dataset(self) -> data.Dataset:
        """The data asked for, test split included: only `retrain` reads it."""
        return data.load(self.settings.data)

    @cached_property
    def task(self) -> tasks.Task:
        """The task that the data poses."""
        return tasks.of(self.dataset)

    @cached_property
    def net(self) -> Supernet:
        """The run's trained supernet."""
        return load_supernet(self.run, self.space)

    @cached_property
    def load(self) -> profiling.Workload:
        """What networks are given when they are timed."""
        return self.settings.profile.workload(self.net.space, self.net.shape)

    def choose(self, rows: Sequence[profiling.Row], candidates: Sequence[Arch], count: int) -> Sequence[Arch]:
        """The candidates whose latency is least certain after these rows."""
        return choose(rows, self.net.space, self.load.shape, candidates, count)

    @cached_property
    def measured(self) -> list[profiling.Row]:
        """The rows that the predictor was last fitted to; before that, the device's table as it is."""
        kept = self.run.read_json(self.table_name, [])
        return [profiling.Row.of(data) for data in kept] or self._table()

    @cached_property
    def table_name(self) -> str:
        """File of the run that keeps the rows of this device and workload."""
        return self.table or f"profile/{self.settings.profile.fingerprint().digest}-{self.load.digest}.json"

    def keep_table(self) -> None:
        """Copies the device's table into the run, so that what others add to it changes no prediction of this run."""
        self.run.write_json(self.table_name, [asdict(row) for row in self._table()])

    def _table(self) -> list[profiling.Row]:
        return profiling.profiled(self.run, self.net.space, self.net.shape, self.settings.profile)

    @cached_property
    def base(self) -> "Base | None":
        """The predictor that is carried over to this device and workload; None if there is none."""
        path = self.settings.predict.base
        if path is None:
            return None
        rows = read_table(Path(path).expanduser())
        one, asked = rows[0], self.settings.profile
        there = replace(
            asked,
            batch=one.batch,
            tokens=one.tokens or None,
            image_size=one.image_size or None,
            phase=one.phase,
            cache=one.cache or None,
        ).workload(self.net.space, self.net.shape)
        predictor = fit_predictor(rows, self.net.space, there.shape, self.settings.predict)
        return Base(predictor, self.load.batch / there.batch)

    @cached_property
    def predictor(self) -> Corrected:
        """Rebuilt from the device's table, or carried over from another one by the few nets of this."""
        space, shape, config = self.net.space, self.load.shape, self.settings.predict
        if self.base is None:
            return fit_predictor(self.measured, space, shape, config)
        return transfer(self.base.predictor, self.measured, space, shape, batch=self.base.batch, config=config)

    def telling(self) -> Sequence[Arch]:
        """The nets to measure here so that the base's predictor can be carried over; none without a base."""
        if self.base is None:
            return ()
        space, rng = self.net.space, random.Random(f"{self.settings.run.seed}/transfer")
        pool = list(dict.fromkeys(sample(space, rng) for _ in range(POOL)))
        count = self.settings.predict.transfer_nets
        return plan_transfer(self.base.predictor, space, self.load.shape, pool, count, batch=self.base.batch)

    @cached_property
    def correction(self) -> Correction | None:
        """Of inherited scores, where that is asked for; `ConfigError` if no ranking of this supernet is there."""
        if STANDALONE not in self.settings.search.objectives:
            return None
        found = self.run.read_json(EVIDENCE)
        if found is None or found["asked"]["supernet"] != weights_digest(self.run):
            known = "none" if found is None else "none since its supernet changed"
            raise ConfigError(
                f"objective {STANDALONE!r} is the quality that networks trained alone let expect, and this run has "
                f"trained {known}: run `nas rank` first, or ask for `quality` in its place"
            )
        return Correction.read(Traits(self.net.space, self.net.shape), found)

    def scored(self, arch: Arch) -> Values:
        """The metric, the loss and, where asked for, the corrected metric of an arch, on all of val."""
        found = scores(self.net, arch, self.task, self.dataset.val)
        return found if self.correction is None else {**found, STANDALONE: self.correction(arch, found)}

    @cached_property
    def problem(self) -> Problem:
        """What is searched for."""
        _, limits = self.correction, self.settings.constraints
        return supernet_problem(
            self.net,
            self.task,
            lambda archs: self.predictor.predict(archs).tolist(),
            self.settings.search,
            limits,
            upper=lambda archs: self.predictor.upper(archs, limits.confidence).tolist(),
        )

    def claim_search(self) -> None:
        """An archive holds what one supernet and predictor gave for one strategy; anything else needs its own name."""
        cfg, name = self.settings.search, f"search/{self.settings.search.name}/asked.json"
        asked = {
            "supernet": weights_digest(self.run),
            "predictor": _digest([asdict(row) for row in self.measured]),
            "data": self.dataset.digest,
            **{key: getattr(cfg, key) for key in ("strategy", "seed", "first", "batch", "val_limit")},
            "objectives": list(cfg.objectives),
            "constraints": asdict(self.settings.constraints),
        }
        if self.correction is not None:
            evidence = self.run.read_json(EVIDENCE)
            asked["correction"] = _digest([*evidence["nets"], *evidence.get("landmarks", ())])
        before = self.run.read_json(name)
        if before is None:
            self.run.write_json(name, asked)
        elif changed := [key for key in asked if before.get(key) != asked[key]]:
            raise CheckpointError(
                f"search {cfg.name!r} of this run was made with other {', '.join(changed)}: "
                "give this one a name of its own, search.name=…"
            )

    @property
    def front(self) -> list[dict[str, Any]]:
        """Rows of the finished front."""
        rows = self.run.read_json(f"search/{self.settings.search.name}/front.json")
        if rows is None:
            raise CheckpointError("this run has no finished search of that name: run `nas search` first")
        return list(rows)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def read_table(path: Path) -> list[profiling.Row]:
    """The rows that a fit kept; `ConfigError` if the file is not such a table."""
    try:
        rows = [profiling.Row.of(data) for data in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, CheckpointError) as error:
        raise ConfigError(f"predict.base must be a table that `nas fit` kept, {path} is none: {error}") from error
    if not rows:
        raise ConfigError(f"predict.base must be a table with rows, {path} has none: profile and fit that device first")
    return rows
