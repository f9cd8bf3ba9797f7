"""CIFAR-100: 50 000 + 10 000 colour images of 32 x 32 pixels in 100 fine classes (Krizhevsky, 2009), from a path."""

from nas.data import cifar
from nas.data.contract import DataConfig, Dataset

LAYOUT = cifar.Layout(
    title="CIFAR-100", classes=100, label_bytes=2, label_key=b"fine_labels", train=("train",), test="test"
)


def load(config: DataConfig) -> Dataset:
    """CIFAR-100 from `config.path`, binary or Python version, with val carved from the 50 000."""
    return cifar.load(config, LAYOUT)
