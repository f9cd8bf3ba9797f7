from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "state_mixer": [{"num_states": 5}],
}
