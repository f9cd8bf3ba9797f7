import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.errors import ArchError, ConfigError, MissingDependencyError
from nas.profiling import ProfileConfig, energy
from nas.profiling.energy import energy_mj
from nas.profiling.memory import peak_memory_bytes
from nas.profiling.workload import Workload, workload
from nas.supernet import Supernet, example_inputs, extract
from nas.supernet.reshape import reshaped
from tests.profiling.doubles import FakeProgram
from tests.spaces import DIGITS, TEXT, shipped

SPACE, IMAGES = shipped("lm_tiny"), shipped("digits_tiny")


def test_digest_depends_on_the_workload_and_not_on_the_space() -> None:
    other = shipped("lm_small")
    one = workload(SPACE, TEXT)
    assert one.digest == workload(other, TEXT).digest and one.frame.name != other.frame.name
    loads = [
        one,
        workload(SPACE, TEXT, batch=2),
        workload(SPACE, TEXT, tokens=40),
        workload(SPACE, TEXT, phase="decode"),
        workload(SPACE, TEXT, phase="decode", cache=10),
    ]
    assert len({load.digest for load in loads}) == 5
    assert (loads[3].cache, loads[3].tokens) == (79, 80)
    assert workload(SPACE, TEXT, phase="decode", cache=200).tokens == 201
    assert one.reference() == workload(other, TEXT).reference()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"image_size": 32}, "profile.image_size is for images"),
        ({"cache": 3}, "profile.cache is for phase 'decode'"),
        ({"tokens": 1, "phase": "decode"}, "at least 1 token, got 0"),
    ],
)
def test_wrong_workloads_of_tokens(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        workload(SPACE, TEXT, **asked)  # type: ignore[arg-type]


def test_wrong_workloads_of_images() -> None:
    for asked in ({"tokens": 3}, {"phase": "decode"}):
        with pytest.raises(ConfigError, match="are for token tasks"):
            workload(IMAGES, DIGITS, **asked)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a causal task"):
        workload(SPACE, replace(TEXT, is_causal=False), phase="decode")
    with pytest.raises(ArchError, match="does not divide 9"):
        load = workload(IMAGES, DIGITS, image_size=9)
        reshaped(Supernet(IMAGES, DIGITS), load.shape)


@pytest.mark.parametrize("name", ["lm_small", "vit_small", "digits_tiny"])
def test_a_net_at_another_shape_keeps_its_weights(name: str) -> None:
    from tests.spaces import SHAPES

    space, shape = shipped(name), SHAPES[name]
    sized = {"tokens": 160} if name == "lm_small" else {"image_size": 2 * getattr(shape, "height", 0)}
    load: Workload = workload(space, shape, **sized)  # type: ignore[arg-type]
    net = Supernet(space, shape).eval()
    other = reshaped(net, load.shape)
    same = [n for n, value in net.state_dict().items() if other.state_dict()[n].shape == value.shape]
    assert all(torch.equal(net.state_dict()[n], other.state_dict()[n]) for n in same) and len(same) > 20
    arch = space.largest()
    y = other(example_inputs(load.shape, 2, 0), arch)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(extract(other, arch)(example_inputs(load.shape, 2, 0)), y)
    assert reshaped(net, shape) is net


def test_unknown_runtimes_and_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="profile.runtime must be one of .*onnxruntime.*; got 'tensorrt'"):
        ProfileConfig(runtime="tensorrt").engine()
    with pytest.raises((ConfigError, MissingDependencyError)):
        ProfileConfig(runtime="command").engine()


class Wide(nn.Module):
    """Holds two results of 40,000 bytes at once beside its input, and frees them before the third."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x * self.weight).exp()
        del x
        return y.sum()


def test_peak_memory_is_what_lives_at_once() -> None:
    x = torch.zeros(100, 100)
    held = x.nbytes + 400
    assert peak_memory_bytes(Wide(), (x,)) == held + 2 * x.nbytes
    small = peak_memory_bytes(nn.Identity(), (x,))
    assert small == x.nbytes


def test_peak_memory_grows_with_the_net() -> None:
    net = Supernet(IMAGES, DIGITS).eval()
    x = (example_inputs(DIGITS, 1, 0),)
    few, many = (peak_memory_bytes(extract(net, arch).eval(), x) for arch in (IMAGES.smallest(), IMAGES.largest()))
    assert 0 < few < many


@pytest.mark.parametrize(("after", "wrapped"), [(5_000_000, 4_000_000), (400_000, 9_400_000)])
def test_energy_is_what_the_counters_say(
    after: int, wrapped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = tmp_path / "intel-rapl:0"
    inner = tmp_path / "intel-rapl:0:0"
    for folder in (zone, inner):
        folder.mkdir()
        (folder / "max_energy_range_uj").write_text("10000000")
    (zone / "energy_uj").write_text("1000000")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "AT_LEAST_S", 1e-9)

    class Burns(FakeProgram):
        calls = 0

        def elapsed_ms(self, count: int) -> float:
            if self.at:
                Burns.calls += count + 1
                (zone / "energy_uj").write_text(str(after))
            return super().elapsed_ms(count)

    found = energy_mj(Burns(1.0))
    assert found is not None and found == pytest.approx(wrapped / 1e3 / Burns.calls)


def test_energy_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert energy_mj(FakeProgram(1.0)) is None
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0/energy_uj").mkdir()  # there, but not to be read
    assert energy_mj(FakeProgram(math.pi)) is None
