from collections.abc import Mapping, Sequence

from tests.operators.heads import GQA, MHA, MQA, Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "softmax": [MHA, GQA, MQA],
    "reused_kv": [MHA, GQA, MQA],
    "mixture_of_heads": [{**MHA, "num_shared": 1, "num_routed": 1}, {**GQA, "num_shared": 2, "num_routed": 3}],
}
