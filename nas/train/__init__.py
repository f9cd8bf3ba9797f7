"""Training the supernet, scoring its subnets with inherited weights, and training winners alone."""

from nas.train.checkpoint import load_supernet, weights_digest
from nas.train.evaluate import evaluate
from nas.train.loop import TrainConfig, fit
from nas.train.standalone import RetrainConfig, load_retrained, retrain
from nas.train.supernet import train_supernet

__all__ = [
    "RetrainConfig",
    "TrainConfig",
    "evaluate",
    "fit",
    "load_retrained",
    "load_supernet",
    "retrain",
    "train_supernet",
    "weights_digest",
]
