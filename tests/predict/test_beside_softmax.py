import pytest

from nas.arch import OperatorArch
from nas.predict.beside_softmax import beside_softmax, losers
from nas.profiling.parts import Part
from tests.predict.tables import row
from tests.spaces import shipped

SPACE = shipped("lm_tiny")


def part(name: str, width: int = 48, **knobs: int) -> str:
    return Part(kind="mixer", stage=0, embed_dim=width, operator=OperatorArch.of(name, **knobs)).key


def heads(num_heads: int, num_kv_heads: int) -> dict[str, int]:
    return {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": 16}


def test_an_operator_is_compared_with_softmax_of_as_many_heads_at_its_width() -> None:
    rows = [
        row(part("softmax", **heads(4, 4)), 2.0),
        row(part("softmax", **heads(2, 1)), 1.0, pace=1.5),
        row(part("softmax", 64, **heads(2, 1)), 8.0),
        row(part("decayed", **heads(4, 4)), 3.0),
        row(part("decayed", **heads(2, 1)), 1.2),
        row(part("decayed", 64, **heads(4, 1)), 0.1),  # no rival was measured
        row(part("depthwise", kernel_size=3), 0.5),
        row(part("window", window_size=32, **heads(4, 4)), 2.0),
    ]
    best = beside_softmax(rows, SPACE)
    assert best == {"depthwise": pytest.approx(0.5), "window": pytest.approx(1.0), "decayed": pytest.approx(1.2)}
    assert losers(best) == ["window", "decayed"]


def test_a_table_without_softmax_says_nothing() -> None:
    assert beside_softmax([row(part("depthwise", kernel_size=3), 0.5)], SPACE) == {}
    assert beside_softmax([], SPACE) == {}
