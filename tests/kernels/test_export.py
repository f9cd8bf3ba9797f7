import pytest
import torch
from torch import Tensor, nn

from nas.kernels.attention import Executor, dense, sparse
from nas.kernels.scan import linear_attention
from nas.kernels.visibility import Visibility, from_predicate, tile_order


class Sparse(nn.Module):
    def __init__(self, visibility: Visibility, executor: Executor) -> None:
        super().__init__()
        self.visibility, self.executor = visibility, executor

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sparse(q, k, v, self.visibility, self.executor)


class Grouped(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return dense(q, k[:, :2], v[:, :2], is_causal=True)


class Linear(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        decay = -torch.ones(4, device=q.device)
        return linear_attention(q.exp(), k.exp(), v, is_causal=True, log_decay=decay, normalize=True, chunk_size=32)


def near(q: Tensor, k: Tensor) -> Tensor:
    return (q // 10 - k // 10).abs() <= 1


MODULES: dict[str, nn.Module] = {
    "gather": Sparse(from_predicate(100, 16, lambda q, k: (k <= q) & (q - k < 16)), "gather"),
    "dense": Sparse(from_predicate(100, 16, lambda q, k: (k <= q) & (q - k < 16)), "dense"),
    "tiles": Sparse(from_predicate(100, 25, near, order=tile_order(10, 10, 5)), "gather"),
    "grouped": Grouped(),
    "linear": Linear(),
}


@pytest.mark.parametrize("name", MODULES)
def test_kernels_export_at_a_static_shape(name: str) -> None:
    inputs = tuple(torch.randn(2, 4, 100, 8) for _ in range(3))
    program = torch.export.export(MODULES[name], inputs)
    torch.testing.assert_close(program.module()(*inputs), MODULES[name](*inputs))
