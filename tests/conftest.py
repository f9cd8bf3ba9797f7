from pathlib import Path

import pytest
import torch

from tests.command import TINY, call


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run on real digits."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    result = call("run", *TINY, f"run.dir={folder}")
    assert result.returncode == 0, result.stderr
    return folder
