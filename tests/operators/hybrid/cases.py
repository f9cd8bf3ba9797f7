from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "window_linear": [{**GQA, "window_size": 4, "feature_dim": 4}],
}
