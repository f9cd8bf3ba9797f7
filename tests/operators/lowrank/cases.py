from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "axis_pooling": [{**GQA, "lines": "rows"}, {**MHA, "lines": "columns"}],
    "landmarks": [{**GQA, "num_landmarks": 7}, {**MHA, "num_landmarks": 3}],
    "latent": [{"num_heads": 3, "head_dim": 8, "kv_rank": 5}, {"num_heads": 2, "head_dim": 4, "kv_rank": 12}],
    "latent_rotary": [
        {"num_heads": 3, "head_dim": 8, "kv_rank": 5, "query_rank": 7, "rotary_pairs": 2},
        {"num_heads": 2, "head_dim": 4, "kv_rank": 12, "query_rank": 3, "rotary_pairs": 1},
    ],
    "length_projection": [{**GQA, "rank": 7}, {**MHA, "rank": 3}],
    "narrow_scores": [{**GQA, "score_rank": 3}, {**MHA, "score_rank": 2}],
    "routed_scores": [{**GQA, "score_rank": 3, "one_in": 4}, {**MHA, "score_rank": 2, "one_in": 2}],
}
