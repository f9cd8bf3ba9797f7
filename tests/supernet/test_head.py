"""The mean of the tokens as what is classified, and the classifier by Gram matrices: identities, cost, networks."""

from typing import Any

import pytest
import torch

from nas.errors import ArchError
from nas.shapes import ImageShape
from nas.space import load_space
from nas.space.space import Head
from nas.supernet import Supernet, extract, network_cost
from nas.supernet.head import GramianHead, MeanHead
from tests.operators.harness import counted
from tests.spaces import DIGITS, raw

SHAPE = ImageShape(channels=1, height=8, width=8, classes=10)


@pytest.fixture
def head() -> GramianHead:
    return GramianHead(Head(rank=5, count=3), SHAPE, 12).double()


def space_with(**head: int) -> Any:
    return load_space({**raw("digits_tiny"), "head": head})


def test_an_image_is_classified_by_its_normalised_mean_token() -> None:
    head = MeanHead(SHAPE, 12).double()
    x = 5 * torch.randn(2, 17, 12, dtype=torch.float64) + 3
    mean = x.mean(1)
    centred = mean - mean.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), normed @ head.out.weight.T, rtol=0, atol=1e-12)


def test_the_papers_triangle_has_18528_entries() -> None:
    assert GramianHead(Head(rank=192), SHAPE, 4).token.shape[2] == 18528


def test_the_order_of_tokens_does_not_matter(head: GramianHead) -> None:
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    torch.testing.assert_close(head(x), head(x[:, torch.randperm(17)]), rtol=0, atol=1e-12)


def test_class_tokens_are_made_of_a_matrix_without_negative_eigenvalues(head: GramianHead) -> None:
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    features = head.narrow(x, 3, 5)
    for k in range(3):
        gram = torch.einsum("btr,bts->brs", features[:, :, k], features[:, :, k]) / 17
        assert (torch.linalg.eigvalsh(gram) > -1e-12).all()
        flat = gram[:, *torch.triu_indices(5, 5)]
        expected = flat / flat.norm(dim=-1, keepdim=True) @ head.token[k].T
        torch.testing.assert_close(head.class_tokens(x)[:, k], expected, rtol=0, atol=1e-12)


def test_class_attention_is_over_the_token_itself_and_all_others(head: GramianHead) -> None:
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    normed = head.norm(x)
    logits = []
    for k in range(3):
        token = head.class_tokens(normed)[:, k, None]
        seen = torch.cat((token, normed), dim=1)
        weights = (head.q(token, 12) @ head.k(seen, 12).mT / 12**0.5).softmax(-1)
        logits.append(((token + weights @ head.v(seen, 12)) @ head.out[k].T).squeeze(1))
    torch.testing.assert_close(head(x), torch.stack(logits).mean(0) + head.bias, rtol=0, atol=1e-12)


def test_every_size_is_a_corner_and_costs_what_is_said() -> None:
    space = space_with(rank=4, count=2)
    net = Supernet(space, DIGITS).eval()
    for arch in (space.largest(), space.smallest()):
        x = torch.randn(3, 1, 8, 8)
        subnet = extract(net, arch).eval()
        with torch.no_grad():
            assert torch.equal(subnet(x), net(x, arch))
        cost = network_cost(space.frame, DIGITS, arch)
        assert cost.params == sum(p.numel() for p in subnet.parameters())
        assert cost.flops == counted(lambda subnet=subnet, x=x: subnet(x[:1]))


def test_a_space_with_another_head_is_another_space() -> None:
    digests = {load_space(raw("digits_tiny")).digest, space_with(rank=4).digest, space_with(rank=4, count=2).digest}
    assert len(digests) == 3 and space_with().digest in digests


def test_sequences_have_none() -> None:
    with pytest.raises(ArchError, match="a head of rank 4 is for images, space 'lm_tiny' is causal: leave it out"):
        load_space({**raw("lm_tiny"), "head": {"rank": 4}})
