from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.profiling import ProfileConfig, device, fingerprint, foreign_load, moment


def test_digest_depends_on_every_setting_and_on_nothing_else() -> None:
    one = fingerprint(1)
    assert one == fingerprint(1) and one.digest == fingerprint(1).digest
    assert len({one.digest, fingerprint(2).digest, fingerprint(1, dtype="bfloat16").digest}) == 3
    assert one.digest != fingerprint(1, runtime="onnxruntime", version="1").digest
    assert one.to_dict()["digest"] == one.digest and one.runtime == "eager" and one.gpu == "" and one.version


def test_foreign_load_is_busy_time_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    now = device.Moment(wall=20.0, busy=109.0, own=13.0)
    monkeypatch.setattr(device, "moment", lambda: now)
    assert foreign_load(device.Moment(wall=10.0, busy=100.0, own=10.0)) == pytest.approx(0.6)


def test_columns_of_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    # user nice system idle iowait irq softirq steal guest guest_nice
    stat.write_text("cpu  100 10 50 9000 500 1 2 37 60 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr(device, "STAT", stat)
    monkeypatch.setattr(device.os, "sysconf", lambda _: 100)
    found = moment()
    assert found is not None and found.busy == pytest.approx(2.0)


def test_load_is_unknown_without_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "STAT", tmp_path / "absent")
    assert moment() is None
    assert foreign_load(None) is None


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"profile\.device=cuda needs a CUDA device.*use cpu"):
        ProfileConfig(device="cuda").fingerprint()
