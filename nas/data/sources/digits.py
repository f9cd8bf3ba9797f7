"""Handwritten digits: 1797 grey images of 8 x 8 pixels in 10 classes, shipped with scikit-learn."""

import torch
from sklearn.datasets import load_digits

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.splits import seal, three_way
from nas.shapes import ImageShape


def load(config: DataConfig) -> Dataset:
    """The digits, cut at random into train, val and test; needs no file and no network."""
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    examples = Examples(images, torch.from_numpy(bunch.target).to(torch.uint8))
    return seal(
        config,
        three_way(examples, config.val_share, seed=config.seed),
        task="classification",
        shape=ImageShape(channels=1, height=8, width=8, classes=10),
    )
