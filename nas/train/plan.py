"""Which archs a step trains, as a function of (seed, step) alone, so that every rank and every resumed run agrees.

Sandwich rule ("Universally Slimmable Networks", 2019): largest, smallest and random archs. Largest and smallest do not
bound a categorical axis, so one anchor per operator family takes turns as well.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from nas import operators
from nas.arch import NONE, Arch
from nas.space import SearchSpace
from nas.train.deal import Dealer
from nas.train.recipe import RecipeConfig

TEACHERS = 1_000_003
"""How far the seed of the teachers' decks is from that of the random archs."""


@dataclass(frozen=True)
class Sandwich:
    """The teacher first, then the smallest if it is due, the anchor whose turn it is, and the recipe's random archs.

    steps: how many the run has, for what the recipe does by shares of it
    flops: of an arch; only complexity-aware sampling needs it
    """

    space: SearchSpace
    seed: int
    recipe: RecipeConfig = RecipeConfig()
    steps: int = 1
    flops: Callable[[Arch], float] | None = None

    @cached_property
    def dealer(self) -> Dealer:
        """Where random archs come from."""
        flops = self.flops if self.recipe.complexity_aware else None
        is_latin, depth_draws = self.recipe.balance == "latin", self.recipe.depth_draws
        return Dealer(self.space, self.seed, is_latin=is_latin, depth_draws=depth_draws, flops=flops)

    @cached_property
    def _grand(self) -> Dealer:
        """Where teachers of all operators come from: decks of their own."""
        return replace(self.dealer, seed=self.seed + TEACHERS, flops=None)

    @cached_property
    def _ends(self) -> tuple[Arch, Arch]:
        return self.space.largest(), self.space.smallest()

    @cached_property
    def _anchors(self) -> tuple[tuple[str, Arch], ...]:
        # the family of the largest arch needs no turn where that one is in every step
        trained = self._ends[0] if self.recipe.teacher == "largest" else None
        return tuple((family, arch) for family, arch in self.space.anchors().items() if arch != trained)

    def __call__(self, step: int) -> dict[Arch, str]:
        """The step's archs with their roles (`largest`, `smallest`, a family, `random`), teacher first."""
        largest, smallest = self._ends
        if self.recipe.phase(step, self.steps) != "all":
            return {largest: "largest"}
        roles = {self._grand.deal(step, 0) if self.recipe.teacher == "dealt" else largest: "largest"}
        opened = self._opened(step)
        is_small_due = step % self.recipe.smallest_every == 0
        if is_small_due:
            roles.setdefault(smallest if opened >= Dealer.GROUPS else self.dealer.smallest(opened), "smallest")
        if self._anchors and self.recipe.anchor != "none":
            family, arch = self._anchors[step % len(self._anchors)]
            roles.setdefault(arch if self.recipe.anchor == "largest" else self._sampled(family, step, opened), family)
        for draw in range(self._draws_before(step), self._draws_before(step + 1)):
            roles.setdefault(self.dealer.deal(draw, opened), "random")
        return roles

    def _draws_before(self, step: int) -> int:
        """How many random archs earlier steps had: `randoms` each, and one in the place of a smallest not due."""
        smallest = math.ceil(step / self.recipe.smallest_every)
        return step * self.recipe.randoms + step - smallest

    def _opened(self, step: int) -> int:
        """How many groups of axes are open."""
        until = self.recipe.opening * self.steps
        return Dealer.GROUPS if step >= until else int(step / until * Dealer.GROUPS)

    def _sampled(self, family: str, step: int, opened: int) -> Arch:
        """An arch of random sizes with an operator of the family wherever a block offers one."""
        rng = random.Random(f"{self.seed}/anchor/{step}")
        known = operators.families()
        own = [name for name in self.space.operator_names() if name != NONE and known[name] == family]
        rng.shuffle(own)
        return self.dealer.of(own, rng, opened)


@dataclass(frozen=True)
class Alone:
    """The same arch every step: how a standalone network is trained."""

    arch: Arch

    def __call__(self, step: int) -> dict[Arch, str]:
        """Just the arch."""
        return {self.arch: "largest"}
