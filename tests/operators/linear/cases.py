from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "block_mixing": [{**GQA, "blocks": 2}, {**MHA, "blocks": 3}],
    "decayed": [MHA, GQA],
    "efficient": [MHA, GQA],
    "exponential_gates": [MHA, GQA],
    "gated": [{**GQA, "gate_rank": 3}, {**MHA, "gate_rank": 5}],
    "linear": [
        {**GQA, "feature_map": "elu", "feature_dim": 8},
        {**MHA, "feature_map": "relu", "feature_dim": 4},
        {**GQA, "feature_map": "taylor2", "feature_dim": 4},
        {**MHA, "feature_map": "hedgehog", "feature_dim": 8},
        {**GQA, "feature_map": "spherical", "feature_dim": 8},
    ],
    "local_linear": [{**GQA, "iterations": 2}, {**MHA, "iterations": 3}],
}
