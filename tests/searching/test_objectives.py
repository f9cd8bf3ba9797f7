import pytest

from nas.config import load
from nas.errors import ConfigError
from nas.searching.objectives import CheapObjectives, Constraint, Objective, named_objectives
from nas.searching.settings import ConstraintsConfig, SearchConfig, named_constraints
from nas.space import SearchSpace
from nas.supernet import network_cost
from nas.tasks import Metric
from tests.searching.conftest import SHAPE

ACCURACY, BITS = Metric("accuracy", "maximise"), Metric("bits_per_byte", "minimise")


def test_quality_stands_for_the_metric_of_the_task() -> None:
    assert named_objectives(("quality", "params"), ACCURACY) == (
        Objective("accuracy", "maximise"),
        Objective("params"),
    )
    assert named_objectives(("latency_ms", "bits_per_byte"), BITS)[1] == Objective("bits_per_byte")


def test_expected_quality_goes_the_way_of_the_metric() -> None:
    assert named_objectives(("standalone", "params"), ACCURACY)[0] == Objective("standalone", "maximise")
    assert named_objectives(("standalone", "params"), BITS)[0] == Objective("standalone", "minimise")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("quality", "speed"),
            "may hold quality, loss, standalone, latency_ms, params, flops, kv_cache_bytes; got 'speed'",
        ),
        (("quality",), "needs two or more different names, got"),
        (("params", "params"), "needs two or more different names, got"),
    ],
)
def test_wrong_objectives_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named_objectives(names, ACCURACY)


def test_constraints_bound_from_the_side_that_is_worse() -> None:
    upper, lower = Constraint(name="ms", bound=4.0), Constraint(name="acc", bound=0.8, direction="maximise")
    assert [upper.violation({"ms": v}) for v in (3.0, 4.0, 5.0)] == [0, 0, 0.25]
    assert [lower.violation({"acc": v}) for v in (0.9, 0.8, 0.4)] == [0, 0, 0.5]
    assert (str(upper), str(lower)) == ("ms <= 4", "acc >= 0.8")


def test_only_limits_that_are_set_count() -> None:
    limits = load(ConstraintsConfig, {"latency_ms": 4, "accuracy": 0.9})
    found = named_constraints(limits, ACCURACY)
    assert found == (
        Constraint(name="latency_upper_ms", bound=4.0, label="latency_ms at 90% confidence"),
        Constraint(name="accuracy", bound=0.9, direction="maximise"),
    )
    with pytest.raises(ConfigError, match=r"accuracy needs a task .* judged by bits_per_byte: set constraints.bits_pe"):
        named_constraints(limits, BITS)


def test_settings_have_defaults_and_refuse_nonsense() -> None:
    assert load(SearchConfig, {}).ray.address is None
    with pytest.raises(ConfigError, match="budget"):
        load(SearchConfig, {"budget": 0})


def test_cheap_objectives_are_the_closed_form_and_predicted_once(space: SearchSpace) -> None:
    asked: list[int] = []

    def predict(archs):  # type: ignore[no-untyped-def]
        asked.append(len(archs))
        return [float(len(arch.blocks)) for arch in archs]

    cheap = CheapObjectives(space, SHAPE, predict)
    small, large = space.smallest(), space.largest()
    first = cheap([small, large, small])
    cost = network_cost(space.frame, SHAPE, large)
    assert first[1] == {
        "params": cost.params,
        "flops": cost.flops,
        "kv_cache_bytes": cost.kv_cache_bytes,
        "latency_ms": 4.0,
    }
    assert first[0] == first[2]
    assert cheap([large, small]) == [first[1], first[0]]
    assert asked == [2]
    bounded = CheapObjectives(space, SHAPE, predict, lambda archs: [5.0] * len(archs))
    assert bounded([large])[0] == {**first[1], "latency_upper_ms": 5.0}
