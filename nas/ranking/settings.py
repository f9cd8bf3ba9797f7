"""Settings of `nas rank`."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nas.config import config
from nas.run import Run
from nas.searching.settings import RayConfig

LEAST_ARCHS, LEAST_SEEDS, LEAST_LANDMARKS = 8, 2, 16
SHORT_SEED = 1_000
"""Of short trainings: none that a truth is likely to have, so that they share neither weights nor batches with it."""
TABLES = "standalone"


def _many(count: int) -> int:
    if count < LEAST_ARCHS:
        raise ValueError(
            f"count must be {LEAST_ARCHS} or more, since the order of fewer architectures says little about a space, "
            f"got {count}: 30 and more give intervals worth having"
        )
    return count


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < max(LEAST_SEEDS, len(seeds)):
        raise ValueError(
            f"seeds must be {LEAST_SEEDS} or more different ones, since only a second training says how much of a "
            f"first one's order is chance, got {list(seeds)}: such as [0, 1]"
        )
    return seeds


def _none_or_many(count: int) -> int:
    if 0 < count < LEAST_LANDMARKS:
        raise ValueError(
            f"landmarks must be 0, or {LEAST_LANDMARKS} or more, since fewer say little about a space, got {count}: "
            "about 100 serve the spaces shipped here"
        )
    return count


@config
class RankConfig:
    """Which archs are trained alone, how long and how often, to test what inherited scores are worth."""

    count: Annotated[int, AfterValidator(_many)] = 36
    """Archs, spread evenly over operator families and sizes; the largest is trained beside them."""
    seeds: Annotated[tuple[int, ...], AfterValidator(_different)] = (0, 1)
    """Each arch is trained once with every one of them."""
    bins: Annotated[int, Field(ge=1)] = 3
    """Bins of size, by parameters."""
    seed: int = 0
    """Of the choice of archs and of the resamples: runs that share it are judged on the same archs."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """None: as many as the supernet."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """None: the supernet's."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """None: the supernet's."""
    short_steps: Annotated[int, Field(ge=1)] | None = None
    """Each arch is also trained alone for so few steps, and ranked by what it reaches: what a search would know that
    did without a supernet and trained every candidate a little. None: not done."""
    short_start: Literal["scratch", "inherited"] = "scratch"
    """Weights that short trainings start from; inherited ones are trained on at 0.3 of the learning rate, and such
    trainings are of use to this supernet alone."""
    landmarks: Annotated[int, Field(ge=0), AfterValidator(_none_or_many)] = 0
    """Further archs that are trained alone for `short_steps` and no longer. With the inherited scores they tell what a
    short training of any arch would give, and the `count` archs what follows from that for a whole one."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Of the bootstrap intervals."""
    table: str | None = None
    """Folder of standalone results that all runs share; None: `standalone` beside the run folder."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trainings at a time; None is as many as there is room for."""
    ray: RayConfig = field(default_factory=RayConfig)
    """Where trainings run and what each asks for; `retries`: how often one that failed goes on from where it was."""

    def __post_init__(self) -> None:
        if self.ray.env_vars:
            raise ValueError("ray.env_vars does not reach trainings: export such variables where Ray is started")
        if self.short_start == "inherited" and self.short_steps is None:
            raise ValueError(
                "short_start=inherited is about trainings of short_steps, which is null: set it, such as an eighth of "
                "the steps, or leave short_start at scratch"
            )
        if self.landmarks and self.short_steps is None:
            raise ValueError(
                f"the {self.landmarks} landmarks are archs that are trained for short_steps, which is null: set it, "
                "such as a fifth of the steps, or leave landmarks at 0"
            )

    def tables(self, run: Run) -> Run:
        """The folder of standalone results."""
        return Run.at(Path(self.table) if self.table else run.path.parent / TABLES)
