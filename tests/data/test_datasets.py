"""Data contract: config bounds, examples, the test split that search cannot read."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nas import data
from nas.config import load as load_config
from nas.data import DataConfig, Examples
from nas.data.splits import carve, digest_of, three_way
from nas.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf" / "data"
CHOICES = sorted(CONF.glob("*.yaml"))


def numbered(count: int) -> Examples:
    return Examples(torch.arange(count)[:, None], torch.arange(count))


def test_names_list_the_folder() -> None:
    assert data.names() == ("cifar10", "cifar100", "digits", "fashion_mnist", "image_folder", "recall", "text")


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"cifar10, .*, text, got 'mnist'"):
        data.load(DataConfig(name="mnist"))


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_every_shipped_choice_is_a_config_of_a_known_source(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# @package data\n")
    assert load_config(DataConfig, yaml.safe_load(text)).name in data.names()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("val_share", 0.5), ("val_share", 0.0), ("seq_len", 1), ("train_size", 0), ("vocab", 40_000), ("pairs", 0)],
)
def test_settings_out_of_range_name_the_key(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=setting):
        load_config(DataConfig, {"name": "digits", setting: value})


def test_examples_need_one_target_each() -> None:
    with pytest.raises(DataError, match="3 inputs and 2 targets"):
        Examples(torch.zeros(3, 1), torch.zeros(2))


@pytest.mark.parametrize("count", [2, 17, 63, 100])
def test_cuts_lose_and_repeat_nothing(count: int) -> None:
    splits = three_way(numbered(count), 0.2, seed=3)
    seen = torch.cat([splits.train.targets, splits.val.targets, splits.test.targets])
    assert seen.sort().values.tolist() == list(range(count))
    rest, part = carve(numbered(count), 0.2, seed=3)
    assert sorted(rest.targets.tolist() + part.targets.tolist()) == list(range(count))
    assert len(part) == round(count * 0.2)


def test_digest_sees_every_byte_and_the_shape() -> None:
    one = numbered(6)
    changed = Examples(one.inputs.clone(), one.targets.clone())
    assert digest_of(one) == digest_of(changed)
    changed.targets[3] = 9
    assert digest_of(one) != digest_of(changed)
    assert digest_of(one) != digest_of(Examples(one.inputs.reshape(6), one.targets))


def test_searchable_has_no_test_split() -> None:
    dataset = data.load(DataConfig(name="recall", seq_len=16, vocab=32, pairs=2, examples=40))
    assert len(dataset.test) > 0
    searchable = dataset.searchable()
    assert searchable.train is dataset.train
    assert searchable.digest == dataset.digest
    with pytest.raises(DataError, match="search never reads the test split"):
        _ = searchable.test


def test_limits_keep_nested_subsets() -> None:
    config = {"name": "recall", "seq_len": 16, "vocab": 32, "pairs": 2, "examples": 90}
    small = data.load(load_config(DataConfig, {**config, "train_size": 10, "val_size": 4, "test_size": 5}))
    large = data.load(load_config(DataConfig, {**config, "train_size": 30}))
    assert [len(part) for part in (small.train, small.val, small.test)] == [10, 4, 5]
    assert torch.equal(small.train.inputs, large.train.inputs[:10])
    assert small.digest != large.digest
