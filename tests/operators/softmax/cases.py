from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, MQA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "adaptive_filter": [{**GQA, "weights": "robust"}, {**MQA, "weights": "gaussian"}],
    "anchor": [{**GQA, "block_size": 4, "topk": 2}, {**MHA, "block_size": 8, "topk": 3}],
    "cascaded_groups": [
        {"num_heads": 3, "key_dim": 4, "window_size": 4, "kernel_size": 3},
        {"num_heads": 2, "key_dim": 5, "window_size": 7, "kernel_size": 5},
    ],
    "convolved_scores": [
        {**GQA, "query_reach": 3, "key_reach": 2, "finish": "plain"},
        {**MHA, "query_reach": 1, "key_reach": 1, "finish": "normed"},
    ],
    "expert_heads": [{**GQA, "hidden": 9}, {**MHA, "hidden": 5}],
    "head_embeddings": [
        {"num_heads": 3, "head_dim": 8, "form": "add"},
        {"num_heads": 4, "head_dim": 5, "form": "multiply"},
    ],
    "low_resolution": [{**GQA, "stride": 2}, {**MHA, "stride": 1}],
    "mixture_of_heads": [{**MHA, "num_shared": 1, "num_routed": 1}, {**GQA, "num_shared": 2, "num_routed": 3}],
    "normalised_scores": [MHA, GQA],
    "relational": [
        {"num_heads": 4, "head_dim": 8, "num_relational": 2, "relation_dim": 5, "likeness": "directed"},
        {"num_heads": 3, "head_dim": 6, "num_relational": 1, "relation_dim": 4, "likeness": "symmetric"},
    ],
    "reused_kv": [MHA, GQA, MQA],
    "sparse_values": [
        {"num_heads": 2, "head_dim": 4, "value_ratio": 2, "keep": 5},
        {"num_heads": 3, "head_dim": 8, "value_ratio": 1, "keep": 40},
    ],
    "similarity": [{**MHA, "geometry": "spherical"}, {**GQA, "geometry": "hyperbolic"}],
    "softmax": [MHA, GQA, MQA],
    "talking_heads": [
        {"num_heads": 3, "head_dim": 4, "value_ratio": 2, "kernel_size": 3},
        {"num_heads": 2, "head_dim": 8, "value_ratio": 1, "kernel_size": 1},
    ],
    "tempered": [{**GQA, "scope": "both"}, {**MHA, "scope": "query"}],
    "unprojected": [
        {"num_heads": 3, "form": "mixed_values"},
        {"num_heads": 2, "form": "no_value"},
        {"num_heads": 4, "form": "no_key_value"},
    ],
    "wide_values": [
        {"num_heads": 3, "head_dim": 4, "value_ratio": 2},
        {"num_heads": 2, "head_dim": 8, "value_ratio": 1},
    ],
}
