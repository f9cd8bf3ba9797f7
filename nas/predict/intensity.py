"""Arithmetic intensity: how many flops a device does for each byte that it has to read.

"The New LLM Bottleneck: A Systems Perspective on Latent Attention and Mixture-of-Experts" (2025). Below the ratio of a
device's peak flops to its bandwidth, bytes set the time; above it, flops do.
"""

from nas.operators.contract import Cost, Site

FLOAT32 = 4


def cache_intensity(queries: int, key_width: int, value_width: int, kept: int, *, number_bytes: int = 2) -> float:
    """Flops per byte of cache of one decoded token's attention.

    Args:
        queries: Query heads.
        key_width: Numbers of a key that one score reads; latents and rotary part where decoding is absorbed.
        value_width: Numbers of a value that one weight multiplies; the latents where decoding is absorbed.
        kept: Numbers kept per token for all heads together.
        number_bytes: Bytes of a kept number, 2 for bfloat16.
    """
    return 2 * queries * (key_width + value_width) / (number_bytes * kept)


def block_intensity(cost: Cost, site: Site, *, batch: int = 1) -> float:
    """Flops per byte of a whole forward pass in float32: parameters once, tokens in and out once per sample."""
    read = cost.params + 2 * batch * site.tokens * site.embed_dim
    return batch * cost.flops / (FLOAT32 * read)
