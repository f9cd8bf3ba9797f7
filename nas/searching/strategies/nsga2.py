"""NSGA-II ("A Fast and Elitist Multiobjective Genetic Algorithm", 2002) as Optuna implements it, on a point's genes."""

from typing import ClassVar

from nas.searching.optuna_rounds import Generations


class Proposer(Generations):
    """Crowding distance decides between equals."""

    name: ClassVar[str] = "nsga2"
    sampler: ClassVar[str] = "NSGAIISampler"
