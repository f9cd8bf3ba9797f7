"""Associative recall: what the generator promises, and which settings it refuses."""

import pytest
import torch

from nas import data
from nas.data import DataConfig
from nas.errors import ConfigError

CASES = [(64, 1024, 4), (16, 10, 4), (17, 64, 4), (63, 12, 5), (100, 256, 25), (5, 4, 1)]


def config_of(seq_len: int, vocab: int, pairs: int, *, seed: int = 0) -> DataConfig:
    return DataConfig(name="recall", seq_len=seq_len, vocab=vocab, pairs=pairs, examples=200, seed=seed)


@pytest.mark.parametrize(("seq_len", "vocab", "pairs"), CASES)
def test_every_label_is_the_value_paired_with_the_asked_key(seq_len: int, vocab: int, pairs: int) -> None:
    train = data.load(config_of(seq_len, vocab, pairs)).train
    assert train.inputs.dtype == train.targets.dtype == torch.int16
    for tokens, labels in zip(train.inputs.tolist(), train.targets.tolist(), strict=True):
        values = dict(zip(tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
        asked = [position for position, label in enumerate(labels) if label != -100]
        assert len(values) == pairs
        assert all(1 <= key < vocab // 2 <= value < vocab for key, value in values.items())
        assert {tokens[position]: labels[position] for position in asked} == values
        assert len(asked) == pairs
        assert all(position >= 2 * pairs and position % 2 == 0 for position in asked)


@pytest.mark.parametrize(("seq_len", "vocab", "pairs"), CASES)
def test_fillers_are_never_a_key_of_the_sequence(seq_len: int, vocab: int, pairs: int) -> None:
    train = data.load(config_of(seq_len, vocab, pairs)).train
    keys = train.inputs[:, : 2 * pairs : 2]
    counts = (train.inputs[:, :, None] == keys[:, None, :]).sum(1)
    assert counts.unique().tolist() == [2]


def test_gaps_are_mostly_short() -> None:
    asked = (data.load(config_of(64, 1024, 4)).train.targets != -100).float().mean(0)[8::2]
    assert asked[0] > 0.6
    assert asked[0] > asked[1] > asked[3] > asked[20:].mean()
    assert asked[-1] < 0.2


def test_splits_are_disjoint_and_reproducible() -> None:
    first, again = data.load(config_of(64, 1024, 4)), data.load(config_of(64, 1024, 4))
    assert first.digest == again.digest
    assert first.digest != data.load(config_of(64, 1024, 4, seed=1)).digest
    rows = [{tuple(row) for row in part.inputs.tolist()} for part in (first.train, first.val, first.test)]
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]
    assert [len(part) for part in rows] == [200, 20, 20]


def test_impossible_settings_say_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"take 20 positions, data\.seq_len is 19; set data\.pairs=4 or less"):
        data.load(config_of(19, 64, 5))
    with pytest.raises(ConfigError, match=r"at most vocab/2 - 1 = 3, got 4"):
        data.load(config_of(64, 8, 4))
