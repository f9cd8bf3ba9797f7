import pytest
import torch

from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.lowrank.landmarks import Knobs, Mixer, landmark_attention, pseudo_inverse

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}


def site(tokens=17):
    return Site(embed_dim=12, tokens=tokens, domain="sequence")


def drawn(heads, tokens=17):
    return torch.randn(2, heads, tokens, 8, dtype=torch.float64)


def test_every_token_a_landmark_is_full_attention():
    q, k, v = drawn(6), drawn(2), drawn(2)
    got = landmark_attention(q, k, v, 17, steps=60)
    torch.testing.assert_close(got, attention.reference(q, k, v), rtol=0, atol=1e-6)


def test_the_iteration_ends_at_the_pseudo_inverse():
    matrix = torch.randn(2, 3, 9, 9, dtype=torch.float64).softmax(-1)
    found = pseudo_inverse(matrix, steps=40)
    torch.testing.assert_close(found, torch.linalg.pinv(matrix), rtol=1e-6, atol=1e-6)


def test_each_sample_and_head_is_inverted_by_itself():
    matrix = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    other = torch.cat((matrix[:1], 100 * matrix[1:]))
    torch.testing.assert_close(pseudo_inverse(other)[0], pseudo_inverse(matrix)[0], rtol=0, atol=0)


def test_one_landmark_gives_every_token_the_same_output(build):
    layer = build("landmarks", site(), **HEADS, num_landmarks=1)
    y = layer(torch.randn(2, 17, 12, dtype=torch.float64))
    torch.testing.assert_close(y, y[:, :1].expand_as(y), rtol=0, atol=1e-12)


def test_gradients_equal_those_of_the_reference(build):
    layer = build("landmarks", site(), **HEADS, num_landmarks=5)
    x = torch.randn(2, 17, 12, dtype=torch.float64)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


def test_time_is_linear_in_the_tokens_at_fixed_landmarks():
    knobs = Knobs(**HEADS, num_landmarks=8)
    costs = [Mixer.cost(knobs, site(tokens)).flops for tokens in (1000, 2000, 3000)]
    assert costs[2] - costs[1] == costs[1] - costs[0]


def test_more_landmarks_than_tokens_are_refused():
    with pytest.raises(ArchError, match="num_landmarks must be at most the 17 tokens, got 18"):
        Mixer.check(Knobs(**HEADS, num_landmarks=18), site())


def test_means_mix_all_positions_and_have_no_causal_form():
    assert "causal" not in Mixer.domains
