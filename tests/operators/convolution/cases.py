from collections.abc import Mapping, Sequence

from tests.operators.heads import Knobs

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "depthwise": [{"kernel_size": 3}, {"kernel_size": 7}],
    "none": [{}],
}
