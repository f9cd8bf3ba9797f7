import pytest
import torch
import torch.nn.functional as F

from nas.arch import FfnArch
from nas.errors import ArchError
from nas.operators.contract import Site
from nas.supernet.ffn import Ffn, check_ffn, ffn_cost
from tests.operators.harness import corner, counted

CHUNKED = FfnArch("chunked", 2.5)


def test_chunks_are_mlps_of_their_channels_in_a_row() -> None:
    ffn, x = Ffn([CHUNKED], 16).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    assert ffn.chunks is not None and ffn.up is None
    (u1, u2), (d1, d2) = ffn.chunks.up, ffn.chunks.down
    first = F.gelu(x[..., ::2] @ u1.T) @ d1.T
    second = F.gelu((x[..., 1::2] + first) @ u2.T) @ d2.T
    torch.testing.assert_close(ffn(x, CHUNKED), torch.stack((first, second), dim=-1).flatten(2), rtol=0, atol=1e-12)


def test_without_the_cascade_it_is_an_mlp_of_block_diagonal_matrices() -> None:
    ffn, x = Ffn([CHUNKED, FfnArch("mlp", 2.5)], 16).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    assert ffn.chunks is not None and ffn.up is not None and ffn.down is not None
    with torch.no_grad():
        even, odd = (2 * torch.arange(8) + i for i in range(2))
        order = torch.cat((even, odd))
        ffn.up.weight[:, order] = torch.block_diag(*ffn.chunks.up)
        ffn.down.weight[order] = torch.block_diag(*ffn.chunks.down)
        x[..., even] = 0  # what the first chunk gives the second is then zero
    torch.testing.assert_close(ffn(x, CHUNKED), ffn(x, FfnArch("mlp", 2.5)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["mlp", "swiglu", "chunked"])
def test_a_smaller_one_is_a_leading_corner_and_costs_what_is_counted(kind: str) -> None:
    large, small = FfnArch(kind, 3.0), FfnArch(kind, 1.5)
    big, alone = Ffn([large, small], 24), Ffn([small], 16)
    for name, value in alone.state_dict().items():
        value.copy_(corner(big.state_dict()[name], value.shape))
    x, site = torch.randn(1, 7, 16), Site(embed_dim=16, tokens=7, domain="causal")
    torch.testing.assert_close(big(x, small), alone(x, small))
    cost = ffn_cost(small, site)
    assert cost.params == sum(parameter.numel() for parameter in alone.parameters())
    assert cost.flops == counted(lambda: alone(x, small))


@pytest.mark.parametrize("kind", ["mlp", "swiglu", "chunked"])
def test_channels_keep_their_places_at_every_width(kind: str) -> None:
    arch = FfnArch(kind, 2.0)
    narrow, wide, x = Ffn([arch], 16), Ffn([arch], 24), torch.randn(2, 5, 16)
    for name, value in wide.state_dict().items():
        known = narrow.state_dict()[name]
        corner(value.zero_(), known.shape).copy_(known)
    y = wide(F.pad(x, (0, 8)), arch)
    torch.testing.assert_close(y, F.pad(narrow(x, arch), (0, 8)))


def test_odd_sizes_have_no_chunks() -> None:
    check_ffn(FfnArch("chunked", 2.0), 16)
    check_ffn(FfnArch("mlp", 1.0), 15)
    for ratio, width in ((2.0, 15), (0.5, 10)):
        with pytest.raises(ArchError, match="2 chunks needs that many equal parts"):
            check_ffn(FfnArch("chunked", ratio), width)
