from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "token_map": [
        {"num_heads": 3, "form": "mlp2", "order": "kept"},
        {"num_heads": 4, "form": "matrix", "order": "kept"},
        {"num_heads": 4, "form": "matrix", "order": "shuffled"},
    ],
}
