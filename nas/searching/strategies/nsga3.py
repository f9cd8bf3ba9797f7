"""NSGA-III ("An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point-Based Nondominated Sorting
Approach, Part I", 2014) as Optuna implements it, on a point's genes."""

from typing import ClassVar

from nas.searching.optuna_rounds import Generations


class Proposer(Generations):
    """Closeness to evenly spread directions decides between equals: made for three objectives and more."""

    name: ClassVar[str] = "nsga3"
    sampler: ClassVar[str] = "NSGAIIISampler"
