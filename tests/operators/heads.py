from collections.abc import Mapping

from nas.arch import Knob

Knobs = Mapping[str, Knob]

MHA: Knobs = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 8}
GQA: Knobs = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
MQA: Knobs = {"num_heads": 4, "num_kv_heads": 1, "head_dim": 5}
