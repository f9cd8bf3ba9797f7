from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "affinity_kernels": [
        {"num_heads": 3, "head_dim": 4, "kernel_size": 3, "region_edge": 2},
        {"num_heads": 2, "head_dim": 8, "kernel_size": 5, "region_edge": 3},
    ],
    "dense_convolution": [{"kernel_size": 3}, {"kernel_size": 1}],
    "depthwise": [{"kernel_size": 3}, {"kernel_size": 7}],
    "large_small": [{"kernel_size": 5, "group_size": 4}, {"kernel_size": 7, "group_size": 8}],
    "merged_branches": [{"kernel_size": 3, "groups": 1}, {"kernel_size": 5, "groups": 4}],
    "modulation": [
        {"num_heads": 3, "head_dim": 8, "kernel_size": 5},
        {"num_heads": 2, "head_dim": 4, "kernel_size": 11},
    ],
    "none": [{}],
}
