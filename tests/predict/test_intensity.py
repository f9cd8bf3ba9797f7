import pytest

from nas.operators.contract import HeadKnobs, Site
from nas.operators.softmax.softmax import Mixer
from nas.predict.intensity import block_intensity, cache_intensity


def test_published_intensities_of_decoding():
    heads, width = 128, 128
    latents, rotary = 512, 64
    assert cache_intensity(heads, width, width, 2 * heads * width) == 1.0
    assert cache_intensity(heads, width, width, 2 * (heads // 8) * width) == 8.0
    absorbed = cache_intensity(heads, latents + rotary, latents, latents + rotary)
    assert absorbed == pytest.approx(241.8, abs=0.05)


def test_a_larger_batch_reads_parameters_once():
    site = Site(embed_dim=64, tokens=1, domain="causal")
    cost = Mixer.cost(HeadKnobs(num_heads=4, num_kv_heads=4, head_dim=16), site)
    one, many, endless = (block_intensity(cost, site, batch=batch) for batch in (1, 8, 10**9))
    assert one < many < endless
    assert endless == pytest.approx(cost.flops / (4 * 2 * 64), rel=1e-3)
