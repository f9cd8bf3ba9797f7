from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "cross_covariance": [{"num_heads": 3, "head_dim": 8}],
}
