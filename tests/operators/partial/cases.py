from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "four_ranges": [{"num_heads": 2, "pooled": 2, "kernel_size": 3}, {"num_heads": 3, "pooled": 1, "kernel_size": 5}],
    "partial_softmax": [
        {"num_heads": 1, "key_dim": 5, "share": 25, "kernel_size": 1},
        {"num_heads": 3, "key_dim": 4, "share": 50, "kernel_size": 3},
    ],
}
