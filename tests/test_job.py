"""What stages share: the kept table, and a predictor carried over from another one."""

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nas.errors import ConfigError, MeasurementError
from nas.job import Job
from nas.predict import PredictConfig
from nas.profiling import ProfileConfig, Row, profile
from nas.run import Run
from nas.space import sample
from nas.supernet import Supernet
from tests.profiling.doubles import FakeRuntime
from tests.spaces import DIGITS, shipped

PROFILE = ProfileConfig(minutes=0.02, held_out_nets=4, repeat_nets=0)


def job(run: Run, **changed: Any) -> Job:
    settings: Any = SimpleNamespace(
        profile=replace(PROFILE, **changed.pop("profile", {})),
        predict=PredictConfig(correction="none", **changed),
        run=SimpleNamespace(seed=0),
    )
    made = Job(run, settings)
    torch.manual_seed(0)
    made.__dict__["net"] = Supernet(shipped("digits_tiny"), DIGITS)
    return made


@pytest.fixture
def known(tmp_path: Path) -> Job:
    """A run with a fitted table."""
    made = job(Run.at(tmp_path / "one"))
    profile(made.net, PROFILE, made.run, 0, runtime=FakeRuntime())
    made.keep_table()
    return made


def test_rows_that_others_add_later_change_nothing(known: Job) -> None:
    before = known.measured
    profile(known.net, PROFILE, Run.at(known.run.path.parent / "two"), 1, runtime=FakeRuntime())
    again = job(known.run)
    assert again.measured == before and len(again._table()) > len(before)
    again.keep_table()
    assert len(job(known.run).measured) > len(before)


def test_ten_nets_carry_a_predictor_to_another_batch(known: Job) -> None:
    base = str(known.run.path / known.table_name)
    there = job(known.run, base=base, profile={"batch": 8})
    telling = there.telling()
    assert len(set(telling)) == 10 and not known.telling()

    class Slower(FakeRuntime):
        def prepare(self, module, inputs):  # type: ignore[no-untyped-def]
            made = super().prepare(module, inputs)
            made.ms = 5.0 * made.ms + 0.3  # type: ignore[attr-defined]
            return made

    rows = profile(there.net, there.settings.profile, there.run, 0, only=telling, runtime=Slower())
    assert [row.split for row in rows].count("fit") == 10 and not any(row.kind == "part" for row in rows)
    held = [row for row in there.measured if row.split == "held_out"]
    predicted = there.predictor.predict([row.network() for row in held])
    measured = np.array([row.median_ms for row in held])
    assert np.abs(predicted / measured - 1).mean() < 0.1
    assert (there.predictor.upper([sample(there.net.space, random.Random(0))], 0.9) > 0).all()


@pytest.mark.parametrize("content", ["", "[]", '[{"kind": "part"}]', "{}"])
def test_a_base_that_is_no_table_is_refused(known: Job, content: str) -> None:
    path = known.run.path / "odd.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"predict\.base must be a table"):
        _ = job(known.run, base=str(path)).base
    with pytest.raises(ConfigError, match=r"predict\.base must be a table that `nas fit` kept, .*nowhere"):
        _ = job(known.run, base=str(known.run.path / "nowhere")).base


def test_a_base_of_another_space_is_refused_with_its_name(known: Job) -> None:
    rows = [replace(row, name="x", space="elsewhere", kind="part", split="", arch=None) for row in known.measured[:3]]
    path = known.run.path / "other.json"
    path.write_text(json.dumps([json.loads(json.dumps(_plain(row))) for row in rows]))
    with pytest.raises(MeasurementError, match="spaces: 'elsewhere'"):
        _ = job(known.run, base=str(path)).base


def _plain(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
