from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "window": [{**GQA, "window_size": 4}, {**MHA, "window_size": 16}],
    "neighborhood": [{**GQA, "kernel_size": 3}, {**MHA, "kernel_size": 5}],
    "power_distance": [{**GQA, "block_size": 4, "num_local": 1, "num_sink": 1}],
    "block_routing": [{**GQA, "block_size": 4, "topk": 2}, {**MHA, "block_size": 8, "topk": 1}],
    "region_routing": [{**GQA, "regions": 3, "topk": 2}, {**MHA, "regions": 2, "topk": 4}],
}
