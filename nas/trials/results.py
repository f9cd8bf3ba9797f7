"""What the archs of a ranking score, as nets; those that lack a score, with the reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from nas.arch import Arch
from nas.ranking.alone import Row
from nas.ranking.choose import dominant, size_bin, size_edges
from nas.ranking.correction import Trained
from nas.ranking.evidence import Net
from nas.ranking.settings import SHORT_SEED
from nas.tasks import LOSS
from nas.trials.ranked import SHORT, Ranked, Training

Left = list[dict[str, str]]


@dataclass(frozen=True)
class Results:
    """The scores on disk, once all trainings have ended; `failed` says why some did not."""

    study: Ranked
    failed: Mapping[Training, str]

    @cached_property
    def inherited(self) -> Mapping[str, Row]:
        """By digest."""
        return self.study.inherited()

    @cached_property
    def edges(self) -> list[float]:
        """Between the size bins, from the ranked archs alone."""
        study = self.study
        return size_edges([study.cost(arch)[0] for arch in study.ranked.values()], study.job.settings.rank.bins)

    def whole(self) -> tuple[list[Net], Left]:
        """The nets that have every score, and the others with the reason."""
        rows, seeds, early = self.study.table.rows(), self.study.job.settings.rank.seeds, self._early()
        nets, left_out = [], []
        for digest, arch in self.study.archs.items():
            own = [rows.get((digest, seed)) for seed in seeds]
            known = (self.failed.get(Training(digest, seed)) for seed in seeds)
            reason = next(filter(None, known), _unusable(own, self.inherited[digest]["value"]))
            if reason:
                left_out.append({"digest": digest, "reason": reason})
            else:
                nets.append(self._net(arch, [row for row in own if row], early.get(digest, {})))
        return nets, left_out

    def landmarks(self) -> Trained:
        """Those that have both scores, `standalone` being that of the short training."""
        rows = self.study.short.rows() if self.study.short else {}
        nets, archs = [], []
        for digest, arch in self.study.landmarks.items():
            own = rows.get((digest, SHORT_SEED))
            if own is not None and not _unusable([own], self.inherited[digest]["value"]):
                nets.append(self._net(arch, [own], {}))
                archs.append(arch)
        return Trained(nets, archs, are_inherited=self.study.job.settings.rank.short_start == "inherited")

    def facts(self, nets: Sequence[Net], landmarks: Trained, left_out: Left) -> dict[str, Any]:
        """What stands beside the evidence."""
        study = self.study
        recipe, metric = study.table.recipe, study.job.task.metric
        marks = zip(landmarks.nets, landmarks.archs, strict=True)
        return {
            "metric": metric.name,
            "direction": metric.direction,
            "steps": recipe.training.steps,
            "batch_size": recipe.training.batch_size,
            "lr": recipe.training.lr,
            "short_steps": study.job.settings.rank.short_steps,
            "short_start": study.job.settings.rank.short_start,
            "nets": [
                {**asdict(net), "arch": study.archs[net.digest].to_dict(), "is_ranked": net.digest in study.ranked}
                for net in nets
            ],
            "landmarks": [{**asdict(net), "arch": arch.to_dict()} for net, arch in marks],
            "left_out": left_out,
        }

    def _net(self, arch: Arch, rows: Sequence[Row], further: Mapping[str, float]) -> Net:
        (params, flops), inherited = self.study.cost(arch), self.inherited[arch.digest]
        names = [name for name in rows[0]["proxies"] if all(name in row["proxies"] for row in rows)]
        proxies = {name: sum(_number(row["proxies"][name]) for row in rows) / len(rows) for name in names}
        return Net(
            digest=arch.digest,
            family=dominant(arch),
            size_bin=size_bin(params, self.edges),
            inherited=_number(inherited["value"]),
            standalone=tuple(float(row["value"]) for row in rows),
            params=params,
            flops=flops,
            proxies={**self._by_loss(inherited), **further, **proxies},
        )

    def _by_loss(self, inherited: Row) -> dict[str, float]:
        """The inherited loss, more being better; nothing where the metric is the loss already."""
        return {LOSS: -_number(inherited[LOSS])} if self.study.job.task.metric.direction == "maximise" else {}

    def _early(self) -> dict[str, dict[str, float]]:
        """By digest what a short training gave, more being better, NaN if it failed; empty if none is asked for."""
        study = self.study
        if study.short is None:
            return {}
        sign, rows = 1.0 if study.job.task.metric.direction == "maximise" else -1.0, study.short.rows()
        values = {digest: rows.get((digest, SHORT_SEED)) for digest in study.ranked}
        return {digest: {SHORT: sign * _number(row["value"] if row else None)} for digest, row in values.items()}


def _unusable(rows: Sequence[Row | None], inherited: float | None) -> str:
    if any(row is None for row in rows):
        return "not trained with every seed"
    if any(row is not None and row["value"] is None for row in rows):
        return "trained alone, its metric on val is no number: rank.lr may be too high"
    return "its inherited metric on val is no number" if math.isnan(_number(inherited)) else ""


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
