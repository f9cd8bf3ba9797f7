"""Which archs a run's ranking is tested on, what they inherit, and what is still to be trained."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from nas.arch import Arch
from nas.data import Dataset
from nas.errors import ConfigError
from nas.job import Job
from nas.progress import track
from nas.ranking.alone import Recipe, Row, Standalone
from nas.ranking.choose import choose
from nas.ranking.settings import LEAST_ARCHS, LEAST_LANDMARKS, SHORT_SEED
from nas.supernet import network_cost
from nas.tasks import LOSS
from nas.train import scores, weights_digest

INHERITED, SHORT = "rank/inherited.jsonl", "short"


class Training(NamedTuple):
    """One of an arch alone, whole or short."""

    digest: str
    seed: int
    is_short: bool = False

    @property
    def label(self) -> str:
        """Its name as a trial."""
        return f"arch={self.digest},seed={self.seed}{',short' if self.is_short else ''}"


@dataclass(frozen=True)
class Ranked:
    """Which archs a run's ranking is tested on, and where their results are."""

    job: Job

    @cached_property
    def data(self) -> Dataset:
        """Train and val."""
        return self.job.dataset.searchable()

    @cached_property
    def table(self) -> Standalone:
        """The results that runs share."""
        cfg = self.job.settings
        recipe = Recipe.of(cfg.rank, cfg.train, self.data, self.job.space.frame)
        return Standalone(cfg.rank.tables(self.job.run), recipe)

    @cached_property
    def short(self) -> Standalone | None:
        """Those of short trainings; None if none is asked for, `ConfigError` if they would not be short."""
        steps, recipe = self.job.settings.rank.short_steps, self.table.recipe
        if steps is None:
            return None
        if steps >= (whole := recipe.training.steps):
            raise ConfigError(
                f"rank.short_steps must be fewer than the {whole} steps of the trainings to foretell, got {steps}: "
                f"such as {max(1, whole // 5)}"
            )
        start = self.supernet if self.job.settings.rank.short_start == "inherited" else None
        return Standalone(self.table.folder, recipe.shortened(steps, start))

    def table_of(self, training: Training) -> Standalone:
        """Where its result belongs."""
        return self.short if training.is_short and self.short is not None else self.table

    @cached_property
    def ranked(self) -> dict[str, Arch]:
        """By digest, the archs that correlations are taken over; `ConfigError` if the space has too few."""
        cfg, space = self.job.settings.rank, self.job.space
        found = choose(space, cfg.count, lambda arch: self.cost(arch)[0], bins=cfg.bins, seed=cfg.seed)
        if len(found) < LEAST_ARCHS:
            raise ConfigError(
                f"`nas rank` needs {LEAST_ARCHS} different architectures or more, and space {space.frame.name!r} gave "
                f"{len(found)}: use a larger space"
            )
        return {arch.digest: arch for arch in found}

    @cached_property
    def landmarks(self) -> dict[str, Arch]:
        """By digest, those that are trained for a short time only; `ConfigError` if the space has too few."""
        cfg, space = self.job.settings.rank, self.job.space
        if not cfg.landmarks:
            return {}
        wanted, seed = cfg.landmarks + len(self.archs), f"{cfg.seed}/landmarks"
        found = choose(space, wanted, lambda arch: self.cost(arch)[0], bins=cfg.bins, seed=seed)
        others = [arch for arch in found if arch.digest not in self.archs][: cfg.landmarks]
        if len(others) < LEAST_LANDMARKS:
            raise ConfigError(
                f"landmarks must be {LEAST_LANDMARKS} or more beside the archs that are ranked, and space "
                f"{space.frame.name!r} gave {len(others)}: use a larger space, or rank.landmarks=0"
            )
        return {arch.digest: arch for arch in others}

    @cached_property
    def largest(self) -> Arch:
        """Trained beside them: what sharing weights costs the subnet that all others are taught by."""
        return self.job.space.largest()

    @cached_property
    def archs(self) -> dict[str, Arch]:
        """All that are trained for the whole time."""
        return {**self.ranked, self.largest.digest: self.largest}

    @cached_property
    def everyone(self) -> dict[str, Arch]:
        """All that are trained."""
        return {**self.archs, **self.landmarks}

    @cached_property
    def supernet(self) -> str:
        """Digest of the weights that scores are inherited from."""
        _ = self.job.net  # refuses what is missing or of another space, with the remedy
        return weights_digest(self.job.run)

    @property
    def asked(self) -> dict[str, Any]:
        """What the evidence depends on."""
        cfg = self.job.settings.rank
        settings = {"seeds": list(cfg.seeds), "bins": cfg.bins, "seed": cfg.seed, "resamples": cfg.resamples}
        known: dict[str, Any] = {"supernet": self.supernet, "recipe": self.table.recipe.digest}
        if self.short is not None:
            known[SHORT] = self.short.recipe.digest
        if self.landmarks:
            known["landmarks"] = list(self.landmarks)
        return {**known, "archs": list(self.ranked), **settings}

    def cost(self, arch: Arch) -> tuple[float, float]:
        """Parameters and flops of the net alone."""
        found = network_cost(self.job.space.frame, self.data.shape, arch)
        return float(found.params), float(found.flops)

    @cached_property
    def trainings(self) -> list[Training]:
        """All that are asked for: first every arch once."""
        shortly = (*self.ranked, *self.landmarks) if self.short else ()
        short = [Training(digest, SHORT_SEED, is_short=True) for digest in shortly]
        return [*(Training(digest, seed) for seed in self.job.settings.rank.seeds for digest in self.archs), *short]

    def missing(self) -> list[Training]:
        """What no run has trained yet."""
        known, short = self.table.rows(), self.short.rows() if self.short else {}
        return [one for one in self.trainings if (one.digest, one.seed) not in (short if one.is_short else known)]

    def inherited(self) -> dict[str, Row]:
        """Metric (`value`) and `loss` on val with the supernet's weights; each is on disk once it is known."""
        log, place = self.job.run.log(INHERITED), {"supernet": self.supernet, "data": self.data.digest}
        known: dict[str, Row] = {
            row["digest"]: row for row in log.rows() if place.items() <= row.items() and LOSS in row
        }
        metric, missing = self.job.task.metric.name, [arch for name, arch in self.everyone.items() if name not in known]
        with track("inherited", len(self.everyone), "nets") as progress:
            progress.resume(len(self.everyone) - len(missing))
            for arch in missing:
                found = scores(self.job.net, arch, self.job.task, self.data.val)
                log.append(row := {**place, "digest": arch.digest, "value": found.pop(metric), **found})
                known[arch.digest] = row
                progress.advance()
        return known
