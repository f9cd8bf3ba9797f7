from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "window": [{**GQA, "window_size": 4}, {**MHA, "window_size": 16}],
    "neighborhood": [{**GQA, "kernel_size": 3}, {**MHA, "kernel_size": 5}],
    "power_distance": [{**GQA, "block_size": 4, "num_local": 1, "num_sink": 1}],
    "block_routing": [{**GQA, "block_size": 4, "topk": 2}, {**MHA, "block_size": 8, "topk": 1}],
    "region_routing": [{**GQA, "regions": 3, "topk": 2}, {**MHA, "regions": 2, "topk": 4}],
    "dynamic_mask": [{**GQA, "keep": 5}, {**MHA, "keep": 40}],
    "top_keys": [{**GQA, "keep": 5}],
    "estimated_blocks": [
        {**GQA, "block_size": 4, "topk": 2, "estimate": "pooled"},
        {**MHA, "block_size": 8, "topk": 1, "estimate": "four_bit"},
    ],
    "expert_choice": [{**GQA, "num_routed": 4, "reduction": 4}, {**MHA, "num_routed": 3, "reduction": 3}],
    "routed_heads": [
        {**MHA, "num_full": 1, "window_size": 7, "num_sink": 2},
        {**GQA, "num_full": 1, "window_size": 16, "num_sink": 0},
    ],
    "token_types": [
        {**GQA, "window_size": 3, "types": "global_local_sliding"},
        {**MHA, "window_size": 9, "types": "global_sliding"},
    ],
    "similar_neighbors": [{**GQA, "kernel_size": 3, "topk": 4}, {**MHA, "kernel_size": 5, "topk": 9}],
    "predicted_mask": [
        {**GQA, "block_size": 4, "topk": 2, "rank": 3, "predictor_dim": 4},
        {**MHA, "block_size": 1, "topk": 5, "rank": 4, "predictor_dim": 8},
    ],
    "anchored_spans": [{**GQA, "window_size": 4, "topk": 2, "span_factor": 2}],
    "chunk_routing": [{**GQA, "block_size": 4, "budget": 6}, {**MHA, "block_size": 16, "budget": 24}],
    "head_shards": [
        {**GQA, "block_size": 4, "num_local": 1, "shards": 2},
        {**MHA, "block_size": 8, "num_local": 2, "shards": 3},
    ],
    "learned_query": [
        {"num_heads": 3, "head_dim": 8, "kernel_size": 3},
        {"num_heads": 2, "head_dim": 4, "kernel_size": 7},
    ],
    "strided_neighborhood": [
        {**GQA, "window_size": 5, "stride": 2, "dilation": 1},
        {**MHA, "window_size": 4, "stride": 4, "dilation": 2},
    ],
    "subsampled": [{**GQA, "reduction": 2}, {**MHA, "reduction": 3}],
    "oracle_blocks": [{**GQA, "block_size": 4, "topk": 2, "window_size": 5}],
    "reused_blocks": [{**GQA, "block_size": 4, "topk": 2}],
}
