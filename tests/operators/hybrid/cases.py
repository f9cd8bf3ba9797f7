from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "mobile_block": [
        {"num_heads": 3, "head_dim": 5, "window_size": 3, "expansion": 2, "kernel_size": 3},
        {"num_heads": 2, "head_dim": 4, "window_size": 9, "expansion": 1, "kernel_size": 5},
    ],
    "routed_linear": [{**GQA, "block_size": 4, "topk": 2, "feature_map": "softmax"}],
    "residual_linear": [{**GQA, "block_size": 8, "topk": 1, "feature_map": "elu_plus_one", "num_marginal": 2}],
    "window_linear": [{**GQA, "window_size": 4, "feature_dim": 4}],
}
