"""Knob values under which every operator is held to the contract; `test_contract.py` fails if one is missing here."""

from collections.abc import Mapping, Sequence

from nas import operators
from nas.arch import Knob, OperatorArch
from nas.shapes import Domain

Knobs = Mapping[str, Knob]

MHA: Knobs = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 8}
GQA: Knobs = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
MQA: Knobs = {"num_heads": 4, "num_kv_heads": 1, "head_dim": 5}

KNOBS: Mapping[str, Sequence[Knobs]] = {
    "softmax": [MHA, GQA, MQA],
    "reused_kv": [MHA, GQA, MQA],
    "mixture_of_heads": [{**MHA, "num_shared": 1, "num_routed": 1}, {**GQA, "num_shared": 2, "num_routed": 3}],
    "window": [{**GQA, "window_size": 4}, {**MHA, "window_size": 16}],
    "neighborhood": [{**GQA, "kernel_size": 3}, {**MHA, "kernel_size": 5}],
    "power_distance": [{**GQA, "block_size": 4, "num_local": 1, "num_sink": 1}],
    "block_routing": [{**GQA, "block_size": 4, "topk": 2}, {**MHA, "block_size": 8, "topk": 1}],
    "region_routing": [{**GQA, "regions": 3, "topk": 2}, {**MHA, "regions": 2, "topk": 4}],
    "latent": [{"num_heads": 3, "head_dim": 8, "kv_rank": 5}, {"num_heads": 2, "head_dim": 4, "kv_rank": 12}],
    "length_projection": [{**GQA, "rank": 7}, {**MHA, "rank": 3}],
    "linear": [
        {**GQA, "feature_map": "elu", "feature_dim": 8},
        {**MHA, "feature_map": "relu", "feature_dim": 4},
        {**GQA, "feature_map": "taylor2", "feature_dim": 4},
        {**MHA, "feature_map": "hedgehog", "feature_dim": 8},
    ],
    "decayed": [MHA, GQA],
    "window_linear": [{**GQA, "window_size": 4, "feature_dim": 4}],
    "state_mixer": [{"num_states": 5}],
    "cross_covariance": [{"num_heads": 3, "head_dim": 8}],
    "depthwise": [{"kernel_size": 3}, {"kernel_size": 7}],
    "none": [{}],
}


def archs(domain: Domain) -> list[OperatorArch]:
    """All cases that are legal in the domain."""
    return [
        OperatorArch.of(name, **knobs)
        for name, cases in KNOBS.items()
        if domain in operators.get(name).domains
        for knobs in cases
    ]
