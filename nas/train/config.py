"""How long, on what and by which recipe a network is trained."""

from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from nas.config import config
from nas.train.recipe import Part, RecipeConfig

AUGMENT_FROM = 20
"""Visits of each example from which on `augment: auto` varies them (`analysis/studies/augmenting.py`)."""
PLACE = ("device", "threads", "log_every", "save_every_s")
"""Settings that say where and how a training runs, not what it gives."""


@config
class TrainConfig:
    """How long and how a network is trained. Shares are of the whole run."""

    steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: float = 0.05
    warmup: Part = 0.05
    clip: Annotated[float, Field(gt=0)] = 1.0
    augment: Literal["auto", "always", "never"] = "auto"
    """Whether images are shifted and mirrored at random; `auto`: where a training visits each of them 20 times."""
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """What is shared and which subnets a step trains; only the supernet's training reads all of it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    threads: int = 0
    """CPU threads; 0 is all of them."""
    log_every: Annotated[int, Field(ge=1)] = 20
    save_every_s: float = 30.0

    def augments(self, step: int, examples: int) -> bool:
        """Whether a step of a training on so many examples varies its batch: what is seen a few times is learnt faster
        as it is, but for what the supernet's recipe says."""
        if self.augment != "auto":
            return self.augment == "always"
        visits = self.steps * self.batch_size / max(1, examples)
        return visits >= AUGMENT_FROM or self.recipe.varies(step, self.steps)

    def decisive(self) -> dict[str, Any]:
        """The settings that a network's result depends on, but for the recipe, which a network alone has none of."""
        left_out = (*PLACE, "recipe")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}
