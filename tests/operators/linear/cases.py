from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "linear": [
        {**GQA, "feature_map": "elu", "feature_dim": 8},
        {**MHA, "feature_map": "relu", "feature_dim": 4},
        {**GQA, "feature_map": "taylor2", "feature_dim": 4},
        {**MHA, "feature_map": "hedgehog", "feature_dim": 8},
    ],
    "decayed": [MHA, GQA],
}
