import pytest

from nas.config import load
from nas.errors import ConfigError
from nas.ranking import RankConfig
from nas.run import Run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 5}, "count must be 8 or more, .*got 5: 30 and more"),
        ({"seeds": [3]}, r"seeds must be 2 or more different ones, .*got \[3\]: such as"),
        ({"seeds": [3, 3]}, r"seeds must be 2 or more different ones, .*got \[3, 3\]"),
        ({"seeds": []}, r"got \[\]"),
        ({"bins": 0}, "bins: .*got 0"),
        ({"steps": 0}, "steps: .*got 0"),
        ({"resamples": 10}, "resamples: .*got 10"),
        ({"landmarks": 15, "short_steps": 9}, "landmarks must be 0, or 16 or more, .*got 15: about 100"),
        ({"landmarks": -1, "short_steps": 9}, "landmarks: .*got -1"),
        ({"landmarks": 16}, "the 16 landmarks are archs that are trained for short_steps, which is null: set it"),
        ({"short_start": "inherited"}, "short_start=inherited is about trainings of short_steps, which is null: set"),
        ({"short_start": "warm", "short_steps": 9}, "short_start: .*'scratch' or 'inherited', got 'warm'"),
        ({"ray": {"env_vars": {"A": "b"}}}, "ray.env_vars does not reach trainings"),
        ({"sedes": [0, 1]}, "sedes: no such setting"),
    ],
)
def test_wrong_settings_say_the_rule_and_the_value(given, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=said):
        load(RankConfig, given)


def test_a_section_is_named_with_every_wrong_key_and_with_rules_on_several() -> None:
    with pytest.raises(ConfigError, match=r"^rank\.count: count must be 8.*; rank\.bins: .*got 0$"):
        load(RankConfig, {"count": 5, "bins": 0}, section="rank")
    with pytest.raises(ConfigError, match="^rank: the 16 landmarks"):
        load(RankConfig, {"landmarks": 16}, section="rank")


def test_results_lie_beside_the_run_unless_told_otherwise(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = Run.at(tmp_path / "one")
    assert RankConfig().tables(run).path == tmp_path / "standalone"
    assert RankConfig(table=str(tmp_path / "own")).tables(run).path == tmp_path / "own"
