"""Multi-query associative recall, generated: key-value pairs, then each key is asked once.

Task and gap law from "Zoology: Measuring and Improving Recall in Efficient Language Models" (Arora et al., 2023).
"""

import torch
from torch import Tensor

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.splits import Splits, seal
from nas.errors import ConfigError
from nas.shapes import TokenShape

IGNORED = -100
GAP_POWER = 0.01
CHUNK = 4096


def load(config: DataConfig) -> Dataset:
    """`examples` sequences for train and `val_share` as many for val and test, each from its own generator."""
    _check(config)
    held_out = max(1, round(config.examples * config.val_share))
    sizes = (config.examples, held_out, held_out)
    splits = Splits(*(generate(config, size, seed=3 * config.seed + part) for part, size in enumerate(sizes)))
    shape = TokenShape(vocab=config.vocab, tokens=config.seq_len, classes=config.vocab)
    return seal(config, splits, task="recall", shape=shape)


def generate(config: DataConfig, count: int, *, seed: int) -> Examples:
    """`count` sequences and labels, int16 `[count, seq_len]`; labels are -100 except where a key is asked.

    Keys come from 1 .. vocab/2 - 1 and values from vocab/2 .. vocab - 1, distinct within a sequence. Other positions
    hold random tokens that are never one of the sequence's own keys.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    chunks = [_chunk(config, size, generator) for size in sizes]
    return Examples(torch.cat([chunk.inputs for chunk in chunks]), torch.cat([chunk.targets for chunk in chunks]))


def _chunk(config: DataConfig, count: int, generator: torch.Generator) -> Examples:
    pairs, half = config.pairs, config.vocab // 2
    keys = 1 + _distinct(torch.ones(half - 1), count, pairs, generator)
    values = half + _distinct(torch.ones(config.vocab - half), count, pairs, generator)
    asked = _asked_positions(config, count, generator)
    inputs = _filler(config, keys, generator)
    inputs[:, : 2 * pairs : 2] = keys
    inputs[:, 1 : 2 * pairs : 2] = values
    inputs.scatter_(1, asked, keys)
    targets = torch.full_like(inputs, IGNORED).scatter_(1, asked, values)
    return Examples(inputs.to(torch.int16), targets.to(torch.int16))


def _asked_positions(config: DataConfig, count: int, generator: torch.Generator) -> Tensor:
    """Even offsets behind the pairs, drawn without replacement with weight a x^(a-1): most gaps are short."""
    slots = (config.seq_len - 2 * config.pairs) // 2
    weights = torch.arange(1, slots + 1).float().pow(GAP_POWER - 1.0)
    return 2 * config.pairs + 2 * _distinct(weights, count, config.pairs, generator)


def _distinct(weights: Tensor, rows: int, draws: int, generator: torch.Generator) -> Tensor:
    """Weighted draws without replacement `[rows, draws]` by Gumbel top-k, in the order of drawing."""
    noise = torch.empty(rows, len(weights)).exponential_(generator=generator)
    return (weights.log() - noise.log()).topk(draws, dim=1).indices


def _filler(config: DataConfig, keys: Tensor, generator: torch.Generator) -> Tensor:
    rows = len(keys)
    tokens = torch.randint(config.vocab, (rows, config.seq_len), generator=generator)
    is_key = torch.zeros(rows, config.vocab, dtype=torch.bool).scatter_(1, keys, True)
    return tokens.masked_fill(is_key.gather(1, tokens), 0)


def _check(config: DataConfig) -> None:
    if 4 * config.pairs > config.seq_len:
        raise ConfigError(
            f"recall needs seq_len >= 4 * pairs: pairs and questions take {4 * config.pairs} positions, data.seq_len "
            f"is {config.seq_len}; set data.pairs={config.seq_len // 4} or less, or a longer data.seq_len"
        )
    if config.pairs > config.vocab // 2 - 1:
        raise ConfigError(
            f"recall keys are distinct: data.pairs may be at most vocab/2 - 1 = {config.vocab // 2 - 1}, "
            f"got {config.pairs}; set a larger data.vocab"
        )
