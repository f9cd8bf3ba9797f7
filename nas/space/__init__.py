"""All allowed architectures: loading, sampling, varying and encoding them."""

from nas.space.encode import Encoder
from nas.space.load import SpaceConfig, load_space
from nas.space.sample import sample, stratified
from nas.space.space import BlockSpace, Frame, SearchSpace, StageSpace, Stem
from nas.space.vary import crossover, mutate

__all__ = [
    "BlockSpace",
    "Encoder",
    "Frame",
    "SearchSpace",
    "SpaceConfig",
    "StageSpace",
    "Stem",
    "crossover",
    "load_space",
    "mutate",
    "sample",
    "stratified",
]
