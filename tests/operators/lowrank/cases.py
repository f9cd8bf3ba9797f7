from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "latent": [{"num_heads": 3, "head_dim": 8, "kv_rank": 5}, {"num_heads": 2, "head_dim": 4, "kv_rank": 12}],
    "length_projection": [{**GQA, "rank": 7}, {**MHA, "rank": 3}],
}
