"""What two threads on one supernet get, held against what one alone got."""

import random
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.arch import Arch
from nas.supernet import Supernet

CALLS = 15


def differing_in_threads(net: Supernet, x: Tensor, archs: Sequence[Arch], alone: Sequence[Tensor]) -> list[str]:
    """Digests of the archs whose output was another one when two threads drew archs at random."""
    wrong: list[str] = []

    def run(seed: int) -> None:
        rng = random.Random(seed)
        with torch.no_grad():
            for i in rng.choices(range(len(archs)), k=CALLS):
                if not torch.equal(net(x, archs[i]), alone[i]):
                    wrong.append(archs[i].digest)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong
