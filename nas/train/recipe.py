"""The supernet's recipe: what is shared, which subnets a step trains, and how they learn from the largest.

Every piece can be switched on its own, and `analysis/studies/recipe.py` measures what it is worth for the ranking. So
far that decided sharing, anchors, the largest arch's weight, teachers, depths and varied images; labels alone, the
opening of axes and small gains were no better on images, alpha-divergence, projection, complexity, averaging, matching
and sorting no better on text. On recall every recipe ranks about as well.
"""

from typing import Annotated, Literal

from pydantic import Field

from nas.config import config
from nas.supernet import OWN, Scales, Share, Sharing

Part = Annotated[float, Field(ge=0.0, le=1.0)]
Phase = Literal["largest", "matching", "all"]


@config
class RecipeConfig:
    """How weights are shared and subnets trained; shares (`Part`) are of the whole run unless said otherwise."""

    share: Share = OWN.projections
    """Which operators of a block share q, k, v and o."""
    layer_scale: Scales = OWN.scales
    """Whether each operator scales its output by gains of its own ("NASViT", 2022)."""
    scale_start: Annotated[float, Field(gt=0)] = 1.0
    """Where those gains and the FFNs' begin ("Going Deeper with Image Transformers", 2021): an operator that has learnt
    little disturbs the others of its path little if it begins at 0.1. A network alone begins at 1."""
    teacher: Literal["largest", "dealt"] = "dealt"
    """Whom the others learn from: the space's largest arch, whose operators are then trained in every step, or archs of
    its size whose operators are dealt as well."""
    randoms: Annotated[int, Field(ge=0)] = 1
    """Random archs a step, beside largest, smallest and anchor."""
    anchor: Literal["largest", "sampled", "none"] = "sampled"
    """What the operator family whose turn it is trains: the largest arch of it, or one of random sizes."""
    balance: Literal["latin", "uniform"] = "latin"
    """Operators of the random archs: dealt by permutations ("FairNAS", 2021), or drawn."""
    depth_draws: Annotated[int, Field(ge=1)] = 2
    """Random archs and anchors are as deep as the deepest of so many draws: operators of late blocks are trained only
    in archs that reach them, so that with one draw the last block of four has a quarter of the first one's updates."""
    smallest_every: Annotated[int, Field(ge=1)] = 4
    """Steps from one with the smallest arch to the next; a further random one has its place in the others."""
    complexity_aware: bool = False
    """Random archs of neighbouring steps have neighbouring FLOPs ("ElasticViT", 2023)."""
    opening: Part = 0.0
    """By when all axes are open, after types come mixing knobs, heads and FFNs, sizes ("Once-for-All", 2020)."""
    varied_first: Part = 1.0
    """For how long images are varied however seldom each is seen, unless `train.augment` is `never`: patches that stay
    where they are can be classified without any mixing, and then operators rank by chance."""
    largest_first: Part = 0.0
    """For how long only the largest arch is trained."""
    matching: Part = 0.0
    """For how long after that each operator's private parts are fitted to the largest arch's own mixers."""
    ordered: bool = False
    """Sort heads and hidden units by importance, and ranks by singular values, once the largest was trained first."""
    largest_weight: Part = 0.25
    """Share of the largest subnet, the teacher, in a step's loss; the others divide the rest."""
    student_batch: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the batch that the other subnets see."""
    distill: Literal["kl", "alpha"] = "kl"
    """Divergence from the largest subnet's output: KL, or the larger of two alpha-divergences ("AlphaNet", 2021)."""
    distill_start: Part = 0.3
    """Until then subnets learn from the labels alone, since a teacher that knows nothing teaches nothing."""
    distill_weight: Part = 0.5
    """Share of the teacher in a subnet's loss."""
    conflict: Literal["sum", "project"] = "sum"
    """Gradients: added up, or the largest's without what opposes the others' ("NASViT", 2022)."""
    project_from: Part = 0.25
    """From when on they are projected."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the running average of the weights that is kept in the end; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        if self.ordered and not self.largest_first:
            raise ValueError(
                "ordered sorts what training the largest arch alone has found important, and largest_first is 0: set "
                "largest_first, such as 0.1, or leave ordered off"
            )

    @property
    def sharing(self) -> Sharing:
        """What the supernet's operators have in common."""
        return Sharing(self.share, self.layer_scale)

    def phase(self, step: int, steps: int) -> Phase:
        """What a step of so many trains."""
        if step < self.alone_until(steps):
            return "largest"
        return "matching" if step < round((self.largest_first + self.matching) * steps) else "all"

    def alone_until(self, steps: int) -> int:
        """The first step that does not belong to the largest arch alone."""
        return round(self.largest_first * steps)

    def varies(self, step: int, steps: int) -> bool:
        """Whether a step's images are varied for the sake of the ranking."""
        return step < self.varied_first * steps

    def soft(self, step: int, steps: int) -> float:
        """The teacher's share in a subnet's loss at a step."""
        return self.distill_weight if step >= self.distill_start * steps else 0.0

    def projects(self, step: int, steps: int) -> bool:
        """Whether a step's gradients are projected."""
        return self.conflict == "project" and step >= self.project_from * steps


def plain(weight: float = 0.0) -> RecipeConfig:
    """For one arch alone: nothing but the loss, with this share of a teacher if there is one."""
    return RecipeConfig(distill_weight=weight, distill_start=0.0, varied_first=0.0)
