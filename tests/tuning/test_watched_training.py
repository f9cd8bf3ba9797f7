"""Training to marks: the same network as in one go, whatever happened between."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.data import DataConfig, load
from nas.run import Run
from nas.supernet import Supernet
from nas.train import RetrainConfig, TrainConfig, fit, fit_watched, standalone
from tests.spaces import DIGITS, shipped

QUICK = TrainConfig(steps=7, batch_size=8, warmup=0.2, log_every=100)


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_marks_change_nothing_and_a_killed_training_goes_on(tmp_path: Path, killed_after: int) -> None:
    torch.manual_seed(0)
    net = Supernet(shipped("digits_tiny"), DIGITS)
    data, arch = load(DataConfig(name="digits", seed=0)).searchable(), net.space.smallest()

    def trainer(steps: int = 7):  # type: ignore[no-untyped-def]
        return standalone(net, arch, data, RetrainConfig(), replace(QUICK, steps=steps), seed=3)

    whole = trainer()
    fit(whole, Run.at(tmp_path / "whole"), "alone")
    run, marks = Run.at(tmp_path / "marks"), (0.25, 0.5, 1.0)
    seen = list(itertools.islice(fit_watched(trainer(), run, "alone", arch, data.val, marks), killed_after))
    last = trainer()
    seen += fit_watched(last, run, "alone", arch, data.val, marks[killed_after:])
    assert [mark for mark, _ in seen] == list(marks) and all(0 <= value <= 1 for _, value in seen)
    state = last.net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.net.state_dict().items())
