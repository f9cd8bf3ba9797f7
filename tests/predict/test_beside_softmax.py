from dataclasses import replace

import pytest

from nas.arch import OperatorArch
from nas.predict.beside_softmax import beside_softmax, losers, over_sizes
from nas.profiling.parts import Part
from nas.profiling.table import Row
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


def test_sizes_are_compared_each_for_itself() -> None:
    def at(tokens: int, name: str, ms: float, **knobs: int) -> Row:
        return replace(row(part(name, **knobs), ms), tokens=tokens, workload=f"w{tokens}")

    rows = [at(64, "softmax", 1.0, **heads(4, 4)), at(64, "decayed", 3.0, **heads(4, 4))]
    rows += [at(512, "softmax", 8.0, **heads(4, 4)), at(512, "decayed", 4.0, **heads(4, 4))]
    rows += [replace(at(1024, "softmax", 8.0, **heads(4, 4)), batch=2), at(2048, "decayed", 1.0, **heads(4, 4))]
    found = over_sizes(rows, SPACE, like=rows[0])
    assert found == {64: {"decayed": pytest.approx(3.0)}, 512: {"decayed": pytest.approx(0.5)}}
