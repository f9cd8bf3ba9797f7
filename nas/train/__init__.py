"""Training the supernet, scoring its subnets with inherited weights, and training winners alone."""

from nas.train.checkpoint import load_supernet, weights_digest
from nas.train.config import TrainConfig
from nas.train.evaluate import evaluate, scores
from nas.train.loop import fit
from nas.train.recipe import RecipeConfig
from nas.train.standalone import RetrainConfig, fit_watched, load_retrained, retrain, standalone
from nas.train.supernet import supernet_trainer, train_supernet

__all__ = [
    "RecipeConfig",
    "RetrainConfig",
    "TrainConfig",
    "evaluate",
    "fit",
    "fit_watched",
    "load_retrained",
    "load_supernet",
    "retrain",
    "scores",
    "standalone",
    "supernet_trainer",
    "train_supernet",
    "weights_digest",
]
