"""Starting or joining Ray, without one."""

import signal
from typing import Any

import pytest

from nas.config import load
from nas.errors import ConfigError
from nas.searching import cluster
from nas.searching.settings import RayConfig


class Refusing:
    """A Ray that takes over SIGTERM, as the real one does, and then does not start."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def init(self, **asked: Any) -> None:
        self.asked = asked
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise ConnectionError("nobody there\nsecond line")


@pytest.mark.parametrize("address", ["auto", "nonsense", "127.0.0.1:1", "127.0.0.1:99999", "ray://127.0.0.1:1"])
def test_address_without_a_cluster(address: str) -> None:
    told = f"address='{address}' needs a running Ray cluster and none answers there \\(.*: start one with"
    with pytest.raises(ConfigError, match=told):
        cluster.connect(Refusing(), 2, RayConfig(address=address))


def test_a_machine_on_which_ray_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    told = r"^{} with 2 workers needs Ray .* did not start \(nobody there\): ask for fewer, or free memory{}$"
    with pytest.raises(ConfigError, match=told.format("search", "; search.workers=0 scores in this process")):
        cluster.connect(Refusing(), 2, RayConfig())
    with pytest.raises(ConfigError, match=told.format("team", "")):
        cluster.connect(Refusing(), 2, RayConfig(), section="team")
    with pytest.raises(ConfigError, match="^tune.ray.address='auto' needs"):
        cluster.connect(Refusing(), 2, RayConfig(address="auto"), section="tune")


def test_termination_stays_the_programs_own() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(ConfigError):
            cluster.connect(Refusing(), 2, RayConfig(address="local"))
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("setting", "environment", "joined"),
    [
        (None, None, "local"),
        (None, "ray://head", "ray://head"),
        ("local", "ray://head", "local"),
        ("auto", "x", "auto"),
    ],
)
def test_the_environment_gives_the_address_that_the_settings_leave_out(
    setting: str | None, environment: str | None, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    ray = Refusing()
    with pytest.raises(ConfigError):
        cluster.connect(ray, 3, RayConfig(address=setting, num_cpus=0.5, resources={"a100": 1}))
    assert ray.asked["address"] == joined
    here = {"num_cpus": 2, "resources": {"a100": 3}}
    assert {name: ray.asked.get(name) for name in here} == (here if joined == "local" else dict.fromkeys(here))


def test_what_a_worker_asks_for() -> None:
    config = RayConfig(num_cpus=3.5, num_gpus=0.25, resources={"a100": 1}, env_vars={"A": "1"})
    assert cluster.options(config) == {
        "num_cpus": 3.5,
        "num_gpus": 0.25,
        "max_restarts": 0,
        "resources": {"a100": 1},
        "runtime_env": {"env_vars": {"A": "1"}},
    }
    assert (cluster.threads(config), cluster.threads(RayConfig(num_cpus=0.25))) == (3, 1)
    assert cluster.options(RayConfig()) == {"num_cpus": 1, "num_gpus": 0, "max_restarts": 0}


def test_more_than_one_gpu_is_a_whole_number() -> None:
    assert load(RayConfig, {"num_gpus": 2}).num_gpus == 2
    with pytest.raises(ConfigError, match=r"num_gpus is a part of one GPU or a whole number of them; got 1\.5"):
        load(RayConfig, {"num_gpus": 1.5})
