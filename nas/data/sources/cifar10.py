"""CIFAR-10: 50 000 + 10 000 colour images of 32 x 32 pixels in 10 classes (Krizhevsky, 2009), from a path."""

from nas.data import cifar
from nas.data.contract import DataConfig, Dataset

LAYOUT = cifar.Layout(
    title="CIFAR-10",
    classes=10,
    label_bytes=1,
    label_key=b"labels",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
)


def load(config: DataConfig) -> Dataset:
    """CIFAR-10 from `config.path`, binary or Python version, with val carved from the 50 000."""
    return cifar.load(config, LAYOUT)
